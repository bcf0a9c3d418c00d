"""The plan of a run of any length: what `Plan` draws at once is drawn in parts here, from the same streams.

So a run takes the memory of a short one, however long it is. A scenario whose messages depend on each other, or
on a recording, has no such plan yet.
"""

from typing import cast

import numpy as np

from sim.declare.declared import Floats
from sim.declare.parts import Column, Times
from sim.declare.plan import Plan, error_windows, load_stream, service_streams, slow_windows
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.errors import InvalidScenario

MAX_MESSAGES = 1_000_000_000  # of a load: they take hours

_NOT_YET = {
    "app": "own handlers are",
    "queue": "a task queue is",
    "saga": "sagas are",
    "ordered_by": "the order of keys is",
    "uses": "dependencies are",
    "batch": "batch handlers are",
    "autoscale": "autoscaling is",
    "circuit_breaker": "a circuit breaker is",
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
    if load.size_bytes is not None:
        problems.append("load.size_bytes: sizes are not measured without rows yet; leave it out")
    if scenario.callers is not None:
        problems.append("callers: they are not measured without rows yet; leave them out")
    for kind in sorted({fault.kind for fault in scenario.faults if fault.redelivers}):
        problem = f"{kind!r} may make a message come twice, which is not measured without rows yet"
        problems.append(f"faults: {problem}; leave it out, or give 'errors' or 'slow'")
    if scenario.warm_up is not None:
        problems.append("warm_up: MSER-5 looks at whole runs; give warm_up_s")
    for name, service in scenario.services.items():
        problems += [f"services.{name}.{problem}" for problem in _problems(scenario, service)]
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
    time = service.service_time
    computes = not found and time.each_alone and _draw_some(scenario, service)[1] is not None
    if computes or not time.each_alone:
        found.append(f"service_time: {time.kind!r} is not measured without rows yet; give a distribution")
    return found


def _draw_some(scenario: Scenario, service: Service) -> tuple[Floats, Floats | None]:
    return service.service_time.draw_parts(0, np.random.default_rng(0), scenario.offered_load)


def long_plan(scenario: Scenario, seed: int) -> Plan:
    """The plan of a seed, in parts: a run that reads it once, from the first message to the last, may do so.

    In the place of arrays it has what such a run reads of them (`Column`, `Times`), with the same numbers.

    Raises:
        InvalidScenario: as `check_long` does.
    """
    check_long(scenario)
    messages, parts = scenario.offered_load.draw_in_parts(np.random.default_rng(load_stream(seed)))
    times_s = cast(Floats, Times(messages, parts))
    service_s, failure_draws = dict[str, Floats](), dict[str, Floats]()
    services = scenario.services
    for place, (name, service) in enumerate(services.items()):
        columns = _columns(scenario, service, messages * scenario.flow.paths[service.consumes], place, seed)
        service_s[name], failure_draws[name] = (cast(Floats, column) for column in columns)
    return Plan(
        arrivals_s=times_s,
        due_s=times_s,
        service_s=service_s,
        failure_draws=failure_draws,
        error_windows=error_windows(services, scenario.faults),
        error_rate={name: service.error_rate for name, service in services.items()},
        labels={},
        sagas={},
        cpu_s={},
        emits={},
        chosen={},
        slow_windows=slow_windows(services, scenario.faults),
        poison={},
        sent_events=None,
        failing={},
        dependency_s={name: [] for name in services},
        keys={},
        think_s=None,
        size_bytes=None,
        fields={},
    )


def _columns(scenario: Scenario, service: Service, m: int, place: int, seed: int) -> tuple[Column, Column]:
    """The service times and the failure draws of the m messages of the service at this place in the scenario."""
    time_rng, failure_rng, _ = service_streams(service, place, seed)
    time, load, attempts = service.service_time, scenario.offered_load, service.retry.attempts
    return (
        Column(m, time_rng, lambda n, rng: time.draw(n, rng, load)),
        Column(m, failure_rng, lambda n, rng: rng.random((n, attempts)), attempts),
    )
