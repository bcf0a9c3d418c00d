"""What a change of schemas breaks: readers, writers, or nothing. Pure, over two exported documents.

A change breaks *readers* if programs with the old schemas cannot read what programs with the new ones write. It breaks
*writers* if programs with the new schemas cannot read what programs with the old ones wrote, before or while both run.
Readers ignore fields that they do not know. A change that cannot be shown to be harmless counts as breaking: two unions
are compared member by member, and unknown keywords count as rules.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

Side = Literal["readers", "writers"]
Schema = Mapping[str, Any]

NOTHING: frozenset[Side] = frozenset()
READERS: frozenset[Side] = frozenset({"readers"})
WRITERS: frozenset[Side] = frozenset({"writers"})
BOTH: frozenset[Side] = READERS | WRITERS


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One difference between two registries' events.

    `path` leads to the field inside `data`, empty for the event itself; `rule` is a name for machines; `breaks` holds
    "readers" (old programs on new events), "writers" (new programs on old events), both or nothing.
    """

    event: str
    path: str
    rule: str
    breaks: frozenset[Side]
    detail: str

    def __str__(self) -> str:
        place = f"{self.event} {self.path}".rstrip()
        return f"{place}: {self.detail}; breaks {' and '.join(sorted(self.breaks)) or 'nothing'}"


def schema_changes(old: Schema, new: Schema) -> list[SchemaChange]:
    """All changes from one exported document to another, by event.

    The documents are as `Registry.asyncapi` makes them and `open_export` reads them.
    """
    before, after = _events(old), _events(new)
    changes: list[SchemaChange] = []
    for event in sorted(before.keys() | after.keys()):
        if event not in after:
            changes.append(SchemaChange(event, "", "event_removed", WRITERS, "the event is gone; no program reads it"))
        elif event not in before:
            changes.append(SchemaChange(event, "", "event_added", NOTHING, "the event is new"))
        else:
            changes += _event_changes(event, _Side(before[event], old), _Side(after[event], new))
    return changes


class _Side(NamedTuple):
    """A schema, the document that its references point into, and the reference that led to it."""

    schema: Any
    document: Schema
    reference: str | None = None

    def at(self, schema: Any, reference: str | None = None) -> "_Side":
        return _Side(schema, self.document, reference)


def _events(document: Schema) -> dict[str, Schema]:
    schemas = document["components"]["schemas"].values()
    return {s["x-event"]["type"]: s for s in schemas if isinstance(s, Mapping) and "x-event" in s}


# The event


def _event_changes(event: str, old: _Side, new: _Side) -> Iterator[SchemaChange]:
    was, now = old.schema["x-event"], new.schema["x-event"]
    if was["stream"] != now["stream"]:
        detail = f"moved from stream {was['stream']!r} to {now['stream']!r}; old and new programs use different streams"
        yield SchemaChange(event, "", "stream_changed", BOTH, detail)
    yield from _version_changes(event, was, now)
    shape = [SchemaChange(event, *found) for found in _Comparison().compare("", old, new)]
    if was["version"] != now["version"]:  # the version tells the shapes apart: no reader takes one for the other
        yield from (SchemaChange(c.event, c.path, c.rule, NOTHING, c.detail) for c in shape)
        return
    yield from shape
    if broken := frozenset(side for change in shape for side in change.breaks):
        version = now["version"]
        detail = f"another shape under version {version}: raise it to {version + 1} and declare upcast({version})"
        yield SchemaChange(event, "", "version_not_raised", broken, detail)


def _version_changes(event: str, was: Schema, now: Schema) -> Iterator[SchemaChange]:
    raised = f"version {was['version']} -> {now['version']}"
    if now["version"] > was["version"]:
        detail = f"{raised}: update readers first, because older readers dead-letter it"
        yield SchemaChange(event, "", "version_raised", READERS, detail)
    elif now["version"] < was["version"]:
        detail = f"{raised}: events that were written before are too new now"
        breaks = WRITERS if now["version"] >= was["oldest"] else BOTH
        yield SchemaChange(event, "", "version_lowered", breaks, detail)
    if was["oldest"] < now["oldest"]:
        last = min(was["version"], now["oldest"] - 1)
        versions = f"version {last}" if was["oldest"] == last else f"versions {was['oldest']} to {last}"
        detail = f"{versions} can no longer be read; declare upcast({was['oldest']}) and on"
        yield SchemaChange(event, "", "version_dropped", WRITERS, detail)
    elif now["oldest"] < was["oldest"]:
        yield SchemaChange(event, "", "version_supported", NOTHING, f"now reads from version {now['oldest']} on")


