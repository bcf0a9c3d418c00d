"""Wherever the schema check says that a change does not break a side, that side reads what the other side writes."""

import os
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import SchemaError

import eventlib as ev
from eventlib.events.envelope import decode, write
from tests.generated_events import Described, changed, descriptions

PAIRS = int(os.environ.get("SCHEMA_PAIRS", "100"))
VALUES = 10  # of each side of a pair
patient = settings(max_examples=PAIRS, deadline=None, suppress_health_check=list(HealthCheck))


def declared(described: Described) -> type[ev.Event]:
    try:
        return described.event()
    except (ev.InvalidDeclaration, SchemaError):  # pydantic has no decimals with both a number of digits and infinity
        assume(False)
        raise


def broken(old: type[ev.Event], new: type[ev.Event]) -> set[str]:
    changes = ev.schema_changes(ev.Registry(old).asyncapi(), ev.Registry(new).asyncapi())
    return {side for change in changes for side in change.breaks}


def published(event_class: type[ev.Event], values: dict[str, Any]) -> bytes | None:
    """An event on the wire. None if the class refuses the values, or publishing refuses the event."""
    try:
        return write(event_class(**values), "here")[1]
    except (ValidationError, ev.InvalidArgument):
        return None


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Described, Described]:
    old = draw(descriptions())
    return old, draw(changed(old))


@given(pairs(), st.data())
@patient
def test_a_side_that_is_not_broken_reads_what_the_other_side_writes(
    pair: tuple[Described, Described], data: st.DataObject
) -> None:
    old, new = map(declared, pair)
    broken_sides = broken(old, new)
    for described, writer, reader, side in ((pair[0], old, new, "writers"), (pair[1], new, old, "readers")):
        if side in broken_sides:
            continue
        for values in data.draw(st.lists(described.values(), min_size=VALUES, max_size=VALUES)):
            if raw := published(writer, values):
                assert decode(raw, {"thing.made": reader}) is not None


@given(descriptions())
@patient
def test_a_class_compared_with_itself_breaks_nothing(described: Described) -> None:
    assert ev.schema_changes(*(ev.Registry(declared(described)).asyncapi() for _ in range(2))) == []


@given(descriptions())
@patient
def test_an_added_field_with_a_default_breaks_nothing(described: Described) -> None:
    fewer, more = (Described(**{**vars(described), "more": more}) for more in (False, True))
    assert broken(declared(fewer), declared(more)) == set() == broken(declared(more), declared(fewer))
