"""A Scenario declares one experiment: a load, the services that work it off, and the faults injected into them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from eventlib.errors import InvalidDeclaration
from eventlib.events.schema import valid_name, valid_type
from eventlib.policy import Retry
from sim.declare.callers import Callers, callers_problem
from sim.declare.declared import Declared, FilePlaces
from sim.declare.dependencies import Dependency
from sim.declare.expectations import Expectation
from sim.declare.faults import Fault
from sim.declare.faults.drawing import DrawnFaults, drawn_faults
from sim.declare.faults.kind import FaultKind, FaultySystem
from sim.declare.flow import Flow
from sim.declare.loads import Load
from sim.declare.loads.kind import LoadKind
from sim.declare.plan import Plan, draw_labels
from sim.declare.scenario_file import problems, read
from sim.declare.service import Service
from sim.declare.service_times.linear import field_problem
from sim.declare.task_queue import Labels, TaskQueue
from sim.errors import InvalidScenario, InvalidTrace

Progress = Callable[[float], None]  # told what share of the work is done, from 0 to 1

MAX_ATTEMPTS = 10_000
MAX_DRAWS = 100_000_000  # random numbers that one service's plan may hold: 0.8 GB
MAX_ROWS = 50_000_000  # rows that the runs of one history may have: 2.5 GB, and as much again to put them in order
SAMPLE_EVERY_S = 0.1  # how often the backlog is looked at where runs are short
SAMPLES = 10_000  # looks at a service's backlog in a run that has fewer events than that


class Scenario(Declared):
    """One experiment, as declared: nothing is drawn, connected or started yet.

    `drain_s` bounds how long after the last arrival a run may go on working off its backlog. Metrics leave the first
    `warm_up_s` of each run out, or what `warm_up: mser-5` finds in all runs together. `expect` says what metrics must
    be, such as `lag_s_p99 < 500 ms`.
    """

    name: str = Field(min_length=1)
    description: str = ""
    offered_load: Load = Field(alias="load")  # `load` is what reads a file
    services: Mapping[str, Service] = Field(min_length=1)
    dependencies: Mapping[str, Dependency] = Field(default_factory=dict)  # what services call and wait for
    callers: Callers | None = None  # processes that send the load as requests; without them, the load is events
    faults: tuple[Fault, ...] = ()
    drain_s: float = Field(default=30.0, gt=0, le=1e6)
    warm_up_s: float = Field(default=0.0, ge=0)
    warm_up: Literal["mser-5"] | None = None
    expect: tuple[str, ...] = ()

    @field_validator("expect")
    @classmethod
    def _expects_something(cls, expect: tuple[str, ...]) -> tuple[str, ...]:
        for text in expect:
            Expectation.parse(text)
        return expect

    @property
    def expectations(self) -> tuple[Expectation, ...]:
        """What its metrics must be."""
        return tuple(map(Expectation.parse, self.expect))

    @classmethod
    def load(cls, file: str | Path, *, sample_if_missing: bool = False) -> Self:
        """Read a scenario from a YAML file; with `sample_if_missing`, a missing trace is replaced by its sample.

        Raises:
            InvalidScenario: the file is missing, is no YAML, or declares something that cannot be run.
        """
        file = Path(file)
        try:
            return cls.model_validate(read(file), context=FilePlaces(file.parent, sample_if_missing))
        except ValidationError as error:
            raise InvalidScenario(str(file), *problems(error, cls.model_json_schema)) from error

    @property
    def declared_faults(self) -> tuple[Fault, ...]:
        """The faults as they are declared: a random plan itself, where `faults` has those that were drawn for it."""
        return self.faults.declared if isinstance(self.faults, DrawnFaults) else self.faults

    def declared(self) -> dict[str, Any]:
        """All that is declared, as a file would have it: what is drawn and found of it follows from it again."""
        return self.model_dump(by_alias=True) | {"faults": [fault.model_dump() for fault in self.declared_faults]}

    @cached_property
    def flow(self) -> Flow:
        """Which event reaches which service, how often."""
        return Flow.of(self.offered_load.events, self.services)

    def with_services(self, services: Mapping[str, Service]) -> Self:
        """The same experiment with these services.

        Raises:
            InvalidScenario: it cannot be run.
        """
        declared = {name: service.model_dump() for name, service in services.items()}
        try:
            return self.model_validate(self.declared() | {"services": declared})
        except ValidationError as error:
            raise InvalidScenario(self.name, *problems(error, self.model_json_schema)) from error

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that a run of it reads."""
        of_services = (file for service in self.services.values() for file in service.files)
        of_dependencies = (file for one in self.dependencies.values() for file in one.service_time.files)
        return (*self.offered_load.files, *of_services, *of_dependencies)

    def plan(self, seed: int, repeat: int = 0) -> Plan:
        """Draw everything random that one seed decides. `repeat` is that of a simulated run: see `Plan.draw`.

        Raises:
            InvalidTrace: the load's trace is missing or broken.
            InvalidScenario: it would have too many draws.
        """
        self.check_draws()
        system = (self.offered_load, self.services, self.dependencies, self.faults, self.callers)
        return Plan.draw(*system, self.flow, seed, repeat)

    def labels(self, service: str, seed: int, n: int) -> Labels:
        """The priorities and tenants of the first n messages of a service that is a task queue."""
        queue = self.services[service].queue
        assert queue is not None, f"{service} is no task queue"
        return draw_labels(queue, seed, list(self.services).index(service), n)

    @property
    def sample_every_s(self) -> float:
        """Seconds between two looks at the backlog: a long quiet run takes memory by its events, not by the clock."""
        length_s = self.offered_load.duration_s + self.drain_s
        return max(SAMPLE_EVERY_S, length_s / max(SAMPLES, self.offered_load.expected_events()))

    @property
    def _tries(self) -> int:
        """How many messages an event of the load may be: callers may send it again."""
        return self.callers.retry.attempts if self.callers is not None else 1

    def check_size(self, runs: int, *, events: float | None = None) -> None:
        """Refuse what would take more memory than a machine has. `events` is what the load sends, where that is known.

        Raises:
            InvalidScenario: so many runs of this scenario would have too many rows, or one plan too many draws.
        """
        load = self.offered_load
        self.check_draws()
        sent = (load.expected_events() if events is None else events) * self._tries
        samples = (load.duration_s + self.drain_s) / self.sample_every_s
        samples *= len(self.services) + 4 * len(self.dependencies)
        attempted = sum(
            # sent and published, then started, ended and settled in each attempt
            sent * self.flow.means[service.consumes] * (2 + 3 * _attempts_mean(service) * _acts(service))
            for service in self.services.values()
        )
        attempted += 3 * sent if self.callers else 0  # sent, published, and how the wait ended
        if (rows := runs * (samples + attempted)) > MAX_ROWS:
            what = " or ".join((*load.grows_with, "the number of runs"))
            raise InvalidScenario(
                self.name, f"about {rows:,.0f} rows would be recorded in {runs:,} runs, over {MAX_ROWS:,}; lower {what}"
            )

    @field_validator("faults")
    @classmethod
    def _expand(cls, faults: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        """The faults that happen. A random plan is drawn here, so that all that reads a scenario sees plain faults."""
        if not {"offered_load", "services"} <= info.data.keys():  # they are wrong, which is told
            return faults
        said = info.data
        parts = (said["offered_load"], said["services"], said.get("dependencies", {}), said.get("callers"))
        return drawn_faults(FaultySystem(*parts, faults))

    @model_validator(mode="after")
    def _runnable(self) -> Self:
        self._check_warm_up()
        self._check_names()
        if problem := callers_problem(self.callers, self.offered_load, self.services):
            raise ValueError(problem)
        self._check_own_handlers()
        self._check_dependencies()
        self._check_keys()
        for fault in self.faults:
            if problem := fault.problem(self):
                raise ValueError(f"faults: {problem}")
        if problem := _late_fault(self.faults, self.offered_load):
            raise ValueError(f"faults: {problem}")
        for name, service in self.services.items():
            self._check_attempts(name, service)
            if problem := service.service_time.problem(self.offered_load):
                raise ValueError(f"services.{name}.service_time: {problem}")
            if service.saga is not None and (problem := service.saga.problem(self.offered_load)):
                raise ValueError(f"services.{name}.saga.{problem}")
            if service.follows is not None and (problem := field_problem(service.follows, self.offered_load)):
                raise ValueError(f"services.{name}.follows: {problem.removeprefix('field: ')}")
            if problem := _size_problem(self.offered_load, service):
                raise ValueError(f"load.size_bytes: {name} {problem}")
            if service.queue is not None:
                _check_names_of_queue(name, service.queue, self.services)
        return self

    def _check_warm_up(self) -> None:
        if self.warm_up_s and self.warm_up is not None:
            raise ValueError("warm_up_s: MSER-5 finds the warm-up; leave warm_up_s or warm_up out")
        if self.warm_up_s:
            with suppress(InvalidTrace):  # the run refuses it
                if self.warm_up_s >= (end_s := self.offered_load.duration_s):
                    raise ValueError(f"warm_up_s: {self.warm_up_s:g} leaves nothing of {end_s:g} s of load; lower it")

    def _check_names(self) -> None:
        try:
            for name in self.services:
                valid_name(name, f"services.{name}")
            for event in self.flow.paths:
                valid_type(event, "event")
        except InvalidDeclaration as error:
            raise ValueError(str(error)) from error

    def _check_keys(self) -> None:
        ordered: dict[str, str] = {}
        for name, service in self.services.items():
            if service.ordered_by is None:
                continue
            if (first := ordered.setdefault(service.consumes, name)) != name:
                problem = f"{first} orders {service.consumes!r} already, and an event has one key; leave one out"
                raise ValueError(f"services.{name}.ordered_by: {problem}")
            if self.callers is not None:
                raise ValueError(f"services.{name}.ordered_by: requests have no keys yet; leave callers or it out")

    def _check_dependencies(self) -> None:
        for name, service in self.services.items():
            if unknown := [used for used in service.uses if used not in self.dependencies]:
                there = ", ".join(map(repr, self.dependencies)) or "none; declare it below dependencies"
                raise ValueError(f"services.{name}.uses: there is no dependency {unknown[0]!r}; there are {there}")
        for name, dependency in self.dependencies.items():
            if problem := dependency.service_time.problem(self.offered_load):
                raise ValueError(f"dependencies.{name}.service_time: {problem}")

    def _check_own_handlers(self) -> None:
        groups: dict[tuple[str, str], str] = {}
        for name, service in self.services.items():
            first = groups.setdefault((service.consumes, service.group or name), name)
            if first != name:
                problem = f"is the group of {first} already; two services share no group"
                raise ValueError(f"services.{name}.group: {service.group or name!r} {problem}")
            if service.consumes in self.flow.seen and (service.queue or service.saga):
                problem = "what own handlers publish reaches no task queue and no saga yet; leave it out"
                raise ValueError(f"services.{name}.consumes: {problem}")
        if self.callers and (own := next((name for name, one in self.services.items() if one.app), None)):
            raise ValueError(f"services.{own}: callers need declared services, no own handlers; leave one out")

    def check_draws(self) -> None:
        """Refuse what would have too many random numbers for a plan that is drawn as a whole.

        Raises:
            InvalidScenario: it would; every service whose plan is too large is named.
        """
        sent, problems = self.offered_load.expected_events() * self._tries, []
        *fields, last = self.offered_load.grows_with
        for name, service in self.services.items():
            draws = sent * self.flow.paths[service.consumes] * sum(retry.attempts for retry in _retries(service))
            if draws > MAX_DRAWS:
                problems.append(
                    f"services.{name}: {draws:,.0f} attempts would have to be planned, over {MAX_DRAWS:,}; "
                    f"lower the load's {', '.join(fields)}{' or ' if fields else ''}{last}, or retry.attempts"
                )
        if problems:
            raise InvalidScenario(self.name, *problems)

    def _check_attempts(self, name: str, service: Service) -> None:
        if max(retry.attempts for retry in (service.retry, *_retries(service))) > MAX_ATTEMPTS:
            raise ValueError(f"services.{name}.retry.attempts: at most {MAX_ATTEMPTS:,} can be recorded")


def _retries(service: Service) -> list[Retry]:
    return [*service.saga.retries(service.retry).values()] if service.saga else [service.retry]


def _size_problem(load: LoadKind, service: Service) -> str | None:
    """Why messages of the load cannot have a size where this service gets them, or None."""
    if load.size_bytes is None or service.consumes not in load.events:
        return None
    if service.app is not None:
        return "has handlers of an App, whose payload says how large an event is; leave size_bytes out"
    if service.queue is not None or service.saga is not None:
        return "gets tasks or sagas, which have no size yet; leave size_bytes out"
    return None


def _late_fault(faults: Sequence[FaultKind], load: Load) -> str | None:
    """Which fault comes after the load's end, where it would meet nothing. None where there is none."""
    if not faults:
        return None
    try:
        end_s = load.duration_s
    except InvalidTrace:  # the run refuses it
        return None
    for late in faults:
        if late.at_s > end_s:
            return f"{late.label} at {late.at_s:g} s, after the load's end at {end_s:g} s; lower at_s"
    return None


def _check_names_of_queue(name: str, queue: TaskQueue, services: Collection[str]) -> None:
    where = f"services.{name}.queue.tenants"
    try:
        valid_type(name, f"services.{name}, whose tasks have its name")
        for tenant in queue.tenants:
            valid_name(tenant, where)
    except InvalidDeclaration as error:
        raise ValueError(str(error)) from error
    if shared := next((tenant for tenant in queue.tenants if tenant in services), None):
        raise ValueError(f"{where}: {shared!r} is the name of a service, so its numbers would be too; rename it")


def _attempts_mean(service: Service) -> float:
    """Attempts that a message takes on average, if each fails with the service's own rate."""
    rate, most = service.error_rate, service.retry.attempts
    return float(most) if rate == 1 else (1 - rate**most) / (1 - rate)


def _acts(service: Service) -> int:
    """How many things are done to a message at most: handled once, or each step of a saga done and undone."""
    return 1 if service.saga is None else 2 * len(service.saga.steps)
