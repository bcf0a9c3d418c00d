"""What a change of one rule breaks: of a value, a bound, a setting, or a function that values go through."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple

from eventlib.events.alternatives import Schema, enum_of

BrokenSide = Literal["readers", "writers"]
Breaks = frozenset[BrokenSide]
Found = tuple[str, str, Breaks, str]  # path, rule, what it breaks, detail

NOTHING: Breaks = frozenset()
READERS: Breaks = frozenset({"readers"})
WRITERS: Breaks = frozenset({"writers"})
BOTH: Breaks = READERS | WRITERS

# JSON Schema's keywords, and rules that it has no keyword for.
_LOWER = ("minimum", "minLength", "minItems", "minProperties", "min_length")  # more is narrower
_UPPER = (  # less is narrower
    "maximum", "maxLength", "maxItems", "maxProperties", "max_length", "max_digits", "decimal_places", "whole_digits"
)  # fmt: skip
_PRESENT = (  # any value is narrower than none
    "format", "pattern", "multipleOf", "uniqueItems", "contentEncoding",
    "ascii_only", "discriminator", "multiple_of", "now_op", "strict", "type", "tz_constraint", "version",
)  # fmt: skip
_ABSENT = ("allow_inf_nan", "coerce_numbers_to_str", "missing")  # none is narrower than any value


def changes_of_values(path: str, old: Schema, new: Schema) -> Iterator[Found]:
    """Differences between the values that two schemas list."""
    before, after = enum_of(old), enum_of(new)
    if before is None and after is not None:
        yield path, "enum_added", WRITERS, f"takes only {_listed(after)} now"
    elif before is not None and after is None:
        yield path, "enum_removed", READERS, "takes any value now"
    elif before is not None and after is not None:
        if removed := [value for value in before if value not in after]:
            yield path, "enum_values_removed", WRITERS, f"no longer takes {_listed(removed)}"
        if added := [value for value in after if value not in before]:
            yield path, "enum_values_added", READERS, f"now also takes {_listed(added)}"


def changes_of_rules(path: str, old: Schema, new: Schema) -> Iterator[Found]:
    """Differences between rules, by their names. A rule that is not known counts as breaking both sides."""
    before, after = _bounded(old), _bounded(new)
    for rule in sorted(before.keys() | after.keys()):
        was, now = before.get(rule), after.get(rule)
        if was == now:
            continue
        detail = f"{rule} {_shown(was)} -> {_shown(now)}"
        narrower = _narrower(rule, was, now)
        if narrower is None:
            yield path, "constraint_changed", BOTH, detail
        elif narrower:
            yield path, "constraint_tightened", WRITERS, detail
        else:
            yield path, "constraint_loosened", READERS, detail


def _narrower(rule: str, was: Any, now: Any) -> bool | None:
    """Whether the new value allows less than the old one. None if neither allows less, or if it is not known."""
    if rule not in (*_LOWER, *_UPPER, *_PRESENT, *_ABSENT):
        return None
    if rule == "uniqueItems":
        return bool(now)
    if was is None or now is None:
        return (was is None) != (rule in _ABSENT)
    if rule in (*_PRESENT, *_ABSENT):
        return None
    try:
        return bool(now > was) if rule in _LOWER else bool(now < was)
    except TypeError:  # such as a time of day with and one without a time zone
        return None


class _Bound(NamedTuple):
    """A lower or an upper bound. Of two lower bounds the greater is narrower, of two upper bounds the smaller."""

    value: Any
    edge: int  # lower bound: 1 if the value itself is excluded; upper bound: 1 if it is included
    text: str


_BELOW = (("minimum", 0, ""), ("exclusiveMinimum", 1, "above "), ("ge", 0, ""), ("gt", 1, "above "))
_ABOVE = (("maximum", 1, ""), ("exclusiveMaximum", 0, "below "), ("le", 1, ""), ("lt", 0, "below "))
_BOUNDS = {name for name, _, _ in (*_BELOW, *_ABOVE)}


def _bounded(rules: Schema) -> Schema:
    """The rules with lower bounds as one bound that can be compared, and upper bounds likewise."""
    others = {name: value for name, value in rules.items() if name not in _BOUNDS}
    below = [_Bound(_ordered(rules[name]), edge, f"{how}{rules[name]}") for name, edge, how in _BELOW if name in rules]
    above = [_Bound(_ordered(rules[name]), edge, f"{how}{rules[name]}") for name, edge, how in _ABOVE if name in rules]
    return others | ({"minimum": max(below)} if below else {}) | ({"maximum": min(above)} if above else {})


_READ: Sequence[Callable[[str], Any]] = (Decimal, datetime.fromisoformat, date.fromisoformat, time.fromisoformat)


def _ordered(bound: Any) -> Any:
    """A bound as a value that can be compared with other bounds; in JSON, dates and exact numbers are text."""
    for read in _READ if isinstance(bound, str) else ():
        try:
            return read(bound)
        except (ValueError, InvalidOperation):
            continue
    return bound


# Functions


def changes_of_functions(path: str, old: Sequence[Schema], new: Sequence[Schema]) -> Iterator[Found]:
    """Differences between the functions that values go through. What another function does cannot be told."""
    before, after = Counter(map(_identity, old)), Counter(map(_identity, new))
    if list(map(_identity, old)) == list(map(_identity, new)):
        return
    added, removed = _named(new, after - before), _named(old, before - after)
    if not removed and _only_refuse(new, after - before):
        yield path, "validator_added", WRITERS, f"{added} is new; in doubt it refuses older values"
    elif not added and _only_refuse(old, before - after):
        yield path, "validator_removed", READERS, f"{removed} is gone; in doubt it refuses new values"
    else:
        changed = ", ".join(filter(None, (removed, added))) or "the order of validators"
        yield path, "validator_changed", BOTH, f"{changed} changed; in doubt"


def _identity(function: Schema) -> tuple[str, str]:
    return function["type"], function["digest"]


def _named(functions: Sequence[Schema], chosen: Mapping[tuple[str, str], int]) -> str:
    return ", ".join(dict.fromkeys(f["name"] for f in functions if _identity(f) in chosen))


def _only_refuse(functions: Sequence[Schema], chosen: Mapping[tuple[str, str], int]) -> bool:
    """Whether these functions get values that were read already: they refuse some, but read no others."""
    return all(f["type"] in ("function-after", "post-init") for f in functions if _identity(f) in chosen)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping) and "digest" in value:
        return str(value.get("name", "code"))
    return "none" if value is None else value.text if isinstance(value, _Bound) else repr(value)


def _listed(values: list[Any]) -> str:
    return ", ".join(map(repr, values))
