"""The plan of a run of any length: what `Plan` draws at once is drawn in parts here, from the same streams.

So a run takes the memory of a short one, however long it is. A scenario whose messages depend on each other, or
on a recording, has no such plan yet.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np

from sim.declare.declared import Floats, Numbers
from sim.declare.faults.kind import Ending, PoisonInParts
from sim.declare.loads.kind import LoadKind
from sim.declare.parts import Column, Times
from sim.declare.plan import (
    Plan,
    calls_stream,
    error_windows,
    keys_stream,
    load_stream,
    poison_stream,
    service_streams,
    sizes_stream,
    slow_windows,
)
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.declare.service_times.kind import ServiceTimeKind
from sim.errors import InvalidScenario

MAX_MESSAGES = 1_000_000_000  # of a load: they take hours

_NOT_YET = {
    "app": "own handlers are",
    "queue": "a task queue is",
    "saga": "sagas are",
    "emits_shares": "shares of what is emitted are",
}


def check_long(scenario: Scenario) -> None:
    """Refuse a scenario that has no plan in parts.

    Raises:
        InvalidScenario: it is one; every field that is in the way is named.
    """
    load, problems = scenario.offered_load, list[str]()
    if not load.in_parts:
        problems.append(f"load.kind: {load.kind!r} is drawn as a whole; give 'constant', 'poisson', 'step' or 'spike'")
    if load.mix:
        problems.append("load.event: several event types are not measured without rows yet; name one")
    if scenario.callers is not None:
        problems.append("callers: they are not measured without rows yet; leave them out")
    if scenario.warm_up is not None:
        problems.append("warm_up: MSER-5 looks at whole runs; give warm_up_s")
    for name, service in scenario.services.items():
        problems += [f"services.{name}.{problem}" for problem in _problems(scenario, service)]
    for name, dependency in scenario.dependencies.items():
        problems += [f"dependencies.{name}.{problem}" for problem in _time_problems(dependency.service_time, load)]
    if (most := load.expected_events()) > MAX_MESSAGES:
        what = " or ".join(load.grows_with)
        problems.append(f"load: {most:,.0f} messages would be sent, over {MAX_MESSAGES:,}; lower {what}")
    if problems:
        raise InvalidScenario(scenario.name, *problems)


def _problems(scenario: Scenario, service: Service) -> list[str]:
    found = [
        f"{field.removesuffix('_shares')}: {what} not measured without rows yet; leave it out"
        for field, what in _NOT_YET.items()
        if getattr(service, field)
    ]
    return found + ([] if service.app or service.saga else _time_problems(service.service_time, scenario.offered_load))


def _time_problems(time: ServiceTimeKind, load: LoadKind) -> list[str]:
    if time.each_alone and time.draw_parts(0, np.random.default_rng(0), load)[1] is None:
        return []
    return [f"service_time: {time.kind!r} is not measured without rows yet; give a distribution"]


def long_plan(scenario: Scenario, seed: int) -> Plan:
    """The plan of a seed, in parts: a run that reads it once, from the first message to the last, may do so.

    In the place of arrays it has what such a run reads of them (`Column`, `Times`), with the same numbers.

    Raises:
        InvalidScenario: as `check_long` does.
    """
    check_long(scenario)
    messages, parts = scenario.offered_load.draw_in_parts(np.random.default_rng(load_stream(seed)))
    times_s = cast(Floats, Times(messages, parts))
    services = scenario.services
    drawn = {
        name: _draw_service(scenario, service, messages * scenario.flow.paths[service.consumes], place, seed)
        for place, (name, service) in enumerate(services.items())
    }
    return Plan(
        arrivals_s=times_s,
        due_s=times_s,
        service_s={name: cast(Floats, one.service_s) for name, one in drawn.items()},
        failure_draws={name: cast(Floats, one.failure_draws) for name, one in drawn.items()},
        error_windows=error_windows(services, scenario.faults),
        error_rate={name: service.error_rate for name, service in services.items()},
        labels={},
        sagas={},
        cpu_s={},
        emits={},
        chosen={},
        slow_windows=slow_windows(services, scenario.faults),
        poison=cast(dict[str, dict[int, Ending]], _poison(scenario, messages, seed)),
        sent_events=None,
        failing={},
        dependency_s={name: [(used, cast(Floats, s)) for used, s in one.calls_s] for name, one in drawn.items()},
        keys={name: cast(Numbers, one.keys) for name, one in drawn.items() if one.keys is not None},
        think_s=None,
        size_bytes=cast(Numbers | None, _sizes(scenario.offered_load, messages, seed)),
        fields={},
    )


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What is drawn for one service: see `Plan`."""

    service_s: Column
    failure_draws: Column
    calls_s: list[tuple[str, Column]]
    keys: Column | None


