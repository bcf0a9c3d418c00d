"""A Scenario declares one experiment: a load, the services that work it off, and the faults injected into them."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from eventlib.errors import InvalidDeclaration
from eventlib.events.schema import valid_name, valid_type
from sim.declare.declared import Declared, FilePlaces
from sim.declare.faults import Fault
from sim.declare.loads import Load
from sim.declare.plan import Flow, Plan
from sim.declare.scenario_file import problems, read
from sim.declare.service import Service
from sim.errors import InvalidScenario

Progress = Callable[[float], None]  # told what share of the work is done, from 0 to 1

MAX_ATTEMPTS = 10_000
MAX_DRAWS = 100_000_000  # random numbers that one service's plan may hold: 0.8 GB


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
            return cls.model_validate(read(file), context=FilePlaces(file.parent, sample_if_missing))
        except ValidationError as error:
            raise InvalidScenario(str(file), *problems(error, cls.model_json_schema())) from error

    @cached_property
    def flow(self) -> Flow:
        """Which event reaches which service, how often."""
        return Flow.of(self.offered_load.event, self.services)

    def plan(self, seed: int) -> Plan:
        """Draw everything random that one seed decides.

        Raises:
            InvalidTrace: the load's trace is missing or broken.
        """
        return Plan.draw(self.offered_load, self.services, self.faults, self.flow, seed)

    @model_validator(mode="after")
    def _runnable(self) -> Self:
        self._check_names()
        for fault in self.faults:
            if problem := fault.problem(self):
                raise ValueError(f"faults: {problem}")
        for name, service in self.services.items():
            self._check_size(name, service)
            if problem := service.service_time.problem(self.offered_load):
                raise ValueError(f"services.{name}.service_time: {problem}")
        return self

    def _check_names(self) -> None:
        try:
            for name in self.services:
                valid_name(name, f"services.{name}")
            for event in self.flow.paths:
                valid_type(event, "event")
        except InvalidDeclaration as error:
            raise ValueError(str(error)) from error

    def _check_size(self, name: str, service: Service) -> None:
        load = self.offered_load
        draws = load.expected_events() * self.flow.paths[service.consumes] * service.retry.attempts
        if draws > MAX_DRAWS:
            *fields, last = load.grows_with
            raise ValueError(
                f"services.{name}: {draws:,.0f} attempts would have to be planned, over {MAX_DRAWS:,}; "
                f"lower the load's {', '.join(fields)}{' or ' if fields else ''}{last}, or retry.attempts"
            )
        if service.retry.attempts > MAX_ATTEMPTS:
            raise ValueError(f"services.{name}.retry.attempts: at most {MAX_ATTEMPTS:,} can be recorded")
