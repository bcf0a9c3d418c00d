"""Each rule of compatibility, in both directions, compared with what classes really can and cannot read."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, ValidationError, create_model

import eventlib as ev
from eventlib.events.envelope import decode, write
from tests.generated_events import Color, Paint

Sides = frozenset[str]
NOTHING: Sides = frozenset()
READERS: Sides = frozenset({"readers"})
WRITERS: Sides = frozenset({"writers"})
BOTH: Sides = READERS | WRITERS
Fields = dict[str, Any]


def order(fields: Fields, *, version: int = 1, stream: str = "orders", upcasts: int = 0) -> type[ev.Event]:
    """An event with these fields, each a type or a type and its default, that reads `upcasts` older versions."""
    annotations = {name: field[0] if isinstance(field, tuple) else field for name, field in fields.items()}
    defaults = {name: field[1] for name, field in fields.items() if isinstance(field, tuple)}
    chain = {
        f"_up{number}": ev.upcast(number, example={})(lambda _: dict.fromkeys(annotations, "A1"))
        for number in range(version - upcasts, version)
    }
    body = {"__module__": __name__, "__annotations__": annotations, **defaults, **chain}
    return type("Order", (ev.Event,), body, type="order.placed", version=version, stream=stream)


def changes(old: type[ev.Event] | None, new: type[ev.Event] | None) -> list[ev.SchemaChange]:
    documents = [ev.Registry(*([event] if event else [])).asyncapi() for event in (old, new)]
    return ev.schema_changes(*documents)


def rules(old: type[ev.Event] | None, new: type[ev.Event] | None) -> dict[tuple[str, str], Sides]:
    return {(c.rule, c.path): frozenset(c.breaks) for c in changes(old, new) if c.rule != "version_not_raised"}


def reads(event_class: type[ev.Event], data: Mapping[str, Any]) -> bool:
    """Whether the class reads the data; its exported schema must say the same."""
    by_schema: bool = Draft202012Validator(ev.json_schema(event_class)).is_valid(data)
    try:
        event_class.model_validate_json(json.dumps(data), extra="ignore")
    except ValidationError:
        assert not by_schema
    else:
        assert by_schema
    return by_schema


class Address(BaseModel):
    city: str


class AddressWithZip(BaseModel):
    city: str
    zip: str


class Cat(BaseModel):
    kind: Literal["cat"]
    claws: int


class ClawlessCat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
LaterPet = Annotated[ClawlessCat | Dog, Field(discriminator="kind")]

# old fields, new fields, {(rule, path): what breaks}, data that only the old wrote, data that only the new writes:
# a sample that the other side cannot read proves each direction.
CASES: dict[str, tuple[Fields, Fields, dict[tuple[str, str], Sides], Fields | None, Fields | None]] = {
    "nothing": ({"a": int}, {"a": int}, {}, None, None),
    "field added with a default": (
        {"a": int},
        {"a": int, "b": (int, 1)},
        {("optional_field_added", "b"): NOTHING},
        None,
        None,
    ),
    "field added without": (
        {"a": int},
        {"a": int, "b": int},
        {("required_field_added", "b"): WRITERS},
        {"a": 1},
        None,
    ),
    "field with a default removed": (
        {"a": int, "b": (int, 1)},
        {"a": int},
        {("optional_field_removed", "b"): NOTHING},
        None,
        None,
    ),
    "required field removed": (
        {"a": int, "b": int},
        {"a": int},
        {("required_field_removed", "b"): READERS},
        None,
        {"a": 1},
    ),
    "field renamed": (
        {"a": int},
        {"b": int},
        {("required_field_removed", "a"): READERS, ("required_field_added", "b"): WRITERS},
        {"a": 1},
        {"b": 1},
    ),
    "made required": ({"a": (int, 1)}, {"a": int}, {("made_required", "a"): WRITERS}, {}, None),
    "made optional": ({"a": int}, {"a": (int, 1)}, {("made_optional", "a"): READERS}, None, {}),
    "default changed": ({"a": (int, 1)}, {"a": (int, 2)}, {("default_changed", "a"): NOTHING}, None, None),
    "type widened": ({"a": int}, {"a": float}, {("type_widened", "a"): READERS}, None, {"a": 1.5}),
    "type narrowed": ({"a": float}, {"a": int}, {("type_narrowed", "a"): WRITERS}, {"a": 1.5}, None),
    "type changed": ({"a": int}, {"a": str}, {("type_changed", "a"): BOTH}, {"a": 1}, {"a": "x"}),
    "null allowed": ({"a": int}, {"a": int | None}, {("type_widened", "a"): READERS}, None, {"a": None}),
    "null forbidden": ({"a": int | None}, {"a": int}, {("type_narrowed", "a"): WRITERS}, {"a": None}, None),
    "union widened": ({"a": int}, {"a": int | str}, {("type_widened", "a"): READERS}, None, {"a": "x"}),
    "union narrowed": ({"a": int | str}, {"a": str}, {("type_narrowed", "a"): WRITERS}, {"a": 1}, None),
    "union reordered": ({"a": int | str}, {"a": str | int}, {}, None, None),
    "anything allowed": ({"a": int}, {"a": Any}, {("type_widened", "a"): READERS}, None, {"a": []}),
    "anything no longer": ({"a": Any}, {"a": int}, {("type_narrowed", "a"): WRITERS}, {"a": []}, None),
    "enum value added": ({"a": Color}, {"a": Paint}, {("enum_values_added", "a"): READERS}, None, {"a": "green"}),
    "enum value removed": ({"a": Paint}, {"a": Color}, {("enum_values_removed", "a"): WRITERS}, {"a": "green"}, None),
    "literal value replaced": (
        {"a": Literal["x", "y"]},
        {"a": Literal["y", "z"]},
        {("enum_values_removed", "a"): WRITERS, ("enum_values_added", "a"): READERS},
        {"a": "x"},
        {"a": "z"},
    ),
    "one literal made two": (
        {"a": Literal["x"]},
        {"a": Literal["x", "y"]},
        {("enum_values_added", "a"): READERS},
        None,
        {"a": "y"},
    ),
    "literal with null": (
        {"a": Literal["x"]},
        {"a": Literal["x", None]},
        {("type_widened", "a"): READERS},
        None,
        {"a": None},
    ),
    "literals joined otherwise": ({"a": Literal["x"] | Literal["y"]}, {"a": Literal["x", "y"]}, {}, None, None),
    "values restricted": ({"a": str}, {"a": Color}, {("enum_added", "a"): WRITERS}, {"a": "x"}, None),
    "values set free": ({"a": Color}, {"a": str}, {("enum_removed", "a"): READERS}, None, {"a": "x"}),
    "lower bound tightened": (
        {"a": Annotated[int, Field(ge=0)]},
        {"a": Annotated[int, Field(ge=1)]},
        {("constraint_tightened", "a"): WRITERS},
        {"a": 0},
        None,
    ),
    "lower bound loosened": (
        {"a": Annotated[int, Field(gt=0)]},
        {"a": Annotated[int, Field(ge=0)]},
        {("constraint_loosened", "a"): READERS},
        None,
        {"a": 0},
    ),
    "edge taken out": (
        {"a": Annotated[int, Field(le=9)]},
        {"a": Annotated[int, Field(lt=9)]},
        {("constraint_tightened", "a"): WRITERS},
        {"a": 9},
        None,
    ),
    "upper bound set": (
        {"a": int},
        {"a": Annotated[int, Field(lt=9)]},
        {("constraint_tightened", "a"): WRITERS},
        {"a": 9},
        None,
    ),
    "upper bound lifted": (
        {"a": Annotated[int, Field(le=9)]},
        {"a": Annotated[int, Field(le=10)]},
        {("constraint_loosened", "a"): READERS},
        None,
        {"a": 10},
    ),
    "bound lifted and set": (
        {"a": Annotated[int, Field(ge=0)]},
        {"a": Annotated[int, Field(le=10)]},
        {("constraint_tightened", "a"): WRITERS, ("constraint_loosened", "a"): READERS},
        {"a": 11},
        {"a": -1},
    ),
    "text made shorter": (
        {"a": Annotated[str, Field(max_length=5)]},
        {"a": Annotated[str, Field(max_length=3)]},
        {("constraint_tightened", "a"): WRITERS},
        {"a": "xxxx"},
        None,
    ),
    "list may be empty": (
        {"a": Annotated[list[int], Field(min_length=1)]},
        {"a": list[int]},
        {("constraint_loosened", "a"): READERS},
        None,
        {"a": []},
    ),
    "pattern set": (
        {"a": str},
        {"a": Annotated[str, Field(pattern="^a$")]},
        {("constraint_tightened", "a"): WRITERS},
        {"a": "x"},
        None,
    ),
    "pattern changed": (
        {"a": Annotated[str, Field(pattern="^b$")]},
        {"a": Annotated[str, Field(pattern="^a$")]},
        {("constraint_changed", "a"): BOTH},
        {"a": "b"},
        {"a": "a"},
    ),
    "field of a nested object added": (
        {"a": Address},
        {"a": AddressWithZip},
        {("required_field_added", "a.zip"): WRITERS},
        {"a": {"city": "Bern"}},
        None,
    ),
    "nested object in a nullable removed": (
        {"a": AddressWithZip | None},
        {"a": Address | None},
        {("required_field_removed", "a.zip"): READERS},
        None,
        {"a": {"city": "Bern"}},
    ),
    "elements of a list": (
        {"a": list[AddressWithZip]},
        {"a": list[Address]},
        {("required_field_removed", "a[].zip"): READERS},
        None,
        {"a": [{"city": "Bern"}]},
    ),
    "values of a mapping": (
        {"a": dict[str, float]},
        {"a": dict[str, int]},
        {("type_narrowed", "a.*"): WRITERS},
        {"a": {"k": 1.5}},
        None,
    ),
    "place of a tuple": (
        {"a": tuple[int, int]},
        {"a": tuple[int, str]},
        {("type_changed", "a[1]"): BOTH},
        {"a": [1, 1]},
        {"a": [1, "x"]},
    ),
    "member of a tagged union": (
        {"a": Pet},
        {"a": LaterPet},
        {("required_field_removed", "a.claws"): READERS},
        None,
        {"a": {"kind": "cat"}},
    ),
    "member added to a tagged union": (
        {"a": Dog},
        {"a": Pet},
        {("type_widened", "a"): READERS},
        None,
        {"a": {"kind": "cat", "claws": 9}},
    ),
}


@pytest.mark.parametrize(("old", "new", "expected", "only_old", "only_new"), CASES.values(), ids=CASES)
def test_a_change_of_shape(
    old: Fields,
    new: Fields,
    expected: dict[tuple[str, str], Sides],
    only_old: Fields | None,
    only_new: Fields | None,
) -> None:
    before, after = order(old), order(new)
    assert rules(before, after) == expected
    broken = frozenset(side for sides in expected.values() for side in sides)
    assert broken == (WRITERS if only_old is not None else NOTHING) | (READERS if only_new is not None else NOTHING)
    if only_old is not None:
        assert reads(before, only_old) and not reads(after, only_old)
    if only_new is not None:
        assert reads(after, only_new) and not reads(before, only_new)
    told = [c.breaks for c in changes(before, after) if c.rule == "version_not_raised"]
    assert told == ([broken] if broken else [])


@pytest.mark.parametrize(("old", "new", "expected", "only_old", "only_new"), CASES.values(), ids=CASES)
def test_the_reverse_change_breaks_the_other_side(
    old: Fields, new: Fields, expected: dict[Any, Sides], only_old: object, only_new: object
) -> None:
    turned = {"readers": "writers", "writers": "readers"}
    back = frozenset(side for sides in rules(order(new), order(old)).values() for side in sides)
    assert back == frozenset(turned[side] for sides in expected.values() for side in sides)


def test_names_of_nested_models_do_not_matter() -> None:
    renamed = create_model("Place", city=(str, ...))
    assert changes(order({"a": Address}), order({"a": renamed})) == []
    assert changes(order({"a": list[Address | int]}), order({"a": list[renamed | int]})) == []


def test_a_changed_description_is_no_change() -> None:
    said = Annotated[int, Field(title="Number", description="How many", examples=[1])]
    assert changes(order({"a": int}), order({"a": said})) == []


def test_a_recursive_event_can_be_compared() -> None:
    class Tree(ev.Event, type="order.placed", stream="orders"):
        children: list["Tree"] = Field(default=[])
        parent: "Tree | None" = None
        name: str

    class Later(ev.Event, type="order.placed", stream="orders"):
        children: list["Later"] = Field(default=[])
        parent: "Later | None" = None
        name: int

    assert changes(Tree, Tree) == []
    assert rules(Tree, Later) == {("type_changed", "name"): BOTH}


def test_a_schema_that_is_not_understood_counts_as_breaking_both_sides() -> None:
    old, new = order({"a": int}), order({"a": Annotated[int, Field(json_schema_extra={"not": {"const": 3}})]})
    assert rules(old, new) == {("constraint_changed", "a"): BOTH}


A = {"a": str}
B = {"a": str, "b": str}
EVENTS: dict[str, tuple[type[ev.Event] | None, type[ev.Event] | None, dict[str, Sides]]] = {
    "event added": (None, order(A), {"event_added": NOTHING}),
    "event removed": (order(A), None, {"event_removed": WRITERS}),
    "stream changed": (order(A), order(A, stream="sales"), {"stream_changed": BOTH}),
    "version raised with an upcaster": (
        order(A),
        order(B, version=2, upcasts=1),
        {"version_raised": READERS, "required_field_added": NOTHING},
    ),
    "version raised without": (
        order(A),
        order(B, version=2),
        {"version_raised": READERS, "version_dropped": WRITERS, "required_field_added": NOTHING},
    ),
    "version raised twice with one upcaster": (
        order(A),
        order(A, version=3, upcasts=1),
        {"version_raised": READERS, "version_dropped": WRITERS},
    ),
    "version raised over a chain": (
        order(A, version=2, upcasts=1),
        order(A, version=3, upcasts=2),
        {"version_raised": READERS},
    ),
    "an old upcaster dropped": (
        order(A, version=3, upcasts=2),
        order(A, version=3, upcasts=1),
        {"version_dropped": WRITERS},
    ),
    "an upcaster added": (order(A, version=2), order(A, version=2, upcasts=1), {"version_supported": NOTHING}),
    "version lowered to one that was read": (
        order(A, version=2, upcasts=1),
        order(A, version=1),
        {"version_lowered": WRITERS},
    ),
    "version lowered to one that was not": (
        order(A, version=2),
        order(A, version=1),
        {"version_lowered": BOTH, "version_supported": NOTHING},
    ),
    "shape changed under its version": (
        order(A, version=2),
        order(B, version=2),
        {"required_field_added": WRITERS, "version_not_raised": WRITERS},
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), EVENTS.values(), ids=EVENTS)
def test_a_change_of_the_event(
    old: type[ev.Event] | None, new: type[ev.Event] | None, expected: dict[str, Sides]
) -> None:
    assert {change.rule: frozenset(change.breaks) for change in changes(old, new)} == expected


@pytest.mark.parametrize(("old", "new", "expected"), EVENTS.values(), ids=EVENTS)
def test_verdicts_on_versions_agree_with_reading(
    old: type[ev.Event] | None, new: type[ev.Event] | None, expected: dict[str, Sides]
) -> None:
    if old is None or new is None or "stream_changed" in expected:
        return
    broken = frozenset(side for sides in expected.values() for side in sides)
    assert ("readers" in broken) == (not can_read(old, new))
    written_before = [old, *([order(A, version=1)] if "version_dropped" in expected and old.event_upcasters else [])]
    assert ("writers" in broken) == (not all(can_read(new, writer) for writer in written_before))


def can_read(reader: type[ev.Event], writer: type[ev.Event]) -> bool:
    event = writer(**dict.fromkeys(writer.model_fields, "A1"))
    try:
        return decode(write(event, "shop")[1], {"order.placed": reader}) is not None
    except ev.DataError:
        return False


def test_a_change_names_its_place_and_what_changed() -> None:
    [change, raised] = changes(order({"a": Address}), order({"a": AddressWithZip}))
    assert str(change) == "order.placed a.zip: added, required; breaks writers"
    assert str(raised) == (
        "order.placed: another shape under version 1: raise it to 2 and declare upcast(1); breaks writers"
    )
