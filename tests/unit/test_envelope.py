"""The wire form: CloudEvents 1.0 in JSON; what cannot be read is an error of the entry, never of the reader."""

import contextlib
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, field_validator

import eventlib as ev
from eventlib.events.envelope import _HEAD_BYTES_MAX, Decoder, Envelope, _decode_carefully, decode, write


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
@pytest.mark.parametrize("ids", [(None, None), ("c1", None), (None, "e0"), ("c1", "e0"), ("", "")])
def test_round_trip(event: ev.Event, ids: tuple[str | None, str | None]) -> None:
    read = decode(write(event, "shop", *ids)[1], CLASSES)
    assert read is not None
    assert (read.event, read.source, read.correlation_id, read.causation_id) == (event, "shop", *ids)


@pytest.mark.parametrize(
    "text", ["", "Zoë ✓ 注文 🛒", '"quoted" \\ back', "line\nbreak\x00\x1f", "\u2028", "%s %d %%", "}"]
)
def test_any_text_survives(text: str) -> None:
    order = OrderPlaced(order_id=text, total_cents=1)
    _, raw = write(order, text, text, text)
    read = decode(raw, CLASSES)
    assert read is not None
    assert (read.event, read.source, read.correlation_id, read.causation_id) == (order, text, text, text)
    assert json.loads(raw)["data"]["order_id"] == text


def test_a_field_with_an_alias_survives() -> None:
    order = OrderLabelled(orderId="A1")
    read = decode(write(order, "shop")[1], {"order.labelled": OrderLabelled})
    assert read is not None
    assert read.event == order


def test_the_wire_form_is_a_cloud_event() -> None:
    before = datetime.now(UTC)
    written = json.loads(write(ORDER, "shop", "c1", "e0")[1])
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
    assert not {"correlationid", "causationid"} & set(json.loads(write(ORDER, "shop", None, None)[1]))


def test_ids_sort_by_time_and_never_repeat() -> None:
    ids = [write(ORDER, "shop")[0] for _ in range(1000)]
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
    "a time of no zone": frame(time="2026-01-02T03:04:05"),
    "an id that is a number": frame(id=7),
    "an empty id": frame(id=""),
    "a version that is true": frame(eventversion=True),
    "a version that is text": frame(eventversion="two"),
    "a field of the wrong type": frame(data={"order_id": "A1", "total_cents": "many"}),
    "a missing field": frame(data={"order_id": "A1"}),
    "data that is no object": frame(data="A1"),
    "NaN": frame().replace(b"4200", b'4200, "weight_kg": NaN'),
    "infinity": frame().replace(b"4200", b'4200, "weight_kg": Infinity'),
    "a number too large for a double": frame().replace(b"4200", b'4200, "weight_kg": 1e999'),
}


def as_ours(raw: bytes) -> bytes:
    """With the beginning that our own writers' envelopes have, so that it is read the short way."""
    return raw.replace(
        b'{"specversion": "1.0", "id": "e1", "source": "shop", "type": "order.placed", "eventversion": 2, ',
        b'{"specversion":"1.0","source":"shop","type":"order.placed","eventversion":2,"id":"e1",',
    )


@pytest.mark.parametrize("raw", NOT_AN_EVENT.values(), ids=NOT_AN_EVENT)
@pytest.mark.parametrize("order", [1, -1], ids=["first class fits", "second class fits"])
@pytest.mark.parametrize("written", [lambda raw: raw, as_ours], ids=["by others", "by us"])
def test_what_is_no_event_is_a_decode_error(raw: bytes, order: int, written: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ev.DecodeError) as caught:
        decode(written(raw), dict(list(CLASSES.items())[::order]))
    assert caught.value.reason


def test_a_refused_field_is_named() -> None:
    with pytest.raises(ev.DecodeError, match=r"data\.total_cents"):
        decode(frame(data={"order_id": "A1", "total_cents": "many"}), CLASSES)


def test_a_number_written_as_text_is_read() -> None:
    """Though the schema forbids it: docs/wire-format.md says so to those who write in other languages."""
    envelope = decode(frame(data={"order_id": "A1", "total_cents": "4200"}), CLASSES)
    assert envelope is not None and envelope.event == OrderPlaced(order_id="A1", total_cents=4200)


@pytest.mark.parametrize("good", [frame(), as_ours(frame())], ids=["by others", "by us"])
def test_no_byte_flip_ever_raises_anything_but_a_data_error(good: bytes) -> None:
    for at in range(len(good)):
        for byte in (b"\x00", b'"', b"9", b"}", b"\xff"):
            with contextlib.suppress(ev.DataError):
                decode(good[:at] + byte + good[at + 1 :], CLASSES)


# The short way: by the beginning that all envelopes of one writer share. Whatever it is led to believe, it must come to
# the same as the long way.

