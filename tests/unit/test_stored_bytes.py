"""Every version can read bytes of earlier versions: the files in tests/wire are never written again."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

import eventlib as ev
from eventlib.events.envelope import Envelope, decode
from tests.wire.orders import CLASSES, FOLDER, OrderPlaced, stored

ORDER = OrderPlaced(order_id="A1", total_cents=4200, currency="EUR")
UUID = "01890a5d-ac96-774b-bcce-b302099a805"
OCTOBER = datetime(2024, 10, 9, 8, 30, tzinfo=UTC)
FEBRUARY = datetime(2025, 2, 3, 10, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 24, 13, tzinfo=UTC)
TRACE = ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "congo=t61rcWkgMzE")


def after(moment: datetime, microseconds: int) -> datetime:
    return moment + timedelta(microseconds=microseconds)


READ = {
    "v1_bare": Envelope(UUID + "1", "shop", after(OCTOBER, 123456), ORDER),
    "v1_all_attributes": Envelope(UUID + "2", "shop", OCTOBER, ORDER, "c-1", "e-0"),
    "v1_foreign_data_first_pretty": Envelope("7", "/shops/1", after(OCTOBER, 123456), ORDER),
    "v2_bare": Envelope(UUID + "3", "shop", after(FEBRUARY, 1), ORDER),
    "v2_all_attributes": Envelope(UUID + "4", "shop", after(FEBRUARY, 500000), ORDER, "c-1", "e-0"),
    "v2_foreign_id_first": Envelope("7", "urn:shop", after(FEBRUARY, 250000), ORDER),
    "v3_bare": Envelope(UUID + "5", "shop", after(NOVEMBER, 277657), ORDER),
    "v3_all_attributes": Envelope(UUID + "6", "shop", NOVEMBER, ORDER, "c-1", "e-0", *TRACE),
    "v3_foreign_head_like_ours": Envelope("7", "shop", after(NOVEMBER + timedelta(hours=5), 250000), ORDER),
    "v3_foreign_escapes": Envelope("🛒", "shop", NOVEMBER, ORDER),
}


@pytest.mark.parametrize("name", READ)
def test_stored_bytes_are_read(name: str) -> None:
    assert decode(stored(name), CLASSES) == READ[name]


def test_a_newer_version_is_distinguished_from_a_broken_entry() -> None:
    with pytest.raises(ev.UnsupportedVersion) as caught:
        decode(stored("v4_future"), CLASSES)
    assert caught.value.args == ("order.placed", 4, 1, 3)


def test_every_file_in_tests_wire_is_tested() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == {*READ, "v4_future"}


def test_the_files_have_not_changed() -> None:
    contents = b"".join(file.read_bytes() for file in sorted(FOLDER.glob("*.json")))
    assert hashlib.sha256(contents).hexdigest() == "f876b658dfe86e2e81c3586f6c9d808c9c2fb1a31a3ab7c1977e310b415cefdc"
