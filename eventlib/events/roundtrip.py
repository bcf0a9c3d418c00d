"""What an event class writes, it reads: an event that is published is handled, and is equal.

A class that loses part of every event is refused where it is declared. For most classes the types of the fields prove
that each value comes back. For the others, each event is read back before it is published.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, get_args

from pydantic import AliasChoices, BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from eventlib.errors import InvalidDeclaration

PROVEN_INT_BYTES = 4096  # JSON of this length has no integer of more digits than a reader takes (4,300)

# Types of pydantic-core whose JSON always comes back as the same value.
_ALWAYS = {"str", "bool", "none", "int", "datetime", "date", "uuid"}
_INSIDE = {"nullable": "schema", "default": "schema", "list": "items_schema", "definitions": "schema"}
_SECRETS = (SecretStr, SecretBytes, Secret)


def refuse_what_is_lost(event_class: type[BaseModel]) -> None:
    """Check that no field of the class, or of a model inside it, is left out, hidden or renamed on the wire.

    Raises:
        InvalidDeclaration: a field is; the message has its place and the mend.
    """
    for place, problem in _losses(event_class, "", set()):
        raise InvalidDeclaration(f"{event_class.__name__}{place and '.'}{place}", problem)


def _losses(model: type[BaseModel], place: str, seen: set[type]) -> Iterator[tuple[str, str]]:
    seen.add(model)
    if model.model_config.get("extra") == "allow":
        yield place, 'extra="allow": a reader ignores fields that it does not know; declare a dict field for them'
    for name, field in model.model_fields.items():
        inside = f"{place}.{name}" if place else name
        if field.exclude:
            yield inside, "exclude=True: the field would be lost on the wire; take it out of the event"
        if problem := _renamed(model, name, field):
            yield inside, problem
        for annotation in _parts(field.annotation):
            if isinstance(annotation, type) and issubclass(annotation, _SECRETS):
                yield inside, "a secret is written as asterisks; publish where it is kept, not the secret"
            elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
                yield from _losses(annotation, inside, seen)


def _renamed(model: type[BaseModel], name: str, field: FieldInfo) -> str | None:
    written = field.serialization_alias or field.alias or name
    alias = field.validation_alias
    read = {name} if alias is None else {each for each in _choices(alias) if isinstance(each, str)}
    if model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name"):
        read.add(name)
    if written in read:
        return None
    return f"is written as {written!r} and read as {', '.join(map(repr, sorted(read))) or 'a path'}; give it one alias="


def _choices(alias: object) -> list[object]:
    return list(alias.choices) if isinstance(alias, AliasChoices) else [alias]


def _parts(annotation: object) -> Iterator[object]:
    """An annotation and everything in its brackets."""
    waiting = [annotation]
    while waiting:
        part = waiting.pop()
        yield getattr(part, "__origin__", None) or part
        waiting += get_args(part)


class Proof:
    """Whether the types of a class prove that its values come back: `complete`, or `small` but for huge integers."""

    __slots__ = ("complete", "small")

    def __init__(self, event_class: type[BaseModel]) -> None:
        found = _Types(event_class.__pydantic_core_schema__)
        self.small = found.proven
        self.complete = found.proven and not found.integers


@lru_cache(maxsize=1024)
def proof_of(event_class: type[BaseModel]) -> Proof:
    """The proof for a class."""
    return Proof(event_class)


class _Types:
    """A walk over the types of a class."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.proven = True
        self.integers = False
        waiting: list[tuple[Mapping[str, Any], bool]] = [(schema, False)]  # and whether floats must be finite
        while waiting and self.proven:
            waiting += self._inside(*waiting.pop())

    def _inside(self, schema: Mapping[str, Any], finite: bool) -> Iterator[tuple[Mapping[str, Any], bool]]:
        kind = schema["type"]
        if "serialization" in schema:
            self.proven = False
        elif kind in _ALWAYS:
            self.integers = self.integers or kind == "int"
        elif kind == "float":
            self.proven = not schema.get("allow_inf_nan", not finite)
        elif kind in ("literal", "enum"):
            values = schema["expected"] if kind == "literal" else [member.value for member in schema["members"]]
            self.proven = all(type(value) in (str, int, bool) for value in values)
        elif kind in _INSIDE:
            yield schema[_INSIDE[kind]], finite
        elif kind == "dict":
            self.proven = schema.get("keys_schema", {}).get("type") == "str"
            yield schema.get("values_schema", {"type": "any"}), finite
        elif kind == "tuple":
            yield from ((item, finite) for item in schema["items_schema"])
        elif kind == "model":
            plain = not (
                schema.get("custom_init") or schema.get("post_init") or schema["cls"].__eq__ is not BaseModel.__eq__
            )
            self.proven = plain
            yield schema["schema"], not schema.get("config", {}).get("allow_inf_nan", True)
        elif kind == "model-fields":
            yield from ((field["schema"], finite) for field in schema["fields"].values())
        else:  # Any, unions, sets, bytes, decimals, validators, recursion: they may come back or not
            self.proven = False


def first_difference(sent: object, read: object, place: str = "data") -> str:
    """The place of the first value that did not come back."""
    if isinstance(sent, BaseModel) and type(sent) is type(read):
        return _first_of(vars(sent), vars(read), place)
    if isinstance(sent, dict) and isinstance(read, dict) and sent.keys() == read.keys():
        return _first_of(sent, read, place)
    if isinstance(sent, list | tuple) and type(sent) is type(read) and len(sent) == len(read):
        return _first_of(dict(enumerate(sent)), dict(enumerate(read)), place)
    return place


def _first_of(sent: Mapping[Any, object], read: Mapping[Any, object], place: str) -> str:
    for name, value in sent.items():
        if not (value is read[name] or value == read[name]):
            return first_difference(value, read[name], f"{place}.{name}")
    return place