OURS = as_ours(frame())
SHIPPED = write(OrderShipped(order_id="B2"), "shop")[1]
HEAD = b'{"specversion":"1.0","source":"shop","type":"order.placed","eventversion":2'
TAIL = b',"id":"e1","time":"2026-01-02T03:04:05Z","data":{"order_id":"A1","total_cents":4200}}'
TRICKS = {
    "ours": HEAD + TAIL,
    "another type later": HEAD + TAIL[:-1] + b',"type":"order.shipped","eventversion":1}',
    "another version later": HEAD + TAIL[:-1] + b',"eventversion":3}',
    "another specversion later": HEAD + TAIL[:-1] + b',"specversion":"2.0"}',
    "an unknown type later": HEAD + TAIL[:-1] + b',"type":"order.lost"}',
    "another id later": HEAD + TAIL[:-1] + b',"id":"e2"}',
    "other data later": HEAD + TAIL[:-1] + b',"data":{"order_id":"A2","total_cents":1}}',
    "no data in the end": HEAD + TAIL[:-1] + b',"data":null}',
    "the id inside of data": HEAD.replace(b"{", b'{"data":{"order_id":"A1","total_cents":1', 1) + TAIL,
    "all of it inside of data": b'{"data":' + HEAD + TAIL + b',"specversion":"1.0"}',
    "data first": b'{"data":{"order_id":"A1","total_cents":4200},' + HEAD[1:] + TAIL[:42] + b"}",
    "a list before the id": HEAD + b',"subject":[1]' + TAIL,
    "the head as text": HEAD.replace(b"shop", b'{\\"specversion\\":,\\"id\\":') + TAIL,
    "a long beginning": HEAD.replace(b"shop", b"s" * 1000) + TAIL,
    "a beginning that is none": b',"id":"' + HEAD + TAIL,
    "something before it": b"x" + HEAD + TAIL,
    "something after it": HEAD + TAIL + b"x",
    "white space around it": b" " + HEAD + TAIL + b"\n",
    "a byte order mark": b"\xef\xbb\xbf" + HEAD + TAIL,
}


@pytest.mark.parametrize("raw", TRICKS.values(), ids=TRICKS)
@pytest.mark.parametrize("again", [1, 2])
def test_the_short_way_reads_what_the_long_way_reads(raw: bytes, again: int) -> None:
    def outcome(read: Callable[..., Envelope | None]) -> object:
        try:
            return read(raw, CLASSES)
        except ev.DataError as error:
            return type(error), error.args

    assert outcome(decode) == outcome(_decode_carefully)


def test_what_a_beginning_meant_once_does_not_depend_on_who_asked() -> None:
    assert decode(SHIPPED, {"order.placed": OrderPlaced}) is None
    read = decode(SHIPPED, CLASSES)
    assert read is not None and isinstance(read.event, OrderShipped)
    assert decode(SHIPPED, {"order.placed": OrderPlaced}) is None


def test_two_classes_of_one_type_do_not_get_into_each_others_way() -> None:
    class Other(ev.Event, type="order.placed", version=2, stream="orders"):
        total_cents: str

    raw = OURS.replace(b"4200", b'"4200"')
    for _ in range(2):
        read = decode(OURS, CLASSES)
        other = decode(raw, {"order.placed": Other})
        assert read is not None and isinstance(read.event, OrderPlaced)
        assert other is not None and isinstance(other.event, Other)


def test_what_is_remembered_of_beginnings_is_bounded() -> None:
    decoder = Decoder(CLASSES)
    for number in range(3000):
        assert decoder.decode(OURS.replace(b"shop", b"%d" % number))
    assert 0 < len(decoder._readers) <= 1024
    assert max(map(len, [OURS[: OURS.index(b',"id":"')]])) < _HEAD_BYTES_MAX


def test_a_large_body_is_read() -> None:
    large = OrderPlaced(order_id='"' * 5_000_000, total_cents=1)
    assert decode(write(large, "shop")[1], CLASSES) is not None


def test_a_validator_may_raise_anything() -> None:
    class Picky(ev.Event, type="order.placed", version=2, stream="orders"):
        order_id: str

        @field_validator("order_id")
        @classmethod
        def refuse(cls, _: str) -> str:
            raise ZeroDivisionError("picky")

    with pytest.raises(ev.DecodeError, match="ZeroDivisionError"):
        decode(OURS, {"order.placed": Picky})


class Loose(ev.Event, type="order.loose", version=1, stream="orders"):
    anything: Any


@pytest.mark.parametrize("value", ["\ud800", object(), {"\udfff": 1}, b"\xff"])
def test_what_has_no_json_form_is_refused_where_it_is_written(value: Any) -> None:
    with pytest.raises(ev.InvalidArgument, match="Loose"):
        write(Loose(anything=value), "shop")[1]


@pytest.mark.parametrize("place", [1, 2, 3])
def test_nor_has_a_lone_surrogate_anywhere(place: int) -> None:
    texts = ["shop", None, None, None]
    texts[place - 1] = "\ud800"
    with pytest.raises(ev.InvalidArgument, match="JSON"):
        write(ORDER, *texts[:3])[1]  # type: ignore[arg-type]


def test_an_envelope_cannot_be_changed_and_can_be_pickled() -> None:
    envelope = Envelope("e1", "shop", datetime.now(UTC), ORDER, "c1")
    with pytest.raises(AttributeError):
        envelope.id = "other"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(envelope)) == envelope
