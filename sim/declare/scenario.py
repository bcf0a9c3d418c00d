"""A Scenario declares load, services and faults; a Plan is what one seed makes of it. Both worlds run the same plan.

A plan fixes every arrival, every service time and every failure before either world starts, each source from its own
random stream. So a simulated and a live run of one seed see the same work, and their difference is not sampling.
"""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import yaml
from pydantic import Field, ValidationError, model_validator

from eventlib.errors import InvalidDeclaration
from eventlib.events.schema import valid_name, valid_type
from eventlib.policy import Lease, Retry, RetryBudget
from sim.declare.faults import Errors, Fault, Kill
from sim.declare.load import Declared, Floats, Load, ServiceTime, TokenTime, TraceLoad
from sim.errors import InvalidScenario

Progress = Callable[[float], None]  # told what share of the work is done, from 0 to 1

MAX_PATHS = 1000  # messages that one sent event may set off at one service
MAX_ATTEMPTS = 10_000
MAX_DRAWS = 100_000_000  # random numbers that one service's plan may hold: 0.8 GB


class Service(Declared):
    """Consumers of one event type: each handles `concurrency` at once, every one for `service_time`.

    An attempt fails with probability `error_rate`, at its end; `retry` says what follows, and `retry_budget` how many
    retries one consumer may run. A handled event makes the
    service publish one event of each type in `emits`.
    """

    consumes: str
    consumers: int = Field(default=1, ge=1, le=100)
    concurrency: int = Field(default=1, ge=1)
    prefetch: int = Field(default=0, ge=0)
    service_time: ServiceTime
    error_rate: float = Field(default=0.0, ge=0, le=1)
    retry: Retry = Retry()
    retry_budget: RetryBudget | None = None
    lease_s: float = Field(default=30.0, ge=0.01, le=1e5)
    emits: tuple[str, ...] = ()

    @property
    def lease(self) -> Lease:
        return Lease(self.lease_s)


class Scenario(Declared):
    """One experiment, as declared: nothing is drawn, connected or started yet.

    `drain_s` bounds how long after the last arrival a run may go on working off its backlog.
    """

    name: str
    description: str = ""
    offered_load: Load = Field(alias="load")  # `load` is what reads a file
    services: Mapping[str, Service] = Field(min_length=1)
    faults: tuple[Fault, ...] = ()
    drain_s: float = Field(default=30.0, gt=0, le=1e6)

    @classmethod
    def load(cls, file: str | Path, *, sample_if_missing: bool = False) -> Self:
        """Read a scenario from a YAML file; with `sample_if_missing`, a missing trace is replaced by its sample.

        Raises:
            InvalidScenario: the file is missing, is no YAML, or declares something that cannot be run.
        """
        file = Path(file)
        try:
            declared = yaml.load(file.read_text(encoding="utf-8"), _Yaml)
        except OSError as error:
            raise InvalidScenario(
                str(file), f"cannot be read ({error.strerror}); name a scenario's YAML file"
            ) from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InvalidScenario(str(file), f"is no YAML: {' '.join(str(error).split())}") from error
        if not isinstance(declared, dict):
            raise InvalidScenario(str(file), "holds no scenario; it needs name, load and services")
        load = declared.get("load")
        if isinstance(load, dict):
            declared["load"] = _resolved(load, file.parent, sample_if_missing)
        try:
            return cls.model_validate(declared)
        except ValidationError as error:
            raise InvalidScenario(str(file), _problems(error)) from error

    @model_validator(mode="after")
    def _runnable(self) -> Self:
        try:
            for name in self.services:
                valid_name(name, f"services.{name}")
            for event in self.flow.paths:
                valid_type(event, "event")
        except InvalidDeclaration as error:
            raise ValueError(str(error)) from error
        for fault in self.faults:
            self._check_fault(fault)
        self._check_size()
        for name, service in self.services.items():
            if service.retry.attempts > MAX_ATTEMPTS:
                raise ValueError(f"services.{name}.retry.attempts: at most {MAX_ATTEMPTS:,} can be recorded")
            if isinstance(service.service_time, TokenTime) and not isinstance(self.offered_load, TraceLoad):
                raise ValueError(f"services.{name}.service_time: kind 'tokens' needs a load of kind 'trace'")
        return self

    def _check_size(self) -> None:
        load = self.offered_load
        events = 1.0 if isinstance(load, TraceLoad) else load.rate_per_s * load.duration_s
        for name, service in self.services.items():
            draws = events * self.flow.paths[service.consumes] * service.retry.attempts
            if draws > MAX_DRAWS:
                raise ValueError(
                    f"services.{name}: {draws:,.0f} attempts would have to be planned, over {MAX_DRAWS:,}; "
                    "lower the load's rate_per_s or duration_s, or retry.attempts"
                )

    def _check_fault(self, fault: Fault) -> None:
        service = self.services.get(fault.service)
        if service is None:
            raise ValueError(f"faults: there is no service {fault.service!r}; services are {list(self.services)}")
        if not isinstance(fault, Kill):
            return
        if fault.consumer >= service.consumers:
            raise ValueError(
                f"faults: {fault.service!r} has consumers 0 to {service.consumers - 1}, no {fault.consumer}"
            )
        for other in self.faults:
            if other is not fault and isinstance(other, Kill) and _overlap(fault, other):
                raise ValueError(f"faults: {fault.service!r} consumer {fault.consumer} is killed while it is down")

    @cached_property
    def flow(self) -> "Flow":
        """Which event reaches which service, how often."""
        return Flow.of(self.offered_load.event, self.services)

    def plan(self, seed: int) -> "Plan":
        """Everything random that one seed decides, drawn.

        Raises:
            InvalidTrace: the load's trace is missing or broken.
        """
        return Plan.draw(self, seed)


