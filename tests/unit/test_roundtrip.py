"""What an event class writes, it reads: refused where it is declared or published, or handled and equal."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Annotated, Any, Literal, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr, create_model, field_serializer
from typing_extensions import TypedDict

import eventlib as ev
from eventlib.events.envelope import decode, write
from eventlib.events.roundtrip import proof_of

WIRE: dict[str, Any] = {"type": "sensor.measured", "stream": "sensors"}


def returned(event: ev.Event) -> ev.Event | None:
    """The event as its consumers read it. None if it is refused where it is published."""
    try:
        _, raw = write(event, "here")
    except ev.InvalidArgument:
        return None
    read = decode(raw, {WIRE["type"]: type(event)})
    assert read is not None
    return read.event


class Inner(BaseModel):
    celsius: float | None = None


class Hidden(BaseModel):
    token: SecretStr


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


@dataclass
class Renamed:
    city: Annotated[str, Field(serialization_alias="town")]


class Dropped(TypedDict):
    cents: Annotated[int, Field(exclude=True)]


class OpenMapping(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # pydantic reads it
    a: int


# Refused where it is declared

LOSSES: list[tuple[str, dict[str, Any]]] = [
    ("order: is written as 'orderId' and read as 'order'", {"order": (str, Field(serialization_alias="orderId"))}),
    ("order: is written as 'orderId' and", {"order": (str, Field(default="none", serialization_alias="orderId"))}),
    ("order: is written as 'order' and read as 'orderId'", {"order": (str, Field(validation_alias="orderId"))}),
    ("cents: exclude=True", {"cents": (int, Field(default=0, exclude=True))}),
    ("token: a secret", {"token": (SecretStr, ...)}),
    ("tokens: a secret", {"tokens": (list[SecretStr | None], ...)}),
    ("inner.token: a secret", {"inner": (dict[str, Hidden], ...)}),
    ('inner: extra="allow"', {"inner": (Open, ...)}),
    ("place.city: is written as 'town' and read as 'city'", {"place": (list[Renamed], ...)}),
    ("mapping.cents: exclude=True", {"mapping": (dict[str, Dropped], ...)}),
    ('mapping: extra="allow"', {"mapping": (OpenMapping, ...)}),
]


@pytest.mark.parametrize(("problem", "fields"), LOSSES)
def test_a_class_that_loses_a_field_is_refused_where_it_is_declared(problem: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ev.InvalidDeclaration) as caught:
        create_model("Measured", __base__=ev.Event, __cls_kwargs__=WIRE, **fields)
    assert problem in str(caught.value)


def test_a_class_that_keeps_unknown_fields_is_refused() -> None:
    with pytest.raises(ev.InvalidDeclaration, match="extra="):

        class Measured(ev.Event, **WIRE):
            model_config = ConfigDict(extra="allow")


@pytest.mark.parametrize(
    "field", [Field(alias="orderId"), Field(validation_alias="order", serialization_alias="order")]
)
def test_a_name_that_is_written_and_read_alike_is_allowed(field: Any) -> None:
    made = create_model("Measured", __base__=ev.Event, __cls_kwargs__=WIRE, order=(str, field))
    event = made(**{field.alias or "order": "A1"})
    assert returned(event) == event


# Refused where it is published, with the place


class Anything(ev.Event, **WIRE):
    value: Any = None
    inner: Inner = Inner()


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"reply": found}
    return found


@pytest.mark.parametrize(
    ("event", "place"),
    [
        (lambda: Anything(value=math.nan), "data.value"),
        (lambda: Anything(value={"auc": [1.0, math.inf]}), "data.value.auc.1"),
        (lambda: Anything(inner=Inner(celsius=math.nan)), "data.inner.celsius"),
        (lambda: Anything(value=(1, 2)), "data.value"),
        (lambda: Anything(value={1: "one"}), "data.value"),
        (lambda: Anything(value={"a", "b"}), "data.value"),
        (lambda: Anything(value=b"x"), "data.value"),
        (lambda: Anything(value=nested(250)), "cannot be read back"),
        (lambda: Anything(value=10**5000), "cannot be read back"),
    ],
)
def test_a_value_that_does_not_come_back_is_refused_where_it_is_published(
    event: Callable[[], ev.Event], place: str
) -> None:
    with pytest.raises(ev.InvalidArgument) as caught:
        write(event(), "here")
    assert place in str(caught.value)


def test_a_serializer_that_no_reader_understands_is_refused() -> None:
    class Measured(ev.Event, **WIRE):
        celsius: float

        @field_serializer("celsius")
        def _in_words(self, celsius: float) -> str:
            return f"{celsius} degrees"

    with pytest.raises(ev.InvalidArgument, match="celsius"):
        write(Measured(celsius=1.0), "here")


class Measurement(ev.Event, **WIRE):
    number: int = 0
    names: list[str] = Field(default=[])


@pytest.mark.parametrize(
    "event",
    [
        Measurement.model_construct(number=cast("Any", "many")),
        Measurement(number=1).model_copy(update={"names": [1]}),
    ],
)
def test_a_value_of_another_type_than_declared_is_refused(event: ev.Event) -> None:
    with pytest.raises(ev.InvalidArgument, match=r"number|names"):
        write(event, "here")


WRONG_DEFAULTS: list[dict[str, Any]] = [
    {"default": None},
    {"default": "a"},
    {"default": -1},
    {"default_factory": lambda: -1},
    {"default": 1, "exclude_if": lambda value: value > 1},
]


@pytest.mark.parametrize("field", WRONG_DEFAULTS)
def test_a_default_or_a_condition_that_loses_a_value_is_no_proof(field: dict[str, Any]) -> None:
    made = create_model(
        "Measured", __base__=ev.Event, __cls_kwargs__=WIRE, n=(Annotated[int, Field(ge=0)], Field(**field))
    )
    assert returned(made.model_validate({"n": 2} if "exclude_if" in field else {})) is None
    fine = made.model_validate({"n": 1})
    assert not proof_of(made).holds(fine, 100)
    assert returned(fine) == fine


class Timed(ev.Event, **WIRE):
    at: datetime


@pytest.mark.parametrize(
    ("zone", "proven"), [(UTC, True), (None, True), (timezone(timedelta(hours=1)), False), (ZoneInfo("UTC"), False)]
)
def test_a_plain_time_of_an_event_itself_need_not_be_read_back(zone: tzinfo | None, proven: bool) -> None:
    class Nested(ev.Event, **WIRE):
        at: list[datetime]

    at = datetime(2026, 1, 1, tzinfo=zone)
    assert proof_of(Timed).holds(Timed(at=at), 100) == proven and not proof_of(Timed).complete
    assert not proof_of(Nested).holds(Nested(at=[at]), 100)
    assert returned(Timed(at=at)) == Timed(at=at)


def test_an_offset_to_the_second_has_no_form_on_the_wire() -> None:
    with pytest.raises(ev.InvalidArgument, match=r"data\.at"):
        write(Timed(at=datetime(1900, 1, 1, tzinfo=timezone(timedelta(minutes=19, seconds=32)))), "here")


def test_a_time_in_the_hour_that_a_clock_goes_through_twice_is_one_instant() -> None:
    at = datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    read = returned(Timed(at=at))
    assert isinstance(read, Timed) and read.at.timestamp() == at.timestamp()


def test_a_class_that_names_a_later_one_is_checked_when_it_is_published() -> None:
    class Early(ev.Event, **WIRE):
        later: "Later"

    class Later(BaseModel):
        city: str = Field(default="", serialization_alias="town")

    Early.model_rebuild(_types_namespace={"Later": Later})
    with pytest.raises(ev.InvalidDeclaration, match=r"later\.city"):
        write(Early(later=Later(city="Bern")), "here")


def test_a_huge_integer_of_a_proven_class_is_refused_too() -> None:
    class Measured(ev.Event, **WIRE):
        number: int

    assert proof_of(Measured).holds(Measured(number=1), 100) and not proof_of(Measured).complete
    assert returned(Measured(number=10**4000)) == Measured(number=10**4000)
    assert returned(Measured(number=10**5000)) is None


# Any class, any value: published means handled and equal

SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text()),
    (int, st.integers()),
    (bool, st.booleans()),
    (float, st.floats()),
    (Decimal, st.decimals()),
    (bytes, st.binary(max_size=20)),
    (datetime, st.datetimes() | st.datetimes(timezones=st.just(UTC))),
    (date, st.dates()),
    (UUID, st.uuids()),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (str | int, st.text() | st.integers()),
    (float | str, st.floats() | st.text()),
    (datetime | str, st.datetimes() | st.text()),
    (Any, st.recursive(st.none() | st.floats() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s))),
    (Inner, st.builds(Inner, celsius=st.none() | st.floats())),
]


@st.composite
def typed(draw: st.DrawFn) -> tuple[Any, st.SearchStrategy[Any]]:
    kind: Any
    kind, values = draw(st.sampled_from(SCALARS))
    match draw(st.sampled_from(["plain", "optional", "list", "dict", "set", "tuple", "keys"])):
        case "optional":
            return kind | None, st.none() | values
        case "list":
            return list[kind], st.lists(values, max_size=3)
        case "dict":
            return dict[str, kind], st.dictionaries(st.text(), values, max_size=3)
        case "tuple":
            return tuple[kind, str], st.tuples(values, st.text())
        case "set" if kind in (str, int, bytes, float, date):
            return set[kind], st.sets(values, max_size=3)
        case "keys" if kind in (str, int, bool, date, UUID, float):
            return dict[kind, str], st.dictionaries(values, st.text(), max_size=3)
    return kind, values


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_published_is_handled_and_equal(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(typed(), min_size=1, max_size=3))
    fields: dict[str, Any] = {f"field_{number}": (kind, ...) for number, (kind, _) in enumerate(kinds)}
    made = create_model("Measured", __base__=ev.Event, __cls_kwargs__=WIRE, **fields)
    values = {f"field_{number}": data.draw(values) for number, (_, values) in enumerate(kinds)}
    try:
        event = made(**values)
    except ValueError:  # no such event
        return
    read = returned(event)
    assert read is None or read == event
