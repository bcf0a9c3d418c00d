"""The plan of a run of any length: what `Plan` draws at once is drawn in parts here, from the same streams.

So a run takes the memory of a short one, however long it is. Where a load is drawn as a whole, or service times follow
a recording, the plan is the whole one.
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
    chosen_among,
    chosen_stream,
    error_windows,
    keys_stream,
    load_stream,
    mix_stream,
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

_WITH_ROWS = "leave it out, or measure a history"
_OF_WHOLE_RUNS = {  # what is judged by all that happened in a run
    "queue": "whose turn it was is judged by all dispatches",
    "saga": "whether a saga is half done is judged by all its acts",
}


def check_long(scenario: Scenario) -> None:
    """Refuse a scenario whose metrics are not counted without rows, or whose plan is too large.

    Raises:
        InvalidScenario: it is one; every field that is in the way is named.
    """
    load, problems = scenario.offered_load, list[str]()
    if scenario.callers is not None:
        problems.append(f"callers: which replies they missed is judged by all requests of a run; {_WITH_ROWS}")
    if scenario.warm_up is not None:
        problems.append("warm_up: MSER-5 looks at whole runs; give warm_up_s")
    for name, service in scenario.services.items():
        problems += [
            f"services.{name}.{field}: {why} of a run; {_WITH_ROWS}"
            for field, why in _OF_WHOLE_RUNS.items()
            if getattr(service, field) is not None
        ]
    if _in_parts(scenario) and (most := load.expected_events()) > MAX_MESSAGES:
        what = " or ".join(load.grows_with)
        problems.append(f"load: {most:,.0f} messages would be sent, over {MAX_MESSAGES:,}; lower {what}")
    if problems:
        raise InvalidScenario(scenario.name, *problems)
    if not _in_parts(scenario):
        scenario.check_draws()


def _in_parts(scenario: Scenario) -> bool:
    """Whether its plan can be drawn in parts. Recordings, and what follows or was learned of them, are whole anyway."""
    load, services = scenario.offered_load, scenario.services.values()
    called = scenario.dependencies.values()
    times = [*(one.service_time for one in services), *(one.service_time for one in called)]
    learned = any(service.own is not None for service in services)
    return load.in_parts and not learned and all(_alone(time, load) for time in times)


def _alone(time: ServiceTimeKind, load: LoadKind) -> bool:
    return time.each_alone and time.draw_parts(0, np.random.default_rng(0), load)[1] is None


def long_plan(scenario: Scenario, seed: int) -> Plan:
    """The plan of a seed, in parts where it can be: a run may read it once, from the first message to the last.

    In the place of arrays it has what such a run reads of them (`Column`, `Times`), with the same numbers.

    Raises:
        InvalidScenario: as `check_long` does.
        InvalidTrace: the load's trace is missing or broken.
    """
    check_long(scenario)
    if not _in_parts(scenario):
        return scenario.plan(seed)
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
        chosen={name: cast(Numbers, one.chosen) for name, one in drawn.items() if one.chosen is not None},
        slow_windows=slow_windows(services, scenario.faults),
        poison=cast(dict[str, dict[int, Ending]], _poison(scenario, messages, seed)),
        sent_events=cast(Numbers | None, _sent_events(scenario.offered_load, messages, seed)),
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
    chosen: Column | None


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
        _chosen(service, m, place, seed) if service.emits_shares else None,
    )


def _chosen(service: Service, m: int, place: int, seed: int) -> Column:
    """Which of its `emits` a service publishes for each of its m messages."""
    return Column(m, np.random.default_rng(chosen_stream(seed, place)), lambda n, rng: chosen_among(service, n, rng))


def _times(m: int, rng: np.random.Generator, time: ServiceTimeKind, load: LoadKind) -> Column:
    return Column(m, rng, lambda n, rng: time.draw(n, rng, load))


def _sent_events(load: LoadKind, messages: int, seed: int) -> Column | None:
    """The place of the type of each message of a load among its events; None where there is one type."""
    return Column(messages, np.random.default_rng(mix_stream(seed)), load.draw_events) if load.mix else None


def _sizes(load: LoadKind, messages: int, seed: int) -> Column | None:
    """How large the body of each message of a load is; None where they have none."""
    if load.size_bytes is None:
        return None
    by_event = load.mix and load.size_bytes.kind == "event"  # then nothing but the event types is drawn

    def draw(n: int, rng: np.random.Generator) -> Numbers:
        sizes = load.draw_sizes(n, load.draw_events(n, rng) if by_event else None, rng)
        assert sizes is not None, "the load has some"
        return sizes

    stream = mix_stream(seed) if by_event else sizes_stream(seed)
    return Column(messages, np.random.default_rng(stream), draw)


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
