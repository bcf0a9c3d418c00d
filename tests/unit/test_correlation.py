"""What a handler publishes continues the event it handles: correlation, causation and W3C trace context."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import eventlib as ev
from eventlib.events.envelope import Envelope, current, decode, write
from eventlib.events.schema import spec_of
from tests.shop import OrderPlaced, OrderShipped

ORDER = OrderPlaced(number=1)
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STATE = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"


def handled(**known: str) -> Envelope:
    return Envelope("e1", "elsewhere", datetime.now(UTC), ORDER, **known)


@pytest.fixture
def handling() -> Iterator[Any]:
    """Set the event being handled, as the delivery loop does."""
    tokens = []

    def handle(**known: str) -> None:
        tokens.append(current.set(handled(**known)))

    yield handle
    for token in reversed(tokens):
        current.reset(token)


def written(*attributes: Any, **named: Any) -> Envelope:
    """Write an event and return what a reader gets."""
    id_, raw = write(*attributes, **named)
    read = decode(raw, {spec_of(type(attributes[0])).type: type(attributes[0])})
    assert read is not None
    assert read.id == id_
    return read


def ids(envelope: Envelope) -> tuple[str | None, str | None]:
    return envelope.correlation_id, envelope.causation_id


def test_outside_of_a_handler_an_event_has_no_correlation() -> None:
    assert written(ORDER, "shop")[4:] == (None, None, None, None)


def test_the_first_event_is_what_its_consequences_are_correlated_by(handling: Any) -> None:
    handling()
    assert ids(written(ORDER, "shop")) == ("e1", "e1")


def test_correlation_is_passed_on_and_causation_is_the_handled_event(handling: Any) -> None:
    handling(correlation_id="c1", causation_id="e0")
    assert ids(written(ORDER, "shop")) == ("c1", "e1")


def test_given_ids_take_precedence(handling: Any) -> None:
    handling(correlation_id="c1")
    assert ids(written(ORDER, "shop", correlation_id="mine")) == ("mine", "e1")
    assert ids(written(ORDER, "shop", causation_id="mine")) == ("c1", "mine")
    assert ids(written(ORDER, "shop", "", "")) == ("", "")


def test_an_id_can_be_given() -> None:
    assert written(ORDER, "shop", id='my "id"').id == 'my "id"'
    with pytest.raises(ev.InvalidArgument, match="id"):
        written(ORDER, "shop", id="")


async def test_a_task_that_a_handler_starts_shares_its_correlation() -> None:
    current.set(handled(correlation_id="c1"))

    async def later() -> Envelope:
        await asyncio.sleep(0)
        return written(ORDER, "shop")

    task = asyncio.create_task(later())
    current.set(None)
    assert ids(await task) == ("c1", "e1")
    assert ids(await asyncio.create_task(later())) == (None, None)
    current.set(handled(correlation_id="c1"))
    assert ids(await asyncio.to_thread(written, ORDER, "shop")) == ("c1", "e1")


# Trace context


def test_a_given_trace_is_written_as_it_is() -> None:
    written = json.loads(write(ORDER, "shop", traceparent=PARENT, tracestate=STATE)[1])
    assert (written["traceparent"], written["tracestate"]) == (PARENT, STATE)


def test_a_trace_flows_on_with_a_new_parent_for_each_event(handling: Any) -> None:
    handling(traceparent=PARENT, tracestate=STATE)
    sealed = [written(ORDER, "shop") for _ in range(3)]
    parents = [str(envelope.traceparent).split("-") for envelope in sealed]
    assert {(version, trace, flags) for version, trace, _, flags in parents} == {
        ("00", "4bf92f3577b34da6a3ce929d0e0e4736", "01")
    }
    assert len({parent for _, _, parent, _ in parents} | {"00f067aa0ba902b7"}) == 4
    assert all(envelope.tracestate == STATE for envelope in sealed)


def test_a_given_trace_takes_precedence_over_that_of_the_handled_event(handling: Any) -> None:
    handling(traceparent=PARENT, tracestate=STATE)
    mine = PARENT.replace("4bf9", "0000")
    envelope = written(ORDER, "shop", traceparent=mine)
    assert (envelope.traceparent, envelope.tracestate) == (mine, None)


def test_of_a_newer_traceparent_version_only_the_known_fields_are_passed_on(handling: Any) -> None:
    handling(traceparent="cc" + PARENT[2:-2] + "fb-what-the-future-will-be-like")
    version, _, _, flags = str(written(ORDER, "shop").traceparent).split("-")
    assert (version, flags) == ("00", "01")


BAD_PARENTS = {
    "empty": "",
    "another form": "b3-1",
    "upper case": PARENT.upper(),
    "short": PARENT[:-1],
    "long": PARENT + "0",
    "more of version 00": PARENT + "-00",
    "version ff": "ff" + PARENT[2:],
    "no trace": "00-" + "0" * 32 + PARENT[35:],
    "no parent": PARENT[:36] + "0" * 16 + "-01",
    "a line end": PARENT + "\n",
    "other digits": PARENT.replace("4", "٤"),
    "glued to more": "cc" + PARENT[2:] + "x",
}
BAD_STATES = {
    "empty": "",
    "no value": "congo",
    "empty value": "congo=",
    "upper-case key": "Congo=1",
    "a second equals sign": "congo=1=2",
    "no ASCII": "congo=é",
    "a line end": "congo=1\n",
    "the same key twice": "congo=1,congo=2",
    "33 members": ",".join(f"k{n}=1" for n in range(33)),
    "a long value": "congo=" + "1" * 257,
    "a long key": "k" * 257 + "=1",
}
GOOD_STATES = ["congo=1", "congo=1,rojo=2", "congo=1 , rojo=2", "a@b=1", "1a@b=x y", "a=1,,b=2", "a=" + "1" * 256]


@pytest.mark.parametrize("traceparent", BAD_PARENTS.values(), ids=BAD_PARENTS)
def test_a_malformed_parent_is_refused_from_the_publisher_and_left_out_from_the_wire(traceparent: str) -> None:
    with pytest.raises(ev.InvalidArgument, match="traceparent="):
        written(ORDER, "shop", traceparent=traceparent)
    assert read(traceparent, STATE) == (None, None)


@pytest.mark.parametrize("tracestate", BAD_STATES.values(), ids=BAD_STATES)
def test_a_malformed_state_is_refused_from_the_publisher_and_left_out_from_the_wire(tracestate: str) -> None:
    with pytest.raises(ev.InvalidArgument, match="tracestate="):
        written(ORDER, "shop", traceparent=PARENT, tracestate=tracestate)
    assert read(PARENT, tracestate) == (PARENT, None)


@pytest.mark.parametrize("tracestate", GOOD_STATES)
def test_a_good_state_is_kept_as_it_is(tracestate: str) -> None:
    assert written(ORDER, "shop", traceparent=PARENT, tracestate=tracestate).tracestate == tracestate
    assert read(PARENT, tracestate) == (PARENT, tracestate)


def test_a_tracestate_without_a_traceparent_is_refused_or_left_out() -> None:
    with pytest.raises(ev.InvalidArgument, match="traceparent=None"):
        written(ORDER, "shop", tracestate=STATE)
    assert read(None, STATE) == (None, None)


@pytest.mark.parametrize("value", [7, [], {}, True])
def test_a_trace_that_is_no_text_does_not_fail_the_event(value: object) -> None:
    assert read(value, STATE) == (None, None)
    assert read(PARENT, value) == (PARENT, None)


def read(traceparent: object, tracestate: object) -> tuple[str | None, str | None]:
    """The trace context of an entry that says this, read by both ways of reading."""
    raw = json.loads(write(OrderShipped(number=1), "shop")[1]) | {
        "traceparent": traceparent,
        "tracestate": tracestate,
    }
    found = set()
    for separators in ((",", ":"), (", ", ": ")):
        text = json.dumps({k: raw[k] for k in sorted(raw, key=lambda k: k == "data")}, separators=separators)
        envelope = decode(text.encode(), {"order.shipped": OrderShipped})
        assert envelope is not None
        found.add((envelope.traceparent, envelope.tracestate))
    [both] = found
    return both