# The shape of data: what narrows it breaks writers, what widens it breaks readers

Found = tuple[str, str, frozenset[Side], str]  # path, rule, what it breaks, detail

_LOWER = ("minimum", "minLength", "minItems", "minProperties")  # more is narrower
_UPPER = ("maximum", "maxLength", "maxItems", "maxProperties")  # less is narrower
_PRESENT = ("format", "pattern", "multipleOf", "uniqueItems", "contentEncoding")  # any value is narrower than none
_INSIDE = ("properties", "required", "items", "prefixItems", "additionalProperties")
_ALTERNATIVES = ("anyOf", "oneOf", "type", "enum", "const")
_ANNOTATION = ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "contentMediaType")
_ANY: Schema = {}


class _Comparison:
    """One comparison of two schemas. It remembers the references that it is inside, as a schema may contain itself."""

    def __init__(self) -> None:
        self._under_way: set[tuple[str | None, str | None]] = set()

    def compare(self, path: str, old: _Side, new: _Side) -> Iterator[Found]:
        before, after = _members(old), _members(new)
        if len(before) == len(after) == 1:
            yield from self._compare_members(path, before[0], after[0])
            return
        removed = [member for member in before if not any(self._fits(member, other) for other in after)]
        added = [member for member in after if not any(self._fits(member, other) for other in before)]
        for member, other in _pairs_of_one_kind(before, after):
            if member in removed or other in added:
                removed = [one for one in removed if one is not member]
                added = [one for one in added if one is not other]
                yield from self._compare_members(path, member, other)
        if removed:
            yield path, "type_narrowed", WRITERS, f"no longer takes {', '.join(sorted(map(_label, removed)))}"
        if added:
            yield path, "type_widened", READERS, f"now also takes {', '.join(sorted(map(_label, added)))}"

    def _fits(self, old: _Side, new: _Side) -> bool:
        """Whether everything that the old schema allows is allowed by the new one too."""
        return not any("writers" in breaks for _, _, breaks, _ in self._compare_members("", old, new))

    def _compare_members(self, path: str, old: _Side, new: _Side) -> Iterator[Found]:
        pair = (old.reference, new.reference)
        if pair in self._under_way:
            return  # the outer call compares it
        if all(pair):
            self._under_way.add(pair)
        try:
            yield from self._compare_contents(path, old, new)
        finally:
            self._under_way.discard(pair)

    def _compare_contents(self, path: str, old: _Side, new: _Side) -> Iterator[Found]:
        was, now = _kind(old), _kind(new)
        detail = f"type {was} -> {now}"
        if (was, now) == ("integer", "number") or (now == "any" != was):
            yield path, "type_widened", READERS, detail
        elif (was, now) == ("number", "integer") or (was == "any" != now):
            yield path, "type_narrowed", WRITERS, detail
        elif was != now:
            yield path, "type_changed", BOTH, detail
        if was == now or {was, now} == {"integer", "number"}:
            yield from _values(path, old.schema, new.schema)
            yield from _constraints(path, _bounded(old.schema), _bounded(new.schema))
            yield from self._fields(path, old, new)
            yield from self._elements(path, old, new)

    def _fields(self, path: str, old: _Side, new: _Side) -> Iterator[Found]:
        before, after = old.schema.get("properties", {}), new.schema.get("properties", {})
        for name in sorted(before.keys() | after.keys()):
            place = f"{path}.{name}".lstrip(".")
            was_needed, is_needed = name in old.schema.get("required", ()), name in new.schema.get("required", ())
            if name in before and name in after:
                if is_needed and not was_needed:
                    yield place, "made_required", WRITERS, "has no default any more"
                elif was_needed and not is_needed:
                    yield place, "made_optional", READERS, "may now be left out"
                yield from self.compare(place, old.at(before[name]), new.at(after[name]))
                yield from _default(place, before[name], after[name])
            elif is_needed:
                yield place, "required_field_added", WRITERS, "added, required"
            elif was_needed:
                yield place, "required_field_removed", READERS, "removed, was required"
            elif name in after:
                yield place, "optional_field_added", NOTHING, "added, with a default"
            else:
                yield place, "optional_field_removed", NOTHING, "removed, had a default"

    def _elements(self, path: str, old: _Side, new: _Side) -> Iterator[Found]:
        pairs = [
            (place, old.schema.get(key, _ANY), new.schema.get(key, _ANY))
            for place, key in (("[]", "items"), (".*", "additionalProperties"))
            if key in old.schema or key in new.schema
        ]
        before, after = old.schema.get("prefixItems", []), new.schema.get("prefixItems", [])
        for index, (was, now) in enumerate(zip_longest(before, after, fillvalue=_ANY)):
            pairs.append((f"[{index}]", was, now))
        for place, was, now in pairs:
            yield from self.compare(f"{path}{place}".lstrip("."), old.at(was), new.at(now))


