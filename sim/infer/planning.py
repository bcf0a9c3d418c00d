"""plan(): the smallest value of a field with which a scenario does what is expected of it."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from sim.calibration import Calibration
from sim.declare.dependencies import CAPACITY_MAX
from sim.declare.scenario import Progress, Scenario
from sim.declare.varying import Values, axes_of, grid, with_fields
from sim.errors import InvalidScenario
from sim.evidence.checks import check, generator_late
from sim.evidence.expectations import expectations_of, judge
from sim.evidence.export import own_name
from sim.evidence.history import History
from sim.evidence.metrics import averaged, measure
from sim.infer.planned import CapacityPlan, Limit, LiveCheck, Tried, consumers_of
from sim.infer.points import Point, executor_of, simulated_all
from sim.progress import shown

SEEDS = 20
_FIRST = 5  # seeds of a first look: far from the limit they tell as well as many
_MORE = 4  # so many times the seeds are simulated where fewer cannot tell


def plan(
    scenario: Scenario,
    vary: Values,
    *,
    expect: Iterable[str] = (),
    down: int = 0,
    seeds: int = SEEDS,
    calibration: Calibration | None = None,
    cost_per_hour: float | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CapacityPlan:
    """Find the smallest value of a field, such as `{"services.billing.consumers": "1..32"}`, that holds.

    It holds where everything does that is expected, by the scenario or by `expect`. `down` consumers do not run at all:
    they are down from the start and never replaced, beside the scenario's own faults.

    Values are tried by doubling, then between the last that does not hold and the first that does, then beside it, at
    first with five seeds. The answer and the next cheaper value have the seeds 0 to `seeds` - 1, and the cheaper one
    four times as many where these cannot tell. That finds the smallest where more is always better; where a neighbour
    shows that it is not, every value is tried. `cost_per_hour` is what a consumer costs.

    Raises:
        InvalidScenario: not one field varies, nothing is expected, or no value can be run; or other than consumers are
            down or cost something.
        SweepFailed: the executor failed.
    """
    field, values = _varied(vary)
    expectations = expectations_of(scenario, expect)
    if not expectations:
        raise InvalidScenario(scenario.name, "expects nothing; say what must hold, such as --expect 'lag_s_p99 < 0.5'")
    _check_consumers(scenario, field, down, cost_per_hour)
    variants, unable = _variants(scenario, field, values, down)
    with shown(progress, f"planning {scenario.name}") as advance, executor_of(executor, workers) as pool:
        search = _Search(list(variants.items()), seeds, calibration, pool, advance, expectations)
        smallest, monotone = search.smallest()
        below = smallest - 1 if smallest is not None else len(search.values) - 1
        cheaper = search.tried[below] if below >= 0 else None
        without = search.without_each(below, none_holds=smallest is None) if cheaper is not None else {}
    return CapacityPlan(
        scenario,
        field,
        down,
        expectations,
        tuple(search.tried[index] for index in sorted(search.tried)),
        search.tried[smallest] if smallest is not None else None,
        cheaper if smallest is not None else None,
        _limit(without) if cheaper is not None else None,
        without,
        monotone,
        unable,
        calibration.about() if calibration is not None else {},
        cost_per_hour,
    )


def _check_consumers(scenario: Scenario, field: str, down: int, cost_per_hour: float | None) -> None:
    """Refuse consumers that are down, or cost something, where the field does not say how many there are."""
    counted = scenario.services.get(consumers_of(field) or "")
    if down and counted is None:
        raise InvalidScenario(field, "only consumers can be down; vary services.NAME.consumers")
    if cost_per_hour is not None and counted is None:
        raise InvalidScenario(field, "only consumers cost; vary services.NAME.consumers, or leave the cost out")
    if (down or cost_per_hour is not None) and counted is not None and counted.autoscale is not None:
        told = "a rule scales them, so this is only their number at first"
        raise InvalidScenario(field, f"{told}; leave autoscale out, or leave out who is down and what they cost")


def _limit(without: Mapping[Limit, Tried]) -> Limit | None:
    """What limits: the first thing without which it holds; None where that cannot be told of each."""
    unsure = any(tried.cannot_tell for tried in without.values())
    rest: Limit = "time" if "utilisation" in without else "utilisation"  # ten times the handlers were tried in vain
    return next((name for name, tried in without.items() if tried.holds), None if unsure else rest)


async def checked_live(found: CapacityPlan, run: Callable[[Scenario, str], Awaitable[History]]) -> CapacityPlan:
    """The plan with its answer and the next cheaper value checked on a real Redis.

    `run` runs a scenario live. It is told the value, in words.
    """
    checks = []
    for tried in (found.smallest, found.cheaper):
        if tried is not None:
            variant = with_fields(
                found.scenario, {found.field: tried.value - found.down if found.down else tried.value}
            )
            checks.append(_checked(found, tried.value, await run(variant, found.of(tried.value))))
    return replace(found, live=tuple(checks))


def _checked(found: CapacityPlan, value: Any, history: History) -> LiveCheck:
    """In how many runs everything held. A lower bound below a limit from above does not show that it holds."""
    metrics = measure(history)
    held = 0
    for run in range(len(history.runs)):
        each = []
        for wanted in found.expectations:
            name = own_name(wanted.metric, metrics)
            is_bound = bool(metrics.unhandled[name][run]) if name in metrics.unhandled else False
            each.append(wanted.holds_at(float(metrics[name][run])) and not (is_bound and wanted.is_upper_limit))
        held += all(each)
    judged = judge(found.expectations, averaged(history, metrics))
    late = generator_late(check(history)) is not None
    return LiveCheck(value, held, len(history.runs), tuple(judged), late)


def _varied(vary: Values) -> tuple[str, list[Any]]:
    """The field that varies, and its values in their order.

    Raises:
        InvalidScenario: not one field varies, or not over numbers.
    """
    [axis, *others] = axes_of(vary)
    if others:
        raise InvalidScenario("vary", "a plan varies one field; fix the others in the scenario, or use a sweep")
    if not all(isinstance(value, int | float) for value in axis.values):
        raise InvalidScenario(axis.field, "a plan varies a number; give a range, such as 1..32")
    return axis.field, sorted(value for (value,) in grid([axis]))


def _variants(scenario: Scenario, field: str, values: Sequence[Any], down: int) -> tuple[dict[Any, Scenario], str]:
    """The scenario at each value, and why the smallest ones cannot be run: a fault may need a consumer that they lack.

    Raises:
        InvalidScenario: no value can be run.
    """
    found: dict[Any, Scenario] = {}
    unable: InvalidScenario | None = None
    for value in values:
        try:
            if down and value <= down:
                raise InvalidScenario(field, f"{value} cannot work with {down} down; give at least {down + 1}")
            found[value] = with_fields(scenario, {field: value - down if down else value})
        except InvalidScenario as error:
            if found or value == values[-1]:
                raise
            unable = error
    return found, "" if unable is None else "; ".join(unable.problems)


class _Search:
    """What was tried, by the place of each value, and what is tried next."""

    def __init__(
        self,
        variants: list[tuple[Any, Scenario]],
        seeds: int,
        calibration: Calibration | None,
        pool: Executor,
        advance: Progress,
        expectations: Sequence[Any],
    ) -> None:
        self.values = [value for value, _ in variants]
        self._variants = [variant for _, variant in variants]
        self._seeds, self._calibration = seeds, calibration
        self._pool, self._advance, self._expectations = pool, advance, expectations
        self.tried: dict[int, Tried] = {}
        self._points = 0

    def smallest(self) -> tuple[int | None, bool]:
        """The place of the smallest value that holds, None where none does; and whether more was always better."""
        last = len(self.values) - 1
        self.attempt({*(2**power - 1 for power in range(last.bit_length() + 1) if 2**power - 1 <= last), last})
        if self.tried[last].cannot_tell:
            self.attempt_again(last, _MORE * self._seeds)
        while (place := self._first()) is not None:
            below = max((index for index in self.tried if index < place), default=-1)
            if place - below > 1:  # two at a time, whatever the number of cores: the same values are tried everywhere
                gap = place - below
                self.attempt({below + max(1, gap // 3), below + max(1, 2 * gap // 3)})
            elif (unsure := next((index for index in (place, below) if self._is_first_look(index)), None)) is not None:
                self.attempt_again(unsure, self._seeds)
            elif below >= 0 and self.tried[below].cannot_tell and self.tried[below].seeds == self._seeds:
                self.attempt_again(below, _MORE * self._seeds)
            elif place < last and place + 1 not in self.tried:
                self.attempt({place + 1})
            elif len(self.tried) <= last and not self._is_monotone():
                self.attempt(set(range(last + 1)))
            else:
                break
        if not self._is_monotone():  # the largest fails, and smaller ones hold
            self.attempt(set(range(last + 1)))
        return self._first(), self._is_monotone()

    def _first(self) -> int | None:
        """The first place from which on everything that was tried holds."""
        found = None
        for index in sorted(self.tried, reverse=True):
            if not self.tried[index].holds:
                break
            found = index
        return found

    def _is_monotone(self) -> bool:
        """Whether no value holds while a larger one fails. What cannot be told is no proof of either."""
        holding = [index for index, tried in self.tried.items() if tried.holds]
        failing = [index for index, tried in self.tried.items() if not tried.holds and not tried.cannot_tell]
        return not holding or not failing or max(failing) < min(holding)

    def _is_first_look(self, place: int) -> bool:
        return place >= 0 and self.tried[place].seeds < self._seeds

    def attempt(self, places: Iterable[int]) -> None:
        """Take a first look at the values at these places, where that was not done yet."""
        missing = sorted(set(places) - set(self.tried))
        for index, tried in zip(missing, self._simulated(missing, min(_FIRST, self._seeds)), strict=True):
            self.tried[index] = tried

    def attempt_again(self, place: int, seeds: int) -> None:
        """Simulate the value at a place with more seeds."""
        [self.tried[place]] = self._simulated([place], seeds)

    def without_each(self, place: int, *, none_holds: bool) -> dict[Limit, Tried]:
        """What the value at a place comes to without each of the things that may limit it, the mildest change first.

        Each has as many seeds as the answer, and four times as many where these cannot tell. Where no value holds, ten
        times the handlers come last: what they do not reach, no number of consumers will.
        """
        variants = without_each(self._variants[place])
        if none_holds and (busy := with_more_handlers(self._variants[place])):
            variants["utilisation"] = busy
        found = self._without(place, variants, self._seeds)
        unsure = {name: variants[name] for name, tried in found.items() if tried.cannot_tell}
        return found | self._without(place, unsure, _MORE * self._seeds)

    def _without(self, place: int, variants: dict[Limit, Scenario], seeds: int) -> dict[Limit, Tried]:
        value = self.values[place]
        return dict(zip(variants, self._judged([(value, one) for one in variants.values()], seeds), strict=True))

    def _simulated(self, places: Sequence[int], seeds: int) -> list[Tried]:
        return self._judged([(self.values[index], self._variants[index]) for index in places], seeds)

    def _judged(self, variants: Sequence[tuple[Any, Scenario]], seeds: int) -> list[Tried]:
        points = [Point(variant, tuple(range(seeds)), self._calibration) for _, variant in variants]
        expected = 12 + len(points)  # points of a plan, more or less

        def note(*_: Any) -> None:
            self._points += 1
            self._advance(min(0.95, self._points / expected))

        found = simulated_all(points, self._pool, done=note)
        pairs = zip(variants, found, strict=True)
        return [Tried.of(value, seeds, measured, self._expectations) for (value, _), measured in pairs]


def without_each(scenario: Scenario) -> dict[Limit, Scenario]:
    """The scenario with a tenth of its leases, without failures, with ten times what its dependencies can do, and
    without faults: each only where it changes it."""
    variants: dict[Limit, Scenario] = {}
    plain = {name: service for name, service in scenario.services.items() if service.app is None}
    if scenario.faults:
        shorter = {f"services.{name}.lease_s": max(0.01, service.lease_s / 10) for name, service in plain.items()}
        variants["lease"] = with_fields(scenario, shorter)
    failing = {f"services.{name}.error_rate": 0.0 for name, service in plain.items() if service.error_rate}
    sound = tuple(fault for fault in scenario.faults if not any(map(fault.error_windows, scenario.services)))
    if failing or sound != scenario.faults:
        variants["retries"] = with_fields(scenario, failing | {"faults": sound})
    if scenario.dependencies:
        more = {f"dependencies.{name}.capacity": one.capacity * 10 for name, one in scenario.dependencies.items()}
        variants["dependency"] = with_fields(scenario, {name: min(CAPACITY_MAX, of) for name, of in more.items()})
    if scenario.faults:
        variants["faults"] = with_fields(scenario, {"faults": ()})
    return variants


def with_more_handlers(scenario: Scenario) -> Scenario | None:
    """The scenario with ten times its handlers; None where an App says how many there are, or where there may not be so
    many."""
    if any(service.app is not None for service in scenario.services.values()):
        return None
    more = {f"services.{name}.concurrency": 10 * service.concurrency for name, service in scenario.services.items()}
    try:
        return with_fields(scenario, more)
    except InvalidScenario:
        return None
