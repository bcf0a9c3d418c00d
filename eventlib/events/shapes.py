"""What a change of shape breaks: two schemas of data, compared part by part.

What narrows a schema breaks writers, what widens it breaks readers. Where that cannot be told, it breaks both.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

from eventlib.events.alternatives import (
    ANY,
    Schema,
    Side,
    enum_of,
    expanded,
    is_rule,
    kind_of,
    label_of,
    members,
    pairs_of_one_kind,
)
from eventlib.events.constraints import (
    BOTH,
    NOTHING,
    READERS,
    WRITERS,
    Breaks,
    Found,
    changes_of_functions,
    changes_of_rules,
    changes_of_values,
)
from eventlib.events.rules import COMPUTED, READ

_INSIDE = ("properties", "required", "items", "prefixItems", "additionalProperties")
_ALTERNATIVES = ("anyOf", "oneOf", "type", "enum", "const")
_CODE = ("functions", "serializers")
_TEXT: Schema = {"type": "string"}


class Comparison:
    """One comparison of two schemas. It remembers the references that it is inside, as a schema may contain itself."""

    def __init__(self) -> None:
        self._under_way: set[tuple[str | None, str | None]] = set()

    def compare(self, path: str, old: Side, new: Side) -> Iterator[Found]:
        """The differences between two schemas of the value at `path`."""
        before, after = members(old), members(new)
        if len(before) == len(after) == 1:
            yield from self._compare_members(path, before[0], after[0])
            return
        removed = [member for member in before if not any(self._fits(member, other, WRITERS) for other in after)]
        added = [member for member in after if not any(self._fits(other, member, READERS) for other in before)]
        for member, other in pairs_of_one_kind(before, after):
            if member in removed or other in added:
                removed = [one for one in removed if one is not member]
                added = [one for one in added if one is not other]
                yield from self._compare_members(path, member, other)
        if removed:
            yield path, "type_narrowed", WRITERS, f"no longer takes {', '.join(sorted(map(label_of, removed)))}"
        if added:
            yield path, "type_widened", READERS, f"now also takes {', '.join(sorted(map(label_of, added)))}"

    def _fits(self, old: Side, new: Side, side: Breaks) -> bool:
        """Whether the change from the old member to the new one leaves this side whole."""
        return not any(side <= breaks for _, _, breaks, _ in self._compare_members("", old, new))

    def _compare_members(self, path: str, old: Side, new: Side) -> Iterator[Found]:
        pair = (old.reference, new.reference)
        if pair in self._under_way:
            return  # the outer call compares it
        if all(pair):
            self._under_way.add(pair)
        try:
            yield from self._compare_contents(path, old, new)
        finally:
            self._under_way.discard(pair)

    def _compare_contents(self, path: str, old: Side, new: Side) -> Iterator[Found]:
        found = [*self._kinds(path, old, new), *self._rules(path, old, new)]
        if _special_of(old) != _special_of(new) and not (_is_free(old) and _is_free(new)):
            found = _in_doubt(found)
        if any(old.rules.get(code) and new.rules.get(code) for code in _CODE):
            found = _in_doubt(found)  # code that was made for one shape gets another one
        yield from found

    def _kinds(self, path: str, old: Side, new: Side) -> Iterator[Found]:
        was, now = kind_of(old), kind_of(new)
        detail = f"type {was} -> {now}"
        numbers = {was, now} == {"integer", "number"} and not (enum_of(old.schema) or enum_of(new.schema))
        if (numbers and now == "number") or (now == "any" != was):
            yield path, "type_widened", READERS, detail
        elif numbers or (was == "any" != now):
            yield path, "type_narrowed", WRITERS, detail
        elif was != now:
            yield path, "type_changed", BOTH, detail
        if was == now or numbers:
            yield from changes_of_values(path, old.schema, new.schema)
            yield from changes_of_rules(path, *(_keywords(side, old, new) for side in (old, new)))
            yield from self._fields(path, old, new)
            yield from self._elements(path, old, new)

    def _rules(self, path: str, old: Side, new: Side) -> Iterator[Found]:
        """Differences in what JSON Schema cannot say."""
        was, now = old.rules, new.rules
        if old.tells_rules != new.tells_rules:
            if rules := sorted(was or now):
                detail = f"one export is too old to tell {', '.join(rules)}; in doubt, so export it again"
                yield path, "rules_unknown", BOTH, detail
            return
        yield from changes_of_functions(path, was.get("functions", []), now.get("functions", []))
        if expanded(old, was.get("serializers")) != expanded(new, now.get("serializers")):
            yield path, "serializer_changed", BOTH, "is written by another serializer; in doubt"
        others = ({k: expanded(s, v) for k, v in s.rules.items() if k not in (*_CODE, "keys")} for s in (old, new))
        yield from changes_of_rules(path, *others)
        if "keys" in was or "keys" in now:
            keys = self.compare(f"{path}{{}}", old.at(was.get("keys", _TEXT)), new.at(now.get("keys", _TEXT)))
            yield from _in_doubt(keys) if _may_merge(old, new) else keys

    def _fields(self, path: str, old: Side, new: Side) -> Iterator[Found]:
        before, after = _Fields(old), _Fields(new)
        if old.tells_rules != new.tells_rules and (before.has_names or after.has_names):
            yield path, "names_unknown", BOTH, "one export is too old to tell all names; in doubt, so export it again"
        read_by_new = {(was, now) for now in after.properties if (was := after.source(now, before)) is not None}
        read_by_old = {(was, now) for was in before.properties if (now := before.source(was, after)) is not None}
        pairs = read_by_new | read_by_old
        for was, now in sorted(pairs, key=lambda pair: pair[::-1]):
            place = _place(path, now)
            sides = (WRITERS if (was, now) in read_by_new else NOTHING) | (
                READERS if (was, now) in read_by_old else NOTHING
            )
            for where, rule, breaks, detail in self._field(place, before, was, after, now):
                yield where, rule, breaks & sides, detail
            if not sides >= WRITERS:
                yield place, "name_changed", WRITERS, f"was written as {was!r}, which is not read any more"
            if not sides >= READERS:
                yield place, "name_changed", READERS, f"is written as {now!r}, which was not read before"
        yield from _unpaired(path, before, after, pairs)

    def _field(self, place: str, before: "_Fields", was: str, after: "_Fields", now: str) -> Iterator[Found]:
        if now in after.required and was not in before.required:
            yield place, "made_required", WRITERS, "has no default any more"
        elif was in before.required and now not in after.required:
            yield place, "made_optional", READERS, "may now be left out"
        old, new = before.properties[was], after.properties[now]
        yield from self.compare(place, before.side.at(old), after.side.at(new))
        yield from _default(place, old, new)

    def _elements(self, path: str, old: Side, new: Side) -> Iterator[Found]:
        pairs = [
            (place, old.schema.get(key, ANY), new.schema.get(key, ANY))
            for place, key in (("[]", "items"), (".*", "additionalProperties"))
            if key in old.schema or key in new.schema
        ]
        before, after = old.schema.get("prefixItems", []), new.schema.get("prefixItems", [])
        for index, (was, now) in enumerate(zip_longest(before, after, fillvalue=ANY)):
            pairs.append((f"[{index}]", was, now))
        for place, was, now in pairs:
            found = self.compare(f"{path}{place}".lstrip("."), old.at(was), new.at(now))
            yield from _in_doubt(found) if _may_merge(old, new) else found


def _in_doubt(found: Iterable[Found]) -> list[Found]:
    """The same changes, each of which breaks both sides or neither. What is gone may be needed all the same."""
    return [
        (path, rule, BOTH if breaks or rule == "optional_field_removed" else breaks, detail)
        for path, rule, breaks, detail in found
    ]


def _may_merge(old: Side, new: Side) -> bool:
    """Whether values that were two may be one when they are read as another type, and then be too few."""
    return any("minProperties" in s.schema or {"minItems", "uniqueItems"} <= s.schema.keys() for s in (old, new))


def _special_of(side: Side) -> tuple[Any, Any]:
    """What makes a value special among those of its JSON type: text that is a date, for example."""
    return side.schema.get("format"), side.rules.get("type")


def _is_free(side: Side) -> bool:
    """Whether a value that is not special is any value of its JSON type."""
    if _special_of(side) != (None, None):
        return True
    return not side.rules and not {"pattern", "minLength", "maxLength", "enum", "const"} & side.schema.keys()


def _keywords(side: Side, *both: Side) -> Schema:
    """The keywords that are compared as a whole."""
    left_out = {*_INSIDE, *_ALTERNATIVES, *(["propertyNames"] if all(one.tells_rules for one in both) else [])}
    return {k: expanded(side, v) for k, v in side.schema.items() if k not in left_out and is_rule(k)}


def _place(path: str, name: str) -> str:
    return f"{path}.{name}".lstrip(".")


class _Fields:
    """The fields of an object, by the names that they are written under."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.properties: Schema = side.schema.get("properties", {})
        self.required = frozenset(side.schema.get("required", ()))
        self._read: Schema = side.schema.get(READ, {})
        self._written = frozenset((*self.properties, *side.schema.get(COMPUTED, ())))
        self.has_names = self._read != {} or self._written != self.properties.keys()

    def source(self, name: str, writer: "_Fields") -> str | None:
        """The writer's field that this field is read from. None if it is read from none, or from what is no field."""
        source = next(iter(self._sources(name, writer)), None)
        return source if isinstance(source, str) and source in writer.properties else None

    def is_in_doubt(self, name: str, writer: "_Fields") -> bool:
        """Whether it may be read from something else, such as a part of another field, or what no reader reads."""
        sources, found = self._sources(name, writer), self.source(name, writer)
        return bool(sources) and (found is None or (len(sources) > 1 and found not in writer.required))

    def _sources(self, name: str, writer: "_Fields") -> list[Any]:
        """What is written of all names and paths that the field is read from, the first one first."""
        names = self._read.get(name, [name])
        return [read for read in names if (read if isinstance(read, str) else read[0]) in writer._written]


