"""Small scenarios to simulate, and functions that read the results."""

import random
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from eventlib.policy import Retry
from sim.declare.callers import Callers
from sim.declare.declared import Floats
from sim.declare.dependencies import Dependency
from sim.declare.faults import Fault
from sim.declare.faults.errors import Errors
from sim.declare.faults.kill import Kill
from sim.declare.loads import Load
from sim.declare.loads.constant import ConstantLoad
from sim.declare.loads.poisson import PoissonLoad
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.declare.service_times import ServiceTime
from sim.declare.service_times.constant import ConstantTime
from sim.declare.service_times.exponential import ExponentialTime
from sim.declare.service_times.lognormal import LognormalTime
from sim.evidence.checks import check
from sim.evidence.history import KIND, History, Rows

AT_ONCE = Retry(attempts=3, wait_s=0.0, jitter="none")


def poisson(rate_per_s: float, duration_s: float, event: str = "placed") -> PoissonLoad:
    """Events at random."""
    return PoissonLoad(kind="poisson", event=event, rate_per_s=rate_per_s, duration_s=duration_s)


def steady(rate_per_s: float, duration_s: float, event: str = "placed") -> ConstantLoad:
    """Events at even distances."""
    return ConstantLoad(kind="constant", event=event, rate_per_s=rate_per_s, duration_s=duration_s)


def constant(mean_s: float) -> ConstantTime:
    """The same time for all."""
    return ConstantTime(kind="constant", mean_s=mean_s)


def exponential(mean_s: float) -> ExponentialTime:
    """Exponential times."""
    return ExponentialTime(kind="exponential", mean_s=mean_s)


def lognormal(mean_s: float, cv: float) -> LognormalTime:
    """Lognormal times."""
    return LognormalTime(kind="lognormal", mean_s=mean_s, cv=cv)


def service(mean_s: float = 0.01, consumes: str = "placed", **changes: Any) -> Service:
    """One consumer with constant times; `changes` are fields of Service."""
    return Service.model_validate({"consumes": consumes, "service_time": constant(mean_s)} | changes)


def scenario(
    load: Load,
    *faults: Fault,
    drain_s: float = 30.0,
    dependencies: Mapping[str, Dependency] | None = None,
    **services: Service,
) -> Scenario:
    """Services by name, under a load."""
    return Scenario(
        name="small", load=load, services=services, faults=faults, drain_s=drain_s, dependencies=dependencies or {}
    )


def with_callers(callers: Callers, load: Load, *faults: Fault, drain_s: float = 30.0, **services: Service) -> Scenario:
    """Services by name, under a load of requests."""
    return Scenario(name="small", load=load, callers=callers, services=services, faults=faults, drain_s=drain_s)


def saga_step(name: str, mean_s: float = 0.01, **fields: Any) -> dict[str, Any]:
    """A step of a saga with a constant time. `undo` may be seconds, for an undo that never fails."""
    undo = fields.pop("undo", None)
    if isinstance(undo, float):
        undo = {"service_time": constant(undo)}
    return {"name": name, "service_time": constant(mean_s), "undo": undo} | fields


def saga_service(*steps: dict[str, Any], consumes: str = "placed", **changes: Any) -> Service:
    """A service that runs sagas of these steps. It tries three times, at once."""
    return Service.model_validate({"consumes": consumes, "saga": {"steps": steps}, "retry": AT_ONCE} | changes)


def kill(service: str, at_s: float, back_after_s: float | None, consumer: int = 0) -> Kill:
    """A consumer's death and return."""
    return Kill(kind="kill", service=service, consumer=consumer, at_s=at_s, back_after_s=back_after_s)


def fault(kind: str, **fields: Any) -> Fault:
    """A fault of any kind."""
    declared: Fault = TypeAdapter(Fault).validate_python({"kind": kind} | fields)
    return declared


def rows_of(history: History, kind: str, service: str | None = None) -> Rows:
    """The rows of one kind, of one service or of all, in order."""
    chosen = history.rows["kind"] == KIND[kind]
    if service is not None:
        chosen &= history.rows["service"] == history.services.index(service)
    found: Rows = history.rows[chosen]
    return found


