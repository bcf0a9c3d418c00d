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


def test_missing_ids_are_left_out() -> None:
    assert not {"correlationid", "causationid"} & set(json.loads(write(ORDER, "shop", None, None)[1]))


def test_ids_sort_by_time_and_never_repeat() -> None:
    ids = [write(ORDER, "shop")[0] for _ in range(1000)]
    assert ids == sorted(set(ids))


def test_the_envelope_that_these_tests_change_is_valid() -> None:
    assert decode(frame(), CLASSES) == Envelope(
        "e1", "shop", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), OrderPlaced(order_id="A1", total_cents=4200)
    )


def test_an_event_of_an_unknown_type_is_decoded_as_none() -> None:
    assert decode(frame(type="order.lost", data={"any": "thing"}), CLASSES) is None


def test_attributes_that_a_newer_writer_adds_are_ignored() -> None:
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


def as_by_library(raw: bytes) -> bytes:
    """The envelope with the beginning that this library writes, so that the fast decoder reads it."""
    return raw.replace(
        b'{"specversion": "1.0", "id": "e1", "source": "shop", "type": "order.placed", "eventversion": 2, ',
        b'{"specversion":"1.0","source":"shop","type":"order.placed","eventversion":2,"id":"e1",',
    )


@pytest.mark.parametrize("raw", NOT_AN_EVENT.values(), ids=NOT_AN_EVENT)
@pytest.mark.parametrize("order", [1, -1], ids=["first class fits", "second class fits"])
@pytest.mark.parametrize("written", [lambda raw: raw, as_by_library], ids=["by others", "by us"])
def test_an_invalid_event_raises_a_decode_error(raw: bytes, order: int, written: Callable[[bytes], bytes]) -> None:
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


@pytest.mark.parametrize("good", [frame(), as_by_library(frame())], ids=["by others", "by us"])
def test_a_changed_byte_raises_a_data_error_or_nothing(good: bytes) -> None:
    for at in range(len(good)):
        for byte in (b"\x00", b'"', b"9", b"}", b"\xff"):
            with contextlib.suppress(ev.DataError):
                decode(good[:at] + byte + good[at + 1 :], CLASSES)


# The fast decoder recognises the beginning that all envelopes of one writer share. Its result must always be that of
# the careful decoder.

BY_LIBRARY = as_by_library(frame())
SHIPPED = write(OrderShipped(order_id="B2"), "shop")[1]
HEAD = b'{"specversion":"1.0","source":"shop","type":"order.placed","eventversion":2'
TAIL = b',"id":"e1","time":"2026-01-02T03:04:05Z","data":{"order_id":"A1","total_cents":4200}}'
TRICKS = {
    "unchanged": HEAD + TAIL,
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
def test_the_fast_decoder_and_the_careful_decoder_agree(raw: bytes, again: int) -> None:
    def outcome(read: Callable[..., Envelope | None]) -> object:
        try:
            return read(raw, CLASSES)
        except ev.DataError as error:
            return type(error), error.args

    assert outcome(decode) == outcome(_decode_carefully)


def test_a_remembered_beginning_is_decoded_with_the_classes_of_each_call() -> None:
    assert decode(SHIPPED, {"order.placed": OrderPlaced}) is None
    read = decode(SHIPPED, CLASSES)
    assert read is not None and isinstance(read.event, OrderShipped)
    assert decode(SHIPPED, {"order.placed": OrderPlaced}) is None


def test_two_classes_of_one_type_are_decoded_independently() -> None:
    class Other(ev.Event, type="order.placed", version=2, stream="orders"):
        total_cents: str

    raw = BY_LIBRARY.replace(b"4200", b'"4200"')
    for _ in range(2):
        read = decode(BY_LIBRARY, CLASSES)
        other = decode(raw, {"order.placed": Other})
        assert read is not None and isinstance(read.event, OrderPlaced)
        assert other is not None and isinstance(other.event, Other)


def test_the_number_and_size_of_remembered_beginnings_are_limited() -> None:
    decoder = Decoder(CLASSES)
    for number in range(3000):
        assert decoder.decode(BY_LIBRARY.replace(b"shop", b"%d" % number))
    assert 0 < len(decoder._readers) <= 1024
    assert max(map(len, [BY_LIBRARY[: BY_LIBRARY.index(b',"id":"')]])) < _HEAD_BYTES_MAX


def test_a_large_body_is_read() -> None:
    large = OrderPlaced(order_id='"' * 5_000_000, total_cents=1)
    assert decode(write(large, "shop")[1], CLASSES) is not None


def test_any_error_of_a_validator_becomes_a_decode_error() -> None:
    class Picky(ev.Event, type="order.placed", version=2, stream="orders"):
        order_id: str

        @field_validator("order_id")
        @classmethod
        def refuse(cls, _: str) -> str:
            raise ZeroDivisionError("picky")

    with pytest.raises(ev.DecodeError, match="ZeroDivisionError"):
        decode(BY_LIBRARY, {"order.placed": Picky})


class Loose(ev.Event, type="order.loose", version=1, stream="orders"):
    anything: Any


@pytest.mark.parametrize("value", ["\ud800", object(), {"\udfff": 1}, b"\xff"])
def test_a_value_without_a_json_form_is_refused_when_it_is_written(value: Any) -> None:
    with pytest.raises(ev.InvalidArgument, match="Loose"):
        write(Loose(anything=value), "shop")[1]


@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_lone_surrogate_is_refused_everywhere(place: int) -> None:
    texts = ["shop", None, None, None]
    texts[place - 1] = "\ud800"
    with pytest.raises(ev.InvalidArgument, match="JSON"):
        write(ORDER, *texts[:3])[1]  # type: ignore[arg-type]


def test_an_envelope_cannot_be_changed_and_can_be_pickled() -> None:
    envelope = Envelope("e1", "shop", datetime.now(UTC), ORDER, "c1")
    with pytest.raises(AttributeError):
        envelope.id = "other"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(envelope)) == envelope