def _pairs_of_one_kind(before: list[_Side], after: list[_Side]) -> list[tuple[_Side, _Side]]:
    """Pairs of members that are the only ones of their kind on their sides: a change is inside them."""
    counts = Counter(map(_label, before)), Counter(map(_label, after))
    new = {_label(member): member for member in after}
    return [(m, new[_label(m)]) for m in before if all(count[_label(m)] == 1 for count in counts)]


def _values(path: str, old: Schema, new: Schema) -> Iterator[Found]:
    before, after = _enum(old), _enum(new)
    if before is None and after is not None:
        yield path, "enum_added", WRITERS, f"takes only {_listed(after)} now"
    elif before is not None and after is None:
        yield path, "enum_removed", READERS, "takes any value now"
    elif before is not None and after is not None:
        if removed := [value for value in before if value not in after]:
            yield path, "enum_values_removed", WRITERS, f"no longer takes {_listed(removed)}"
        if added := [value for value in after if value not in before]:
            yield path, "enum_values_added", READERS, f"now also takes {_listed(added)}"


def _constraints(path: str, old: Schema, new: Schema) -> Iterator[Found]:
    for keyword in sorted((old.keys() | new.keys()) - {*_INSIDE, *_ALTERNATIVES}):
        was, now = old.get(keyword), new.get(keyword)
        if was == now or not _is_rule(keyword):
            continue
        detail = f"{keyword} {_shown(was)} -> {_shown(now)}"
        narrower = _narrower(keyword, was, now)
        if narrower is None:
            yield path, "constraint_changed", BOTH, detail
        elif narrower:
            yield path, "constraint_tightened", WRITERS, detail
        else:
            yield path, "constraint_loosened", READERS, detail


def _narrower(keyword: str, was: Any, now: Any) -> bool | None:
    """Whether the new value allows less than the old one. None if neither allows less, or if it is not known."""
    if keyword not in (*_LOWER, *_UPPER, *_PRESENT):
        return None
    if keyword == "uniqueItems":
        return bool(now)
    if was is None or now is None:
        return was is None
    if keyword in _PRESENT:
        return None
    return bool(now > was) if keyword in _LOWER else bool(now < was)


class _Bound(NamedTuple):
    """A lower or an upper bound. Of two lower bounds the greater is narrower, of two upper bounds the smaller."""

    value: float
    edge: int  # lower bound: 1 if the value itself is excluded; upper bound: 1 if it is included
    text: str


_BELOW = (("minimum", 0, ""), ("exclusiveMinimum", 1, "above "))
_ABOVE = (("maximum", 1, ""), ("exclusiveMaximum", 0, "below "))


def _bounded(schema: Schema) -> Schema:
    """The schema with `minimum` and `exclusiveMinimum` as one bound that can be compared, and the maxima likewise."""
    bounded = {k: v for k, v in schema.items() if k not in ("exclusiveMinimum", "exclusiveMaximum")}
    below = [_Bound(schema[k], edge, f"{how}{schema[k]}") for k, edge, how in _BELOW if k in schema]
    above = [_Bound(schema[k], edge, f"{how}{schema[k]}") for k, edge, how in _ABOVE if k in schema]
    return bounded | ({"minimum": max(below)} if below else {}) | ({"maximum": min(above)} if above else {})


