"""A CapacityPlan: the smallest value of a field with which what is expected holds, and what stands behind that."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

import numpy as np

from sim.declare.expectations import Expectation
from sim.declare.scenario import Scenario
from sim.evidence.dependencies import DEPENDENCIES
from sim.evidence.expectations import Judged, judge, judged_json
from sim.evidence.export import own_name
from sim.evidence.metrics import Interval, summarize
from sim.infer.points import Measured
from sim.tables import html_table
from sim.wording import at_least, digits, lower_bound, number, quantity

Limit = Literal["utilisation", "retries", "lease", "dependency", "faults", "time"]

_WITHOUT = {  # what was changed to find what limits: with it, the next cheaper value holds
    "lease": "with a tenth of the lease",
    "retries": "if nothing failed",
    "dependency": "with ten times its capacity",
    "faults": "without the faults",
    "utilisation": "with ten times as many handlers",
}


@dataclass(frozen=True)
class Tried:
    """One value of the field, what it came to, and whether everything that is expected holds."""

    value: Any
    seeds: int
    found: Measured
    judged: tuple[Judged, ...]

    @classmethod
    def of(cls, value: Any, seeds: int, found: Measured, expectations: Sequence[Expectation]) -> "Tried":
        return cls(value, seeds, found, tuple(judge(expectations, found.metrics)))

    @property
    def holds(self) -> bool:
        return all(one.outcome == "holds" for one in self.judged)

    @property
    def cannot_tell(self) -> bool:
        """Whether more runs may show that it holds."""
        outcomes = {one.outcome for one in self.judged}
        return "fails" not in outcomes and "cannot tell" in outcomes

    def interval(self, metric: str) -> Interval:
        return summarize(self.found.metrics[metric], self.found.metrics.unhandled.get(metric))


@dataclass(frozen=True)
class LiveCheck:
    """A value on a real Redis: in how many of the runs everything that is expected held, and the runs' values."""

    value: Any
    held: int
    runs: int
    judged: tuple[Judged, ...]
    late: bool  # the generator did not keep up, so the times do not count

    def in_words(self) -> str:
        late = "; but the load was sent too late, so this does not count" if self.late else ""
        return f"held in {self.held} of {self.runs} live runs{late}"