@dataclass(frozen=True, slots=True)
class Flow:
    """How one sent event spreads. Message i of the load is row i of its plan; the messages of event type T that it
    sets off are numbered from `i * paths[T]`, in the order of the ways that lead there."""

    paths: dict[str, int]  # by event type
    consumers: dict[str, list[str]]  # services, by event type
    offsets: dict[str, list[tuple[str, int]]]  # by service: event type and first way, for each of its emits

    @classmethod
    def of(cls, first: str, services: Mapping[str, Service]) -> Self:
        consumers: dict[str, list[str]] = {}
        for name, service in services.items():
            consumers.setdefault(service.consumes, []).append(name)
        paths = {first: 1}
        offsets: dict[str, list[tuple[str, int]]] = {}
        waiting = dict(services)
        while waiting:
            # A service is next when everything that feeds it is known.
            pending = {event for service in waiting.values() for event in service.emits}
            ready = [name for name, s in waiting.items() if s.consumes in paths and s.consumes not in pending]
            if not ready:
                unfed = [name for name, s in waiting.items() if s.consumes not in paths | dict.fromkeys(pending, 0)]
                if unfed:
                    event = waiting[unfed[0]].consumes
                    raise ValueError(f"services.{unfed[0]}: nothing sends {event!r}; let the load or a service emit it")
                raise ValueError(
                    f"services: the flow loops for ever through {sorted(waiting)}; take one of their emits out"
                )
            for name in ready:
                service = waiting.pop(name)
                offsets[name] = []
                for event in service.emits:
                    offsets[name].append((event, paths.get(event, 0)))
                    paths[event] = paths.get(event, 0) + paths[service.consumes]
                    if paths[event] > MAX_PATHS:
                        raise ValueError(f"services.{name}: one sent event would become over {MAX_PATHS} {event!r}")
        return cls(paths, consumers, offsets)

    def emitted(self, service: str, consumed: str, index: int) -> list[tuple[str, int]]:
        """Event types and indices of what a service publishes when it has handled message `index`."""
        root, way = divmod(index, self.paths[consumed])
        return [(event, root * self.paths[event] + first + way) for event, first in self.offsets[service]]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is random in a run, but the jitter of retries, which is the library's own.

    `arrivals_s` has shape (n,). For each service, `service_s` has shape (m,) and `failure_draws` (m, attempts), uniform
    in [0, 1): an attempt fails if its draw is below the error rate of the moment. m counts the service's messages.
    """

    arrivals_s: Floats
    service_s: dict[str, Floats]
    failure_draws: dict[str, Floats]
    faults: dict[str, list[Errors]]
    error_rate: dict[str, float]

    @classmethod
    def draw(cls, scenario: Scenario, seed: int) -> Self:
        streams = np.random.SeedSequence(seed).spawn(1 + len(scenario.services))
        arrivals_s = scenario.offered_load.arrivals_s(np.random.default_rng(streams[0]))
        service_s, failure_draws = {}, {}
        for (name, service), stream in zip(scenario.services.items(), streams[1:], strict=True):
            times, fates = (np.random.default_rng(s) for s in stream.spawn(2))
            m = len(arrivals_s) * scenario.flow.paths[service.consumes]
            service_s[name] = service.service_time.draw(m, times, scenario.offered_load)
            failure_draws[name] = fates.random((m, service.retry.attempts))
        return cls(
            arrivals_s,
            service_s,
            failure_draws,
            {name: [f for f in scenario.faults if isinstance(f, Errors) and f.service == name] for name in service_s},
            {name: service.error_rate for name, service in scenario.services.items()},
        )

    def fails(self, service: str, index: int, attempt: int, at_s: float) -> bool:
        """Does the attempt (1-based) that starts at `at_s` fail?"""
        rate = self.error_rate[service]
        for window in self.faults[service]:
            if window.at_s <= at_s < window.at_s + window.for_s:
                rate = window.error_rate
        return bool(self.failure_draws[service].item(index, attempt - 1) < rate)


class _Yaml(yaml.SafeLoader):
    """Safe YAML in which no key comes twice: the second one would silently replace the first."""


def _mapping(loader: _Yaml, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key, (at, _) in zip(keys, node.value, strict=True):
        if keys.count(key) > 1:
            raise yaml.YAMLError(f"line {at.start_mark.line + 1}: {key!r} comes twice")
    return loader.construct_mapping(node, deep=True)


_Yaml.add_constructor("tag:yaml.org,2002:map", _mapping)


def _resolved(load: dict[str, Any], directory: Path, sample_if_missing: bool) -> dict[str, Any]:
    """The load with its files found beside the scenario's."""
    files = {key: directory / load[key] for key in ("file", "sample") if isinstance(load.get(key), str)}
    if sample_if_missing and "sample" in files and not files["file"].exists():
        files["file"] = files["sample"]
    return load | files


