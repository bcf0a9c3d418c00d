"""Reading an exported schema: references followed, unions taken apart into their members."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from eventlib.events.rules import RULES, merged_rules

Schema = Mapping[str, Any]

RULES_VERSION = "x-rules-version"  # in a document: its schemas have the x- keywords of this version

_ANNOTATION = ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "contentMediaType")
ANY: Schema = {}


class Side(NamedTuple):
    """A schema, the document that its references point into, and the reference that led to it."""

    schema: Any
    document: Schema
    reference: str | None = None

    def at(self, schema: Any, reference: str | None = None) -> "Side":
        return Side(schema, self.document, reference)

    @property
    def rules(self) -> Schema:
        """What JSON Schema cannot say."""
        rules = self.schema.get(RULES)
        return rules if isinstance(rules, Mapping) else {}

    @property
    def tells_rules(self) -> bool:
        """Whether the document was written by a version that tells such rules."""
        return RULES_VERSION in self.document


def members(side: Side) -> list[Side]:
    """The alternatives that a schema allows, with references followed. A schema that is not a union has one.

    The rules of a union are rules of each of its members.
    """
    found: list[Side] = []
    seen: set[str] = set()
    waiting = [side]
    while waiting:
        one = resolved(waiting.pop(0), seen)
        if one is None:
            continue
        union = one.schema.get("anyOf") or one.schema.get("oneOf")
        if union and not any(is_rule(keyword) for keyword in one.schema.keys() - {"anyOf", "oneOf"}):
            ordered = one.rules.get("mode") == "left_to_right"
            for place, member in enumerate(union):
                waiting.append(one.at(_with_rules(member, {**one.rules, "place": place} if ordered else one.rules)))
        elif isinstance(types := one.schema.get("type"), list):
            waiting += [one.at({**one.schema, "type": type_}) for type_ in types]
        else:
            found += [one.at(part, one.reference) for part in _by_kind(one.schema)]
    return _united(found) or [side.at(ANY)]


def resolved(side: Side, seen: set[str]) -> Side | None:
    """The schema that a reference or an `allOf` of one schema leads to. None if the reference was `seen` before."""
    while True:
        schema = side.schema
        if not isinstance(schema, Mapping):
            return side.at(ANY if schema else {"not": {}})
        if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
            side = side.at(_beside(schema["allOf"][0], schema, "allOf"))
        elif not isinstance(reference := schema.get("$ref"), str):
            return side
        elif reference in seen:
            return None
        else:
            seen.add(reference)
            side = side.at(_beside(target(side.document, reference), schema, "$ref"), reference)


def target(document: Schema, reference: str) -> Schema:
    """What a reference leads to."""
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else ANY


def expanded(side: Side, value: Any, inside: tuple[str, ...] = ()) -> Any:
    """A part of a schema with references replaced by what they lead to, and without words for people."""
    if isinstance(value, list):
        return [expanded(side, item, inside) for item in value]
    if not isinstance(value, Mapping):
        return value
    if isinstance(reference := value.get("$ref"), str):
        if reference in inside:
            return ["again", len(inside) - inside.index(reference)]
        return expanded(side, _beside(target(side.document, reference), value, "$ref"), (*inside, reference))
    keys = value.keys() - {"title", "description", "examples", *({"name"} if "digest" in value else ())}
    return {key: expanded(side, value[key], inside) for key in sorted(keys)}


def _beside(schema: Schema, around: Schema, keyword: str) -> Schema:
    """A schema with what stands around the keyword that led to it."""
    merged = {**schema, **{k: v for k, v in around.items() if k not in (keyword, RULES)}}
    return _with_rules(merged, around.get(RULES, {}))  # type: ignore[no-any-return]  # it is given a mapping


def _with_rules(schema: Any, rules: Schema) -> Any:
    if not rules:
        return schema
    if not isinstance(schema, Mapping):
        schema = ANY if schema else {"not": {}}
    return {**schema, RULES: merged_rules(schema.get(RULES, {}), dict(rules))}


def _by_kind(schema: Schema) -> list[Schema]:
    """An enumeration whose values have several types as one enumeration for each type."""
    values = enum_of(schema)
    if values is None or "type" in schema:
        return [schema]
    kinds = dict.fromkeys(map(_kind_of, values))
    rules = {RULES: schema[RULES]} if RULES in schema else {}
    return [{"type": kind, "enum": [v for v in values if _kind_of(v) == kind], **rules} for kind in kinds]


def _united(found: list[Side]) -> list[Side]:
    """The members, with enumerations of one type united: Literal["a"] | Literal["b"] is Literal["a", "b"]."""
    united: list[Side] = []
    enums: dict[str, list[Any]] = {}
    for member in found:
        values = enum_of(member.schema)
        if values is None or member.rules:
            united.append(member)
        elif (kind := kind_of(member)) in enums:
            enums[kind] += values
        else:
            enums[kind] = values
            united.append(member.at({"type": kind, "enum": values}))
    return united


def enum_of(schema: Schema) -> list[Any] | None:
    """The values that a schema allows, if it lists them."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return None if values is None else list(values)


def kind_of(side: Side) -> str:
    """The JSON type. `any` if every value is allowed, `schema` if other keywords say which values are.

    An object with fields of its own and a mapping are two kinds.
    """
    if isinstance(type_ := side.schema.get("type"), str):
        return "mapping" if type_ == "object" and "properties" not in side.schema else type_
    return "schema" if any(map(is_rule, side.schema)) else "any"


def label_of(side: Side) -> str:
    """The kind and, for a member of a tagged union, its tags: the fields that allow one value only."""
    fields = side.schema.get("properties", {}).items()
    tags = {name: field["const"] for name, field in fields if isinstance(field, Mapping) and "const" in field}
    return " ".join([kind_of(side), *(f"{name}={value!r}" for name, value in sorted(tags.items()))])


def is_rule(keyword: str) -> bool:
    """Whether a keyword of JSON Schema says which values are allowed."""
    return keyword not in _ANNOTATION and not keyword.startswith(("x-", "$"))


_KINDS = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


def _kind_of(value: object) -> str:
    return _KINDS.get(type(value), "null")


def pairs_of_one_kind(before: list[Side], after: list[Side]) -> Iterator[tuple[Side, Side]]:
    """Pairs of members that are the only ones of their kind on their sides: a change is inside them."""
    old, new = [list(map(label_of, each)) for each in (before, after)]
    for label, member in zip(old, before, strict=True):
        if old.count(label) == new.count(label) == 1:
            yield member, after[new.index(label)]
