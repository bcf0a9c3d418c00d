"""The wire form: CloudEvents 1.0 in JSON; what cannot be read is an error of the entry, never of the reader."""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

import eventlib as ev
from eventlib.envelope import Envelope, decode, encode, seal


class Address(BaseModel):
    city: str


class OrderPlaced(ev.Event, type="order.placed", version=2, stream="orders"):
    order_id: str
    total_cents: int
    weight_kg: float = 1.0
    address: Address | None = None


class OrderShipped(ev.Event, type="order.shipped", version=1, stream="orders"):
    order_id: str


class OrderLabelled(ev.Event, type="order.labelled", version=1, stream="orders"):
    order_id: str = Field(alias="orderId")


CLASSES: dict[str, type[ev.Event]] = {"order.placed": OrderPlaced, "order.shipped": OrderShipped}
ORDER = OrderPlaced(order_id="A1", total_cents=4200, address=Address(city="Bern"))
FRAME = {
    "specversion": "1.0",
    "id": "e1",
    "source": "shop",
    "type": "order.placed",
    "eventversion": 2,
    "time": "2026-01-02T03:04:05+00:00",
    "data": {"order_id": "A1", "total_cents": 4200},
}


def frame(**changes: Any) -> bytes:
    """A good envelope with changes; None takes the attribute away."""
    return json.dumps({k: v for k, v in {**FRAME, **changes}.items() if v is not None}).encode()


@pytest.mark.parametrize("event", [ORDER, OrderShipped(order_id="B2"), OrderPlaced(order_id="", total_cents=-(2**63))])
@pytest.mark.parametrize("ids", [(None, None), ("c1", None), (None, "e0"), ("c1", "e0")])
def test_round_trip(event: ev.Event, ids: tuple[str | None, str | None]) -> None:
    envelope = seal(event, "shop", *ids)
    assert decode(encode(envelope), CLASSES) == envelope


@pytest.mark.parametrize(
    "text", ["", "Zoë ✓ 注文 🛒", '"quoted" \\ back', "line\nbreak\x00\x1f", "\u2028", "%s %d %%", "}"]
)
def test_any_text_survives(text: str) -> None:
    envelope = seal(OrderPlaced(order_id=text, total_cents=1), text, text, text)
    raw = encode(envelope)
    assert decode(raw, CLASSES) == envelope
    assert json.loads(raw)["data"]["order_id"] == text


def test_a_field_with_an_alias_survives() -> None:
    envelope = seal(OrderLabelled(orderId="A1"), "shop", None, None)
    assert decode(encode(envelope), {"order.labelled": OrderLabelled}) == envelope


def test_the_wire_form_is_a_cloud_event() -> None:
    before = datetime.now(UTC)
    written = json.loads(encode(seal(ORDER, "shop", "c1", "e0")))
    assert written.pop("data") == ORDER.model_dump()
    assert UUID(written.pop("id")).version == 7
    assert before <= datetime.fromisoformat(written.pop("time")) <= before + timedelta(seconds=10)
    assert written == {
        "specversion": "1.0",
        "source": "shop",
        "type": "order.placed",
        "eventversion": 2,
        "correlationid": "c1",
        "causationid": "e0",
    }


def test_absent_ids_are_left_out() -> None:
    assert not {"correlationid", "causationid"} & set(json.loads(encode(seal(ORDER, "shop", None, None))))


def test_ids_sort_by_time_and_never_repeat() -> None:
    ids = [seal(ORDER, "shop", None, None).id for _ in range(1000)]
    assert ids == sorted(set(ids))


def test_the_frame_of_these_tests_is_good() -> None:
    assert decode(frame(), CLASSES) == Envelope(
        "e1", "shop", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), OrderPlaced(order_id="A1", total_cents=4200)
    )


def test_a_type_that_nobody_here_handles_is_none() -> None:
    assert decode(frame(type="order.lost", data={"any": "thing"}), CLASSES) is None


def test_what_a_newer_writer_adds_is_ignored() -> None:
    data = {"order_id": "A1", "total_cents": 4200, "gift": True, "address": {"city": "Bern", "zip": "3000"}}
    read = decode(frame(traceparent="00-ab", data=data), CLASSES)
    assert read is not None
    assert read.event == ORDER


@pytest.mark.parametrize(("event_type", "version"), [("order.placed", 1), ("order.placed", 3), ("order.shipped", 2)])
def test_another_version_is_told_apart_from_a_broken_entry(event_type: str, version: int) -> None:
    with pytest.raises(ev.UnsupportedVersion) as caught:
        decode(frame(type=event_type, eventversion=version, data={"order_id": "A1", "total_cents": 1}), CLASSES)
    assert (caught.value.event_type, caught.value.version) == (event_type, version)


NOT_AN_EVENT = {
    "nothing": b"",
    "no JSON": b"hello",
    "truncated": frame()[:-10],
    "two documents": frame() + frame(),
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "not UTF-8": frame().replace(b"A1", b"\xff\xfe"),
    "endless nesting": b"[" * 100_000,
    "no id": frame(id=None),
    "no type": frame(type=None),
    "no version": frame(eventversion=None),
    "no source": frame(source=None),
    "no time": frame(time=None),
    "no data": frame(data=None),
    "no specversion": frame(specversion=None),
    "another specversion": frame(specversion="2.0"),
    "a time that is none": frame(time="yesterday"),
    "an id that is a number": frame(id=7),
    "a version that is text": frame(eventversion="two"),
    "a field of the wrong type": frame(data={"order_id": "A1", "total_cents": "many"}),
    "a missing field": frame(data={"order_id": "A1"}),
    "data that is no object": frame(data="A1"),
    "NaN": frame().replace(b"4200", b'4200, "weight_kg": NaN'),
    "infinity": frame().replace(b"4200", b'4200, "weight_kg": Infinity'),
    "a number too large for a double": frame().replace(b"4200", b'4200, "weight_kg": 1e999'),
}


@pytest.mark.parametrize("raw", NOT_AN_EVENT.values(), ids=NOT_AN_EVENT)
@pytest.mark.parametrize("order", [1, -1], ids=["first class fits", "second class fits"])
def test_what_is_no_event_is_a_decode_error(raw: bytes, order: int) -> None:
    with pytest.raises(ev.DecodeError) as caught:
        decode(raw, dict(list(CLASSES.items())[::order]))
    assert caught.value.reason


def test_a_refused_field_is_named() -> None:
    with pytest.raises(ev.DecodeError, match=r"data\.total_cents"):
        decode(frame(data={"order_id": "A1", "total_cents": "many"}), CLASSES)


def test_no_byte_flip_ever_raises_anything_but_a_data_error() -> None:
    good = frame()
    for at in range(len(good)):
        for byte in (b"\x00", b'"', b"9", b"}", b"\xff"):
            with contextlib.suppress(ev.DataError):
                decode(good[:at] + byte + good[at + 1 :], CLASSES)