def _overlap(one: Kill, other: Kill) -> bool:
    def down_until(kill: Kill) -> float:
        return np.inf if kill.back_after_s is None else kill.at_s + kill.back_after_s

    same = (one.service, one.consumer) == (other.service, other.consumer)
    return same and one.at_s <= down_until(other) and other.at_s <= down_until(one)


_TAGS = {"constant", "poisson", "trace", "exponential", "lognormal", "tokens", "kill", "errors"}


def _known_fields(place: Sequence[str | int]) -> str:
    """What may stand where a problem is, by the schema."""
    schema = Scenario.model_json_schema()

    def resolved(node: dict[str, Any]) -> dict[str, Any]:
        return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node

    node = schema
    for step in place[:-1]:
        kinds = node.get("discriminator", {}).get("mapping", {})
        within = node.get("properties", {}).get(step) or node.get("additionalProperties") or node.get("items")
        node = resolved({"$ref": kinds[step]} if step in kinds else within or {})
        if given := [part for part in node.get("anyOf", ()) if part != {"type": "null"}]:
            node = resolved(given[0])
    return ", ".join(node.get("properties", ())) or "none"


def _problems(error: ValidationError) -> str:
    """All problems in one line: where in the file, what is wrong."""
    found = []
    for problem in error.errors(include_url=False):
        message = problem["msg"].removeprefix("Value error, ")
        match problem["type"]:
            case "extra_forbidden":
                message = f"unknown field; there are: {_known_fields(problem['loc'])}"
            case "union_tag_invalid":
                message = f"there is no kind {problem['ctx']['tag']!r}; use one of {problem['ctx']['expected_tags']}"
            case "union_tag_not_found":
                message = "say which kind it is: kind: ..."
            case "missing":
                message = "is missing; add it"
            case type_ if type_ != "value_error":
                message += f", not {reprlib.repr(problem['input'])}"
        place = _place(problem["loc"])
        found.append(f"{place}: {message}" if place else message)
    return "; ".join(found)


def _place(loc: tuple[int | str, ...]) -> str:
    """The path in the file; pydantic's has the kind in it, which the file has not."""
    parts = [str(part) for i, part in enumerate(loc) if i == 0 or part not in _TAGS or loc[i - 1] == "services"]
    return ".".join(parts).replace("\n", " ")