def _draw_service(scenario: Scenario, service: Service, m: int, place: int, seed: int) -> _Drawn:
    """What becomes of the m messages of the service at this place in the scenario."""
    time_rng, failure_rng, _ = service_streams(service, place, seed)
    load, attempts, order = scenario.offered_load, service.retry.attempts, service.ordered_by
    times = {name: one.service_time for name, one in scenario.dependencies.items()}
    calls_s = [
        (used, _times(m, np.random.default_rng(calls_stream(seed, place, number)), times[used], load))
        for number, used in enumerate(service.uses)
    ]
    return _Drawn(
        _times(m, time_rng, service.service_time, load),
        Column(m, failure_rng, lambda n, rng: rng.random((n, attempts)), attempts),
        calls_s,
        Column(m, np.random.default_rng(keys_stream(seed, place)), order.draw) if order is not None else None,
    )


def _times(m: int, rng: np.random.Generator, time: ServiceTimeKind, load: LoadKind) -> Column:
    return Column(m, rng, lambda n, rng: time.draw(n, rng, load))


def _sizes(load: LoadKind, messages: int, seed: int) -> Column | None:
    """How large the body of each message of a load is; None where they have none."""

    def draw(n: int, rng: np.random.Generator) -> Numbers:
        sizes = load.draw_sizes(n, None, rng)
        assert sizes is not None, "only a load with sizes is asked for them"
        return sizes

    return Column(messages, np.random.default_rng(sizes_stream(seed)), draw) if load.size_bytes is not None else None


class _Poisoned:
    """How the messages of one service end their attempts that faults poison. An event of the load is `ways` of them."""

    def __init__(self, ways: int) -> None:
        self._ways = ways
        self._faults = list[PoisonInParts]()  # the last one that poisons a message decides

    def insert(self, fault: PoisonInParts) -> None:
        """One fault more, before which those count that are there."""
        self._faults.insert(0, fault)

    def __contains__(self, message: int) -> bool:
        return self.get(message) is not None

    def get(self, message: int) -> Ending | None:
        """How a message ends its attempts; None where no fault poisons it."""
        event = message // self._ways
        of_event = (one for one in self._faults if one.first <= event < one.until and one.chosen(event))
        return next((one.ending for one in of_event), None)


def _poison(scenario: Scenario, messages: int, seed: int) -> dict[str, _Poisoned]:
    found, services = dict[str, _Poisoned](), scenario.services
    for place, fault in enumerate(scenario.faults):
        rng = np.random.default_rng(poison_stream(seed, len(services), place))
        poison = fault.poison_in_parts(messages, lambda at_s: _before(scenario.offered_load, seed, at_s), rng)
        if poison is not None:
            ways = scenario.flow.paths[services[poison.service].consumes]
            found.setdefault(poison.service, _Poisoned(ways)).insert(poison)
    return found


def _before(load: LoadKind, seed: int, at_s: float) -> int:
    """How many messages of a load arrive before a time. They are drawn up to then, and thrown away."""
    messages, parts = load.draw_in_parts(np.random.default_rng(load_stream(seed)))
    if at_s <= 0.0 or np.isinf(at_s):
        return messages if at_s > 0.0 else 0
    before = 0
    for part in parts:
        before += int(np.searchsorted(part, at_s))
        if part[-1] >= at_s:
            break
    return before