@dataclass(frozen=True, repr=False)
class CapacityPlan:
    """The smallest of the values of `field` with which everything that is expected holds, with `down` consumers down.

    `tried` is the curve: what was simulated, in the order of the values. `smallest` is None where no value holds.
    `limit` is what keeps the next cheaper value (where there is none, the last one) from holding, None where that
    cannot be told; `without` has what it comes to without each of the things that may limit it. `unable` says why the
    values below the first one cannot be run. `live` has the checks on a real Redis.
    """

    scenario: Scenario
    field: str
    down: int
    expectations: tuple[Expectation, ...]
    tried: tuple[Tried, ...] = dataclasses.field(repr=False)
    smallest: Tried | None
    cheaper: Tried | None
    limit: Limit | None
    without: dict[Limit, Tried]
    monotone: bool
    unable: str
    calibration: dict[str, Any]
    cost_per_hour: float | None = None
    live: tuple[LiveCheck, ...] = ()

    def __repr__(self) -> str:
        return f"CapacityPlan: {self.sentence}"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        return html_table(" ".join(self.lines()), *self.table())

    @property
    def sentence(self) -> str:
        """The answer."""
        if self.smallest is None:
            most = self.tried[-1]
            what = "Whether any holds cannot be told" if most.cannot_tell else "None holds"
            if good := [one.value for one in self.tried if one.holds]:
                largest = "the largest may fail" if most.cannot_tell else "the largest fails"
                what = f"More is not better here, {largest} and smaller values hold ({', '.join(map(str, good))})"
            return f"{what}: with {self.of(most.value)}{self._down()}, {_and(_broken(most))}."
        kept = _and([f"{one.expected}, at {one.found}" for one in self.smallest.judged])
        return f"{self.of(self.smallest.value)} {self._verb('keep')} {kept}{self._down()}."

    def lines(self) -> Iterator[str]:
        """The answer, what the next cheaper value breaks, what limits it, and what else there is to say."""
        yield self.sentence
        if self.cheaper is not None:
            does = "do" if consumers_of(self.field) and self.cheaper.value != 1 else "does"
            yield f"{self.of(self.cheaper.value)} {does} not: {_and(_broken(self.cheaper))}."
        elif self.smallest is not None:
            yield f"Nothing smaller was tried{f': {self.unable}' if self.unable else ''}."
        if self.unable and self.cheaper is not None:
            yield f"Smaller values cannot be run: {self.unable}."
        if self.limit is not None:
            yield self._limit()
        if unsure := self._unsure():
            yield unsure
        for check in self.live:
            yield f"On a real Redis, {self.of(check.value)}: {check.in_words()}."
        if self.cost_per_hour is not None and self.smallest is not None:
            yield self._cost()
        if not self.monotone:
            answer = "" if self.smallest is None else "; the answer is the one from which on all hold"
            yield f"More was not always better, so every value was tried{answer}."
        if not self.calibration:
            yield "The machine was taken to need no time of its own; --calibration FILE says what yours needs."

    def of(self, value: Any) -> str:
        """A value of the field in words: "8 consumers of billing"."""
        if service := consumers_of(self.field):
            return f"{value} consumer{'' if value == 1 else 's'} of {service}"
        return f"{self.field} = {value}"

    def _verb(self, plural: str) -> str:
        """A verb as its subject, the answer, wants it: several consumers, one consumer, or a value of a field."""
        several = consumers_of(self.field) and self.smallest is not None and self.smallest.value != 1
        return plural if several else f"{plural}s"

    def _down(self) -> str:
        return f" with {self.down} of them down" if self.down else ""

    def _unsure(self) -> str:
        """What would help if it could be told, of the changes that are milder than the one that does."""
        milder = takewhile(lambda name: name != self.limit, self.without)
        unsure = [name for name in milder if self.without[name].cannot_tell]
        if not unsure:
            return ""
        none = "What limits it cannot be told. " if self.limit is None else ""
        would = " or ".join(_WITHOUT[name] for name in unsure)
        seeds = self.without[unsure[0]].seeds
        at = self.cheaper or self.tried[-1]
        return f"{none}Whether {self.of(at.value)} would do {would} cannot be told from {seeds} seeds."

    def _limit(self) -> str:
        at = self.cheaper or self.tried[-1]
        if self.limit == "time":
            broken = _and(_broken(self.without["utilisation"]))
            return f"What limits it: time; even with ten times as many handlers, {broken}. Shorten the service times."
        if self.limit in _WITHOUT and self.limit != "utilisation":
            better, limit = self.without[self.limit], self._busiest(at) if self.limit == "dependency" else self.limit
            return f"What limits it: {limit}; {_WITHOUT[self.limit]}, {self.of(at.value)} would do: {_found(better)}."
        busy_of = {
            name: at.interval(own_name(f"{name}.utilisation", at.found.metrics)).mean for name in self.scenario.services
        }
        service = service_of(self.field, self.scenario) or max(busy_of, key=lambda name: np.nan_to_num(busy_of[name]))
        busy = f"{digits(100 * busy_of[service])} %"
        told = [one.in_words() for one in at.found.overloads if one.service == service]
        why = f"; {told[0]}" if told else "; it lacks the room to work off what has piled up"
        return f"What limits it: utilisation; with {self.of(at.value)}, {service} is busy {busy} of the run{why}."

    def _busiest(self, tried: Tried) -> str:
        """The dependency that is nearest to its limit, and how near."""
        shares = {
            name: tried.interval(f"{DEPENDENCIES}.{name}.utilisation").mean for name in self.scenario.dependencies
        }
        name = max(shares, key=lambda one: shares[one])
        return f"the dependency {name}, whose slots are busy {digits(100 * shares[name])} % of the run"

    def _cost(self) -> str:
        assert self.cost_per_hour is not None and self.smallest is not None
        each = self.cost_per_hour
        least = f"That costs {number(each * self.smallest.value)} an hour, at {number(each)} a consumer"
        return (
            f"{least}; {self.of(self.cheaper.value)}: {number(each * self.cheaper.value)}."
            if self.cheaper
            else f"{least}."
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The curve: a header, and a row of text for each value that was tried."""
        names = list(dict.fromkeys(one.expectation.metric for one in self.tried[0].judged))
        busy = [name for name in self.tried[0].found.metrics if name.rpartition(".")[2] == "utilisation"]
        header = [self.field, *names, "95 % interval", *busy, "seeds", *(one.expected for one in self.tried[0].judged)]
        return header, [self._row(one, names, busy) for one in self.tried]

    def _row(self, tried: Tried, names: list[str], busy: list[str]) -> list[str]:
        means = [lower_bound(quantity(one.mean, one.unit), one.unhandled) for one in _each(tried.judged, names)]
        first = next(_each(tried.judged, names))
        between = f"{quantity(first.low, first.unit)} to {quantity(first.high, first.unit)}"
        interval = f"from {quantity(first.low, first.unit)} on" if first.unhandled else between
        shares = [f"{digits(100 * tried.interval(name).mean)} %" for name in busy]
        return [str(tried.value), *means, interval, *shares, str(tried.seeds), *(one.outcome for one in tried.judged)]

    def json(self) -> dict[str, Any]:
        """The plan for machines."""
        return {
            "scenario": self.scenario.name,
            "field": self.field,
            "down": self.down,
            "sentence": self.sentence,
            "smallest": self.smallest.value if self.smallest else None,
            "next_cheaper": self.cheaper.value if self.cheaper else None,
            "limit": self.limit,
            "monotone": self.monotone,
            "unable": self.unable,
            "cost_per_hour": self.cost_per_hour,
            "calibration": self.calibration,
            "curve": [_json(one) for one in self.tried],
            "without": {name: _json(one) for name, one in self.without.items()},
            "live": [
                {
                    "value": one.value,
                    "held": one.held,
                    "runs": one.runs,
                    "late": one.late,
                    "expectations": judged_json(one.judged),
                }
                for one in self.live
            ],
        }


def consumers_of(field: str) -> str | None:
    """The service whose consumers a field counts; None where it is another field."""
    parts = field.split(".")
    return parts[1] if len(parts) == 3 and (parts[0], parts[2]) == ("services", "consumers") else None


def service_of(field: str, scenario: Scenario) -> str | None:
    """The service that a field belongs to; None where it belongs to none."""
    of, _, rest = field.partition(".")
    name = rest.partition(".")[0]
    return name if of == "services" and name in scenario.services else None


def _json(tried: Tried) -> dict[str, Any]:
    busy = {name: float(values.mean()) for name, values in tried.found.metrics.items() if name.endswith("utilisation")}
    told = {"value": tried.value, "seeds": tried.seeds, "holds": tried.holds, "expectations": judged_json(tried.judged)}
    return told | {"utilisation": busy, "overloads": [one.in_words() for one in tried.found.overloads]}


def _each(judged: Sequence[Judged], names: Sequence[str]) -> Iterator[Judged]:
    """The first expectation of each metric."""
    for name in names:
        yield next(one for one in judged if one.expectation.metric == name)


def _broken(tried: Tried) -> list[str]:
    verdicts = {"fails": "fails", "cannot tell": "cannot be told"}
    return [f"{one.expected} {verdicts[one.outcome]}, at {one.found}" for one in tried.judged if one.outcome != "holds"]


def _found(tried: Tried) -> str:
    return _and(
        [f"{one.expectation.metric} {at_least(quantity(one.mean, one.unit), one.unhandled)}" for one in tried.judged]
    )


def _and(texts: Sequence[str]) -> str:
    return " and ".join(texts)
