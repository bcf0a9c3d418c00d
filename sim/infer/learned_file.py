"""What own handlers were seen to do, kept in a file: JSON, by service."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eventlib.system_errors import with_mend
from eventlib.whole_files import write_whole
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.environment import machine, now
from sim.errors import InvalidScenario
from sim.reading import UNREADABLE, in_words, read_json

_FORMAT = 1
# What is found, not declared. The rest of a service may change, and what was learned still holds.
_FOUND = (
    "concurrency", "prefetch", "lease_s", "retry", "retry_budget", "circuit_breaker", "batch", "service_time",
    "error_rate", "wire", "own",
)  # fmt: skip
_SAME = ("app", "group", "consumes", "follows")
_OF_THE_MACHINE = ("processor", "CPUs")  # on another one, the same code takes another time


@dataclass(frozen=True, slots=True)
class LearnedFile:
    """What a file says of own handlers: their scenario with it, when it was learned, and on which machine."""

    file: Path
    scenario: Scenario
    date: str
    machine: Mapping[str, str]

    def other_machine(self) -> str:
        """How the machine on which the handlers were learned differs from this one; empty if it does not."""
        here = machine()
        others = [name for name in _OF_THE_MACHINE if self.machine.get(name) != here[name]]
        return "; ".join(f"{name} {self.machine.get(name, 'unknown')}, here {here[name]}" for name in others)

    def check_machine(self) -> None:
        """See that the handlers were learned on this machine.

        Raises:
            InvalidScenario: it was another one.
        """
        if others := self.other_machine():
            problem = f"was learned on another machine ({others}); delete it or name another file, and learn here"
            raise InvalidScenario(str(self.file), problem)


def save_learned(scenario: Scenario, file: Path) -> None:
    """Write what is known of a scenario's own handlers.

    Raises:
        InvalidScenario: the file could not be written.
    """
    services = {
        name: service.model_dump(mode="json", include={*_FOUND, *_SAME})
        for name, service in scenario.services.items()
        if service.own is not None or service.wire is not None
    }
    try:
        about = {"format": _FORMAT, "scenario": scenario.name, "date": now(), "machine": machine()}
        write_whole(file, json.dumps(about | {"services": services}, indent=2) + "\n")
    except OSError as error:
        raise InvalidScenario(str(file), f"cannot be written: {with_mend(error)}") from error


def open_learned(scenario: Scenario, file: Path) -> LearnedFile:
    """What `save_learned` wrote, for the handlers of a scenario.

    Raises:
        InvalidScenario: there is no such file, or it holds something else, or what it holds is of other handlers.
    """
    mend = "delete it and learn again: workbench compare SCENARIO --learned FILE"
    try:
        said = read_json(file)
        if said["format"] != _FORMAT:
            raise InvalidScenario(str(file), f"has format {said['format']!r}, not {_FORMAT}; {mend}")
        services = dict(scenario.services)
        for name, service in scenario.services.items():
            found = said["services"].get(name)
            if service.app is not None and (
                not found or any(dict(found).get(one) != getattr(service, one) for one in _SAME)
            ):
                raise InvalidScenario(str(file), f"knows nothing of the handlers of {name}; {mend}")
            services[name] = _with(service, found or {})
        there = said.get("machine")
        return LearnedFile(
            file,
            scenario.with_services(services),
            str(said.get("date", "on an unknown date")),
            there if isinstance(there, dict) else {},
        )
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error}); `workbench compare SCENARIO --learned FILE` writes it"
        raise InvalidScenario(str(file), problem) from error
    except UNREADABLE as error:
        raise InvalidScenario(str(file), f"holds nothing that was learned ({in_words(error)}); {mend}") from error


def learned_as(scenario: Scenario, other: Scenario) -> Scenario:
    """The scenario with what is known of the same handlers in another one."""
    services = {
        name: _with(service, other.services[name].model_dump(mode="json", include={*_FOUND}))
        if name in other.services and all(getattr(service, one) == getattr(other.services[name], one) for one in _SAME)
        else service
        for name, service in scenario.services.items()
    }
    return scenario.with_services(services)


def _with(service: Service, found: Mapping[str, object]) -> Service:
    fields = _FOUND if service.app is not None else ("wire",)  # of declared services, how their events travel
    return Service.model_validate(service.model_dump() | {field: found[field] for field in fields if field in found})
