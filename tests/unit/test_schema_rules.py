"""What JSON Schema cannot say is exported as a rule, and a change of it breaks what it really breaks."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    NaiveDatetime,
    PastDate,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    computed_field,
    create_model,
    field_validator,
    model_validator,
)

import eventlib as ev
from eventlib.events.identity import digest_of, identity

Sides = set[str]
READERS, WRITERS = {"readers"}, {"writers"}
BOTH = READERS | WRITERS


def event(kind: Any = int, **field: Any) -> type[ev.Event]:
    wire: dict[str, Any] = {"type": "thing.made", "stream": "things"}
    return create_model("Thing", __base__=ev.Event, __cls_kwargs__=wire, x=(kind, Field(**field)))


def changes(old: type[ev.Event], new: type[ev.Event]) -> list[ev.SchemaChange]:
    return ev.schema_changes(ev.Registry(old).asyncapi(), ev.Registry(new).asyncapi())


def broken(old: type[ev.Event], new: type[ev.Event]) -> Sides:
    return {side for change in changes(old, new) for side in change.breaks}


def at_most(limit: int) -> Callable[[int], int]:
    def check(value: int) -> int:
        if value > limit:
            raise ValueError("too many")
        return value

    return check


class Model(BaseModel):
    n: Annotated[int, AfterValidator(at_most(5))] = 0


class LaterModel(BaseModel):
    n: Annotated[int, AfterValidator(at_most(4))] = 0


# The old type, the new one, what the change breaks. The reverse change breaks the other side.
RULES: dict[str, tuple[Any, Any, Sides]] = {
    "aware": (datetime, AwareDatetime, WRITERS),
    "aware or naive": (AwareDatetime, NaiveDatetime, BOTH),
    "past": (date, PastDate, WRITERS),
    "an earlier last day": (
        Annotated[date, Field(le=date(2030, 1, 2))],
        Annotated[date, Field(lt=date(2030, 1, 2))],
        WRITERS,
    ),
    "longest duration": (
        Annotated[timedelta, Field(le=timedelta(2))],
        Annotated[timedelta, Field(le=timedelta(1))],
        WRITERS,
    ),
    "type of keys": (dict[str, int], dict[int, int], BOTH),
    "keys with a length": (dict[str, int], dict[Annotated[str, Field(max_length=1)], int], WRITERS),
    "keys with a rule": (dict[datetime, int], dict[AwareDatetime, int], WRITERS),
    "keys from a list": (dict[Literal["a", "b"], int], dict[Literal["a"], int], WRITERS),
    "values under keys with a pattern": (
        dict[Annotated[str, Field(pattern="^a")], Model],
        dict[Annotated[str, Field(pattern="^a")], LaterModel],
        BOTH,
    ),
    "places": (Decimal, Annotated[Decimal, Field(decimal_places=2)], WRITERS),
    "digits": (Decimal, Annotated[Decimal, Field(max_digits=3)], WRITERS),
    "more places and so fewer whole digits": (
        Annotated[Decimal, Field(max_digits=5, decimal_places=2)],
        Annotated[Decimal, Field(max_digits=5, decimal_places=3)],
        BOTH,
    ),
    "a decimal bound": (
        Annotated[Decimal, Field(ge=Decimal("1.2"))],
        Annotated[Decimal, Field(ge=Decimal("1.25"))],
        WRITERS,
    ),
    "strict": (int, Annotated[int, Field(strict=True)], WRITERS),
    "stripped": (str, Annotated[str, StringConstraints(strip_whitespace=True)], BOTH),
    "text that is JSON": (str, Annotated[Any, Json], BOTH),
    "an after validator": (int, Annotated[int, AfterValidator(at_most(5))], WRITERS),
    "another limit of a validator": (
        Annotated[int, AfterValidator(at_most(5))],
        Annotated[int, AfterValidator(at_most(4))],
        BOTH,
    ),
    "a before validator": (int, Annotated[int, BeforeValidator(abs)], BOTH),
    "a type under a validator": (
        Annotated[int, AfterValidator(at_most(5))],
        Annotated[float, AfterValidator(at_most(5))],
        BOTH,
    ),
    "a serializer": (int, Annotated[int, PlainSerializer(str)], BOTH),
    "validators in another order": (
        Annotated[int, AfterValidator(abs), AfterValidator(at_most(5))],
        Annotated[int, AfterValidator(at_most(5)), AfterValidator(abs)],
        BOTH,
    ),
    "a type that the schema hides": (
        Annotated[int, WithJsonSchema({"type": "integer"})],
        Annotated[int, Field(le=5), WithJsonSchema({"type": "integer"})],
        WRITERS,
    ),
    "the first member that fits": (
        Annotated[int | str, Field(union_mode="left_to_right")],
        Annotated[str | int, Field(union_mode="left_to_right")],
        BOTH,
    ),
    "a rule of one member": (datetime | int, AwareDatetime | int, WRITERS),
    "a rule of an element": (list[datetime], list[AwareDatetime], WRITERS),
    "a short text that becomes a date": (Annotated[str, Field(max_length=5)], date, BOTH),
    "a mapping that becomes an object": (dict[str, int], Model, BOTH),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "breaks"), RULES.values(), ids=RULES)
def test_a_rule_that_json_schema_cannot_say(old: Any, new: Any, breaks: Sides) -> None:
    turned = {"readers": "writers", "writers": "readers"}
    assert broken(event(old), event(new)) == breaks
    assert broken(event(new), event(old)) == {turned[side] for side in breaks}
    for same in (old, new):
        assert changes(event(same), event(same)) == []


SETTINGS: list[tuple[ConfigDict, Any]] = [
    ({"strict": True}, int),
    ({"str_strip_whitespace": True}, str),
    ({"str_max_length": 3}, str),
    ({"allow_inf_nan": False}, float),
    ({"val_json_bytes": "hex", "ser_json_bytes": "hex"}, bytes),
    ({"ser_json_timedelta": "float"}, timedelta),
]


@pytest.mark.parametrize(("setting", "kind"), SETTINGS)
def test_a_setting_of_a_class_is_a_rule_of_its_fields(setting: ConfigDict, kind: Any) -> None:
    plain, other = (event(create_model("Inside", __config__=c, x=(kind, ...))) for c in (ConfigDict(), setting))
    assert "writers" in broken(plain, other)
    assert changes(other, other) == []


# Names


def named(*read: Any, written: str) -> type[ev.Event]:
    return event(int, validation_alias=AliasChoices(*read), serialization_alias=written)


NAMES: dict[str, tuple[type[ev.Event], type[ev.Event], Sides]] = {
    "both names are read by both": (named("x", "y", written="x"), named("y", "x", written="y"), set()),
    "the old name is not read any more": (named("x", "y", written="x"), named("y", written="y"), WRITERS),
    "the new name was not read before": (named("x", written="x"), named("y", "x", written="y"), READERS),
    "neither": (named("x", written="x"), named("y", written="y"), BOTH),
    "one more name is read": (named("x", written="x"), named("x", "y", written="x"), set()),
}


@pytest.mark.parametrize(("old", "new", "breaks"), NAMES.values(), ids=NAMES)
def test_names_as_written_are_compared_with_names_as_read(
    old: type[ev.Event], new: type[ev.Event], breaks: Sides
) -> None:
    assert broken(old, new) == breaks


def test_the_schema_names_a_field_as_it_is_written() -> None:
    schema = ev.json_schema(named("x", "y", written="y"))
    assert schema["required"] == list(schema["properties"]) == ["y"]


def test_what_may_be_read_from_another_field_is_in_doubt() -> None:
    class Old(ev.Event, type="thing.made", stream="things"):
        a: list[str]
        x: int = 0

    class New(ev.Event, type="thing.made", stream="things"):
        a: list[str]
        x: int = Field(default=0, validation_alias=AliasChoices(AliasPath("a", 0), "x"), serialization_alias="x")

    assert broken(Old, New) == WRITERS


def test_a_field_may_not_take_the_name_of_what_was_computed() -> None:
    class Old(ev.Event, type="thing.made", stream="things"):
        a: int

        @computed_field
        def total(self) -> str:
            return f"{self.a} euros"

    class New(ev.Event, type="thing.made", stream="things"):
        a: int
        total: int = 0

    assert broken(Old, New) == WRITERS


# Validators


def test_a_default_that_its_own_field_refuses_makes_it_required() -> None:
    old = event(int)
    for default, breaks in ((1, set()), (-1, WRITERS)):
        new = create_model(
            "Thing",
            __base__=ev.Event,
            __cls_kwargs__={"type": "thing.made", "stream": "things"},
            x=(int, ...),
            y=(Annotated[int, Field(ge=0)], Field(default=default, validate_default=True)),
        )
        assert broken(old, new) == breaks


def validated(limit: int, *, more: bool = False) -> type[ev.Event]:
    class Thing(ev.Event, type="thing.made", stream="things"):
        x: int
        if more:
            y: int = 0

        @field_validator("x")
        @classmethod
        def _small(cls, value: int) -> int:
            return at_most(limit)(value)

        @model_validator(mode="after")
        def _small_too(self) -> Any:
            assert self._limit() <= limit
            return self

        @classmethod
        def _limit(cls) -> int:
            return 3

    return Thing


def test_validators_of_a_class_are_its_rules() -> None:
    assert changes(validated(5), validated(5)) == []
    assert broken(validated(5), validated(5, more=True)) == set()
    assert broken(validated(5), validated(4)) == BOTH
    without = event(int)
    assert broken(without, validated(5)) == WRITERS
    assert broken(validated(5), without) == READERS


LIMIT = 5
TABLE: set[object] = {1, 2, 3}


def uses_globals(value: int) -> bool:
    """A docstring."""
    return value < LIMIT and helper(value) and value in TABLE


def helper(value: int) -> bool:
    return value > 0


def test_the_identity_of_code_is_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert digest_of(at_most(5)) == digest_of(at_most(5)) != digest_of(at_most(6))
    assert digest_of(partial(pow, 2)) != digest_of(partial(pow, 3))
    assert digest_of(lambda v: v + 1) != digest_of(lambda v: v + 2)  # two lambdas on one line
    before = digest_of(uses_globals)
    assert identity(uses_globals) == {"name": f"{__name__}.uses_globals", "digest": before}
    for name, value in (("LIMIT", 6), ("TABLE", {1}), ("helper", lambda value: value > 1)):
        with monkeypatch.context() as changed:
            changed.setitem(globals(), name, value)
            assert digest_of(uses_globals) != before, name
    assert digest_of(uses_globals) == before


MODULE = '''
import re
import eventlib as ev
from typing import Annotated
from pydantic import AfterValidator
WORDS = {"red", "green", "blue", "black", "white"}
def known(value: str) -> str:
    """Words."""
    assert value in WORDS and re.match("a", "a")  # a comment
    return value
class Thing(ev.Event, type="thing.made", stream="things"):
    x: Annotated[str, AfterValidator(known), AfterValidator(lambda v: v)]
'''


def test_the_identity_is_the_same_in_every_process(tmp_path: Path) -> None:
    told = set()
    bare = MODULE.replace("  # a comment", "").replace('    """Words."""\n', "")
    for seed, text in enumerate((MODULE, bare)):
        (folder := tmp_path / str(seed)).mkdir()
        (folder / "things.py").write_text(text)
        script = "import things, eventlib as ev, json; print(json.dumps(ev.json_schema(things.Thing)))"
        environment = {"PYTHONHASHSEED": str(seed), "PYTHONPATH": f"{folder}:{Path(ev.__file__).parents[1]}"}
        command = [sys.executable, "-c", script]
        told.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(told) == 1


# Exports of before


def without_rules(document: Any) -> Any:
    if isinstance(document, list):
        return [without_rules(part) for part in document]
    if not isinstance(document, dict):
        return document
    return {key: without_rules(v) for key, v in document.items() if not key.startswith("x-") or key == "x-event"}


def test_an_older_export_is_in_doubt_only_where_a_rule_matters() -> None:
    class Thing(ev.Event, type="thing.made", stream="things"):
        name: Annotated[str, Field(max_length=5)]
        at: AwareDatetime

    now = json.loads(json.dumps(ev.Registry(Thing).asyncapi()))
    found = ev.schema_changes(without_rules(now), now)
    assert [(change.path, change.rule) for change in found if change.path] == [("at", "rules_unknown")]
    assert "export it again" in str(found[0])
    plain = ev.Registry(event(datetime)).asyncapi()
    assert ev.schema_changes(without_rules(plain), plain) == []