def waits_s(history: History, service: str = "desk") -> Floats:
    """Seconds from arrival to the start of the first attempt, of each message in the order of messages."""
    started = rows_of(history, "started", service)
    started = np.sort(started[started["attempt"] == 1], order=("run", "message"))
    return np.asarray(started["t_s"] - started["intended_s"])


def problems(history: History) -> dict[str, str]:
    """The checks that are not true, with what they found."""
    return {one.name: one.detail for one in check(history) if one.verdict != "true"}


def in_order(history: History, service: str = "desk") -> bool:
    """Whether of each key of a service no message was begun before the one in front of it was done with."""
    for run, rows in history.each_run():
        key_of = history.scenario.plan(run.seed).keys[service]
        own = rows[rows["service"] == history.services.index(service)]
        started = own[own["kind"] == KIND["started"]]
        settled = own[np.isin(own["kind"], [KIND["handled"], KIND["dead"]])]
        for key in np.unique(key_of):
            first = {int(row["message"]): row["t_s"] for row in reversed(started[key_of[started["message"]] == key])}
            last = {int(row["message"]): row["t_s"] for row in settled[key_of[settled["message"]] == key]}
            if any(first[after] < last[before] - 1e-9 for before, after in pairwise(sorted(first))):
                return False
    return True


def attempts_by_message(history: History, service: str) -> list[tuple[int, int, int]]:
    """Run, message and number of attempts started, of each message."""
    started = rows_of(history, "started", service)
    keys, counts = np.unique(started[["run", "message"]], return_counts=True)
    return [(int(key["run"]), int(key["message"]), int(count)) for key, count in zip(keys, counts, strict=True)]


def any_scenario(number: int) -> Scenario:
    """One of any number of different scenarios, always the same for one number: chains, fan-outs and diamonds of one
    to five services with kills and windows of errors, of which every service survives."""
    draw = random.Random(number)
    services = {f"s{index}": _any_service(draw, 3 * index) for index in range(draw.randint(1, 5))}
    fed = {"e0"}
    for index, (name, one) in enumerate(services.items()):
        # Events are numbered and all flow to higher numbers, so there is no loop. Two paths may lead to one event.
        consumed = draw.choice(sorted(fed))
        later = [f"e{number}" for number in range(int(consumed[1:]) + 1, int(consumed[1:]) + 3)]
        emitted = draw.choices(later, k=draw.choice((0, 1, 1, 2))) if index < 4 else []
        fed |= set(emitted)
        services[name] = one.model_copy(update={"consumes": consumed, "emits": tuple(emitted)})
    faults = [fault for name, one in services.items() for fault in _any_faults(draw, name, one)]
    return scenario(poisson(draw.uniform(20, 60), 2.0, "e0"), *faults, drain_s=120.0, dependencies=None, **services)


def _any_service(draw: random.Random, seed: int) -> Service:
    times: list[ServiceTime] = [constant(0.0), constant(0.02), exponential(0.02), lognormal(0.03, 1.5)]
    retry = Retry(
        attempts=draw.randint(1, 4),
        wait_s=draw.choice((0.0, 0.02, 0.2)),
        wait_s_max=0.3,
        jitter=draw.choice(("full", "equal", "none")),
    )
    return Service(
        consumes="e0",
        consumers=draw.randint(1, 3),
        concurrency=draw.randint(1, 3),
        prefetch=draw.choice((0, 0, 1, 5)),
        service_time=draw.choice(times),
        error_rate=draw.choice((0.0, 0.1, 0.4)),
        retry=retry,
        lease_s=draw.uniform(0.3, 1.0),
    )


def _any_faults(draw: random.Random, name: str, one: Service) -> list[Fault]:
    faults: list[Fault] = []
    for consumer in range(one.consumers):
        if draw.random() < 0.5:
            # The first consumer always comes back, so that one consumer finishes the work.
            back_after_s = draw.choice((0.0, 0.3, None)) if consumer else draw.choice((0.0, 0.3))
            faults.append(kill(name, draw.choice((0.0, draw.uniform(0.0, 2.0))), back_after_s, consumer))
    if draw.random() < 0.4:
        faults.append(Errors(kind="errors", service=name, at_s=draw.uniform(0, 1.5), for_s=0.5, error_rate=0.8))
    return faults
