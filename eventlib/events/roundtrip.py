"""What an event class writes, it reads: an event that is published is handled, and is equal.

A class that loses part of every event is refused where it is declared. For most classes the types of the fields prove
that each value comes back. For the others, each event is read back before it is published.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple, cast

from pydantic import BaseModel, SecretStr
from pydantic_core import SchemaValidator

from eventlib.errors import InvalidDeclaration
from eventlib.events.core_types import OBJECTS
from eventlib.events.names import Core, fields_of, read_names, written_name

PROVEN_INT_BYTES = 4096  # JSON of this length has no integer of more digits than a reader takes (4,300)

# Types of pydantic-core whose JSON always comes back as the same value.
_ALWAYS = {"str", "bool", "none", "int", "date", "uuid"}
# Settings that change a value when it is written or read: a time is rounded, a text is stripped or changes its case.
_MAY_CHANGE = {"ser_json_temporal", "str_strip_whitespace", "str_to_lower", "str_to_upper"}
_INSIDE = {"nullable": "schema", "list": "items_schema", "definitions": "schema"}


def refuse_what_is_lost(event_class: type[BaseModel]) -> None:
    """Check that no field of the class, or of anything inside it, is left out, hidden or renamed on the wire.

    A class that names another one before that is declared is checked when its first event is published.

    Raises:
        InvalidDeclaration: a field is; the message has its place and the mend.
    """
    schema = event_class.__pydantic_core_schema__
    if isinstance(schema, dict):
        for place, problem in _Losses().of(schema, "", {}):
            raise InvalidDeclaration(f"{event_class.__name__}{place and '.'}{place}", problem)


class _Losses:
    """A walk over the core schema of a class: what is lost of each of its events, by place."""

    def __init__(self) -> None:
        self._definitions: dict[str, Core] = {}
        self._seen: set[str] = set()

    def of(self, schema: Core, place: str, settings: Core) -> Iterator[tuple[str, str]]:
        kind, settings = schema["type"], schema.get("config", settings)
        extra = schema.get("extra_behavior", settings.get("extra_fields_behavior"))
        if _is_secret(schema):
            yield place, "a secret is written as asterisks; publish where it is kept, not the secret"
        elif kind == "definition-ref":
            if (reference := schema["schema_ref"]) in self._definitions and reference not in self._seen:
                self._seen.add(reference)
                yield from self.of(self._definitions[reference], place, settings)
        elif kind in OBJECTS:
            if extra == "allow":
                yield (
                    place,
                    'extra="allow": a reader ignores fields that it does not know; declare a dict field for them',
                )
            for name, field in fields_of(schema):
                inside = f"{place}.{name}".lstrip(".")
                if field.get("serialization_exclude"):
                    yield inside, "exclude=True: the field would be lost on the wire; take it out of the event"
                if problem := _renamed(name, field, settings):
                    yield inside, problem
                yield from self.of(field["schema"], inside, settings)
        else:
            if kind == "definitions":
                self._definitions |= {definition["ref"]: definition for definition in schema["definitions"]}
            for part in _parts(schema):
                yield from self.of(part, place, settings)


def _renamed(name: str, field: Core, settings: Core) -> str | None:
    written, names = written_name(name, field), read_names(name, field, settings)
    if written in names:
        return None
    readable = sorted(repr(read) for read in names if isinstance(read, str))
    return f"is written as {written!r} and read as {', '.join(readable) or 'a path'}; give it one alias="


def _is_secret(schema: Core) -> bool:
    function = schema.get("serialization", {}).get("function")
    return getattr(function, "__module__", "") == SecretStr.__module__ and "secret" in function.__name__


_PARTS = (
    "schema", "items_schema", "keys_schema", "values_schema", "choices", "steps", "lax_schema", "json_schema",
    "arguments_schema", "var_args_schema", "fields",
)  # fmt: skip


def _parts(schema: Core) -> Iterator[Core]:
    """The schemas that values in JSON go through, without definitions."""
    for key in _PARTS:
        found = schema.get(key, ())
        if isinstance(found, Mapping):
            found = [found] if isinstance(found.get("type"), str) else found.values()
        for each in found:
            part = each[0] if isinstance(each, tuple) else each  # a choice with its label
            if isinstance(part, Mapping):
                yield part if isinstance(part.get("type"), str) else part["schema"]


class Proof:
    """Whether the types of a class prove that its values come back: all (`complete`), or those that it `holds` for.

    A proof holds for values of the declared types, so the serializer has to refuse others: `warnings` is its argument.
    """

    __slots__ = ("_small", "_times", "complete", "warnings")

    def __init__(self, event_class: type[BaseModel]) -> None:
        found = _Types(event_class.__pydantic_core_schema__)
        self._small = found.proven
        self._times = found.times
        self.complete = found.proven and not found.integers and not found.times
        self.warnings: Literal["error", "none"] = "error" if found.proven else "none"

    def holds(self, event: BaseModel, written_bytes: int) -> bool:
        """Whether this event is proven: it has no huge integer, and its times are in UTC or without a zone."""
        if not self._small or written_bytes > PROVEN_INT_BYTES:
            return False
        for name in self._times:
            value = getattr(event, name)
            if value is not None and not (type(value) is datetime and (value.tzinfo is UTC or value.tzinfo is None)):
                return False
        return True


@lru_cache(maxsize=1024)
def proof_of(event_class: type[BaseModel]) -> Proof:
    """The proof for a class, which is checked once more: now everything in it is declared."""
    refuse_what_is_lost(event_class)
    return Proof(event_class)


class _Part(NamedTuple):
    """A schema inside a class's. `field` is the class's own field whose value it is, "" for the class, else None."""

    schema: Core
    finite: bool  # floats must be finite
    field: str | None


class _Types:
    """A walk over the types of a class."""

    def __init__(self, schema: Core) -> None:
        self.proven = True
        self.integers = False
        self.times: list[str] = []  # fields of the class itself that hold a time which may have a zone
        waiting: list[_Part] = [_Part(schema, finite=False, field="")]
        while waiting and self.proven:
            waiting += self._inside(*waiting.pop())

    def _inside(self, schema: Core, finite: bool, field: str | None) -> Iterator["_Part"]:
        kind = schema["type"]
        if "serialization" in schema:
            self.proven = False
        elif kind in _ALWAYS:
            self.integers = self.integers or kind == "int"
        elif kind == "datetime":  # an offset to the second, as old local times have, is written to the minute
            self.proven = schema.get("tz_constraint") == "naive" or bool(field)
            self.times += [field] if field else []
        elif kind == "float":
            self.proven = not schema.get("allow_inf_nan", not finite)
        elif kind in ("literal", "enum"):
            values = schema["expected"] if kind == "literal" else [member.value for member in schema["members"]]
            self.proven = all(type(value) in (str, int, bool) for value in values)
        elif kind in _INSIDE:
            yield _Part(schema[_INSIDE[kind]], finite, None if kind == "list" else field)
        elif kind == "default":  # which is taken as it is
            self.proven = _is_of_its_type(schema)
            yield _Part(schema["schema"], finite, field)
        elif kind == "dict":
            self.proven = schema.get("keys_schema", {}).get("type") == "str"
            yield _Part(schema.get("values_schema", {"type": "any"}), finite, None)
        elif kind == "tuple":
            yield from (_Part(item, finite, None) for item in schema["items_schema"])
        elif kind == "model":
            plain = not (
                schema.get("custom_init") or schema.get("post_init") or schema["cls"].__eq__ is not BaseModel.__eq__
            )
            settings = schema.get("config", {})
            self.proven = plain and not _MAY_CHANGE & settings.keys()
            yield _Part(schema["schema"], not settings.get("allow_inf_nan", True), "" if field == "" else None)
        elif kind == "model-fields":
            self.proven = not any(found.get("serialization_exclude_if") for found in schema["fields"].values())
            fields = schema["fields"].items()
            yield from (_Part(found["schema"], finite, name if field == "" else None) for name, found in fields)
        else:  # Any, unions, sets, bytes, decimals, validators, recursion: they may come back or not
            self.proven = False


def _is_of_its_type(schema: Core) -> bool:
    """Whether a default is known to be what its field takes. What a function returns is not known."""
    try:
        default = schema["default"]
        read = SchemaValidator(cast("Any", schema["schema"])).validate_python(default, strict=True)
        return type(read) is type(default) and bool(read == default)
    except Exception:  # there is no value, it is refused, or its type is defined elsewhere
        return False


def is_same(sent: object, read: object) -> bool:
    """Whether an event came back. Times are the same if they are one instant: in the hour that a clock goes through
    twice, Python takes no time of that zone for equal to one of another zone.
    """
    return sent == read or (type(sent) is type(read) and _is_same_inside(sent, read))


def _is_same_inside(sent: object, read: Any) -> bool:
    match sent:
        case BaseModel():
            return _is_same_inside(vars(sent), vars(read))
        case datetime():
            return None not in (sent.utcoffset(), read.utcoffset()) and sent.astimezone(UTC) == read.astimezone(UTC)
        case dict():
            return sent.keys() == read.keys() and all(is_same(value, read[key]) for key, value in sent.items())
        case list() | tuple():
            return len(sent) == len(read) and all(map(is_same, sent, read))
    return False


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
        if not (value is read[name] or is_same(value, read[name])):
            return first_difference(value, read[name], f"{place}.{name}")
    return place