def _default(path: str, old: object, new: object) -> Iterator[Found]:
    if isinstance(old, Mapping) and isinstance(new, Mapping) and "default" in old and "default" in new:
        was, now = old["default"], new["default"]
        if was != now:
            yield path, "default_changed", NOTHING, f"default {was!r} -> {now!r}"


# Reading schemas


def _members(side: _Side) -> list[_Side]:
    """The alternatives that a schema allows, with references followed. A schema that is not a union has one."""
    members: list[_Side] = []
    seen: set[str] = set()
    waiting = [side]
    while waiting:
        one = _resolved(waiting.pop(0), seen)
        if one is None:
            continue
        union = one.schema.get("anyOf") or one.schema.get("oneOf")
        if union and not any(_is_rule(keyword) for keyword in one.schema.keys() - {"anyOf", "oneOf"}):
            waiting += [one.at(member) for member in union]
        elif isinstance(types := one.schema.get("type"), list):
            waiting += [one.at({**one.schema, "type": type_}) for type_ in types]
        else:
            members += [one.at(part, one.reference) for part in _by_kind(one.schema)]
    return _united(members) or [side.at(_ANY)]


def _resolved(side: _Side, seen: set[str]) -> _Side | None:
    """The schema that a reference or an `allOf` of one schema leads to. None if the reference was `seen` before."""
    while True:
        schema = side.schema
        if not isinstance(schema, Mapping):
            return side.at(_ANY if schema else {"not": {}})
        if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
            side = side.at({**schema["allOf"][0], **{k: v for k, v in schema.items() if k != "allOf"}})
        elif not isinstance(reference := schema.get("$ref"), str):
            return side
        elif reference in seen:
            return None
        else:
            seen.add(reference)
            beside = {k: v for k, v in schema.items() if k != "$ref"}
            side = side.at({**_target(side.document, reference), **beside}, reference)


def _target(document: Schema, reference: str) -> Schema:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else _ANY


def _by_kind(schema: Schema) -> list[Schema]:
    """An enumeration whose values have several types as one enumeration for each type."""
    values = _enum(schema)
    if values is None or "type" in schema:
        return [schema]
    kinds = dict.fromkeys(map(_kind_of, values))
    return [{"type": kind, "enum": [value for value in values if _kind_of(value) == kind]} for kind in kinds]


def _united(members: list[_Side]) -> list[_Side]:
    """The members, with enumerations of one type united: Literal["a"] | Literal["b"] is Literal["a", "b"]."""
    united: list[_Side] = []
    enums: dict[str, list[Any]] = {}
    for member in members:
        values = _enum(member.schema)
        if values is None:
            united.append(member)
        elif (kind := _kind(member)) in enums:
            enums[kind] += values
        else:
            enums[kind] = values
            united.append(member.at({"type": kind, "enum": values}))
    return united


def _enum(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return None if values is None else list(values)


def _kind(side: _Side) -> str:
    """The JSON type. `any` if every value is allowed, `schema` if other keywords say which values are."""
    if isinstance(type_ := side.schema.get("type"), str):
        return type_
    return "schema" if any(map(_is_rule, side.schema)) else "any"


def _label(side: _Side) -> str:
    """The type and, for a member of a tagged union, its tags: the fields that allow one value only."""
    fields = side.schema.get("properties", {}).items()
    tags = {name: field["const"] for name, field in fields if isinstance(field, Mapping) and "const" in field}
    return " ".join([_kind(side), *(f"{name}={value!r}" for name, value in sorted(tags.items()))])


def _is_rule(keyword: str) -> bool:
    return keyword not in _ANNOTATION and not keyword.startswith(("x-", "$"))


_KINDS = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


def _kind_of(value: object) -> str:
    return _KINDS.get(type(value), "null")


def _shown(value: Any) -> str:
    return "none" if value is None else value.text if isinstance(value, _Bound) else repr(value)


def _listed(values: list[Any]) -> str:
    return ", ".join(map(repr, values))
