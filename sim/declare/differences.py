"""Where two scenarios differ, in words: a line for each field."""

from collections.abc import Mapping
from typing import Any

from sim.declare.scenario import Scenario


def differences(before: Scenario, after: Scenario) -> list[str]:
    """The fields in which two scenarios differ, such as `services.billing.consumers: 2, then 3`."""
    return changes(*(_leaves(one.model_dump(mode="json", by_alias=True)) for one in (before, after)), absent="nothing")


def changes(before: Mapping[str, object], after: Mapping[str, object], *, absent: str) -> list[str]:
    """What is not the same in two sets of named values, a line each. `absent` stands for a value that is missing."""
    pairs = [(name, before.get(name, absent), after.get(name, absent)) for name in {**before, **after}]
    return [f"{name}: {one}, then {other}" for name, one, other in pairs if one != other]


def _leaves(value: Any, place: str = "") -> dict[str, object]:
    """The leaves of a nested declaration by their place: `services.billing.consumers`."""
    if not isinstance(value, Mapping | list):
        return {place: value}
    parts = value.items() if isinstance(value, Mapping) else enumerate(value)
    below = [_leaves(part, f"{place}.{key}" if place else f"{key}") for key, part in parts]
    return {name: leaf for one in below for name, leaf in one.items()}