def _unpaired(path: str, before: _Fields, after: _Fields, pairs: set[tuple[str, str]]) -> Iterator[Found]:
    kept, found = {was for was, _ in pairs}, {now for _, now in pairs}
    for name in sorted(before.properties.keys() | after.properties.keys()):
        place = _place(path, name)
        if name in after.properties and after.is_in_doubt(name, before):
            yield place, "name_in_doubt", WRITERS, "may be read from another part of older events"
        elif name in after.properties.keys() - found:
            if name in after.required:
                yield place, "required_field_added", WRITERS, "added, required"
            else:
                yield place, "optional_field_added", NOTHING, "added, with a default"
        if name in before.properties and before.is_in_doubt(name, after):
            yield place, "name_in_doubt", READERS, "older programs may read it from another part of new events"
        elif name in before.properties.keys() - kept:
            if name in before.required:
                yield place, "required_field_removed", READERS, "removed, was required"
            else:
                yield place, "optional_field_removed", NOTHING, "removed, had a default"


def _default(path: str, old: object, new: object) -> Iterator[Found]:
    if isinstance(old, Mapping) and isinstance(new, Mapping) and "default" in old and "default" in new:
        was, now = old["default"], new["default"]
        if was != now:
            yield path, "default_changed", NOTHING, f"default {was!r} -> {now!r}"
