"""An expectation: what a number must be, as a scenario or the command line says it, such as `lag_s_p99 < 500 ms`."""

import math
import re
from dataclasses import dataclass
from typing import Literal, cast

Operator = Literal["<", "<=", ">", ">="]

_UNITS = {  # what may follow a number: the unit that metrics have, and the factor that makes the number one of it
    "s": ("s", 1.0),
    "ms": ("s", 1e-3),
    "us": ("s", 1e-6),
    "µs": ("s", 1e-6),
    "min": ("s", 60.0),
    "h": ("s", 3600.0),
    "%": ("share", 0.01),
    "/s": ("1/s", 1.0),
    "1/s": ("1/s", 1.0),
}
_FORM = re.compile(
    r"\s*(?P<metric>[\w.-]+)\s*(?P<operator><=|>=|<|>)\s*(?P<limit>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"\s*(?P<unit>[^\s\d]\S*|1/s)?\s*"
)
_EXAMPLE = "say a metric, one of < <= > >=, and a number with or without its unit, such as 'lag_s_p99 < 500 ms'"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a metric must be. `limit` is in the metric's own unit; `unit` is that unit, or "" where none was said."""

    metric: str
    operator: Operator
    limit: float
    unit: str = ""

    @classmethod
    def parse(cls, text: str) -> "Expectation":
        """Read `METRIC OPERATOR NUMBER [UNIT]`.

        Raises:
            ValueError: it says something else.
        """
        parts = _FORM.fullmatch(text)
        if parts is None:
            raise ValueError(f"{text!r} expects nothing; {_EXAMPLE}")
        limit, unit = float(parts["limit"]), parts["unit"] or ""
        if not math.isfinite(limit):
            raise ValueError(f"{text!r} has no finite number; {_EXAMPLE}")
        dimension, factor = _UNITS.get(unit, (unit, 1.0))
        return cls(parts["metric"], cast(Operator, parts["operator"]), limit * factor, dimension)

    @property
    def is_upper_limit(self) -> bool:
        """Whether the metric must be below the limit."""
        return self.operator in ("<", "<=")

    def holds_between(self, low: float, high: float) -> bool | None:
        """Whether all values from low to high are as expected; None where some are and some are not, or one is NaN."""
        held = [self.holds_at(low), self.holds_at(high)]
        if math.isnan(low) or math.isnan(high) or held[0] != held[1]:
            return None
        return held[0]

    def holds_at(self, value: float) -> bool:
        """Whether this value is as expected."""
        match self.operator:
            case "<":
                return value < self.limit
            case "<=":
                return value <= self.limit
            case ">":
                return value > self.limit
            case ">=":
                return value >= self.limit
