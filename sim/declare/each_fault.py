"""Every kind of fault once: a scenario that meets each of them, one at a time."""

from typing import Any

import numpy as np

from sim.declare.scenario import Scenario
from sim.declare.varying import with_fields
from sim.errors import InvalidScenario

LOSES = ("server loses its data",)  # of these, what was acknowledged may be lost


def with_each_fault(scenario: Scenario, service: str, *, at_s: float, for_s: float) -> dict[str, Scenario]:
    """The scenario with each kind of fault alone, by a name in words; "none" is the scenario without any.

    A fault begins at `at_s` and lasts `for_s` seconds, as far as it lasts at all. A killed consumer of `service` is
    back after that time, one that dies of a message after a fifth of it. Its deadly messages are the two of seed 0 that
    arrive after a half of `for_s` and at its end.

    Raises:
        InvalidScenario: there is no such service, the load ends before the fault, or a fault cannot happen to it.
    """
    if service not in scenario.services:
        raise InvalidScenario("service", f"there is none named {service!r}; name one of {', '.join(scenario.services)}")
    arrivals_s = scenario.plan(0).arrivals_s
    deadly = [int(number) for number in np.searchsorted(arrivals_s, (at_s + for_s / 2, at_s + for_s))]
    if deadly[-1] >= arrivals_s.size:
        raise InvalidScenario("at_s", f"the load has ended by then ({at_s + for_s:g} s); let the fault begin earlier")
    declared = (
        _of_the_service(service, at_s, for_s, deadly) | _of_the_server(at_s, for_s) | _of_the_network(at_s, for_s)
    )
    for name in scenario.services[service].uses[:1]:
        declared["dependency out"] = {"kind": "dependency_out", "dependency": name, "at_s": at_s, "for_s": for_s}
    each: dict[str, list[dict[str, Any]]] = {"none": []} | {name: [fault] for name, fault in declared.items()}
    return {
        name: with_fields(scenario, {"name": f"{scenario.name}: {name}", "faults": faults})
        for name, faults in each.items()
    }


def _of_the_service(service: str, at_s: float, for_s: float, deadly: list[int]) -> dict[str, dict[str, Any]]:
    begins = {"service": service, "at_s": at_s}
    lasts, returns = begins | {"for_s": for_s}, begins | {"back_after_s": for_s}
    deaths = {"messages": deadly, "how": "kill", "back_after_s": for_s / 5}
    return {
        "kill": returns | {"kind": "kill"},
        "pause": lasts | {"kind": "pause"},
        "errors": lasts | {"kind": "errors", "error_rate": 0.5},
        "outage": returns | {"kind": "outage"},
        "outage, paused": returns | {"kind": "outage", "how": "pause"},
        "slow": lasts | {"kind": "slow", "factor": 4.0},
        "poison": lasts | {"kind": "poison", "share": 0.05},
        "poison that kills": begins | deaths | {"kind": "poison"},
    }


def _of_the_server(at_s: float, for_s: float) -> dict[str, dict[str, Any]]:
    lasts, returns = {"at_s": at_s, "for_s": for_s}, {"at_s": at_s, "back_after_s": for_s}
    return {
        "server away": lasts | {"kind": "server_away"},
        "server restarts": returns | {"kind": "server_restart"},
        "server loses its data": returns | {"kind": "server_restart", "with_data": False},
        "server full": lasts | {"kind": "server_full"},
    }


def _of_the_network(at_s: float, for_s: float) -> dict[str, dict[str, Any]]:
    lasts = {"at_s": at_s, "for_s": for_s}
    return {
        "connections reset": {"kind": "reset", "at_s": at_s},
        "black hole": lasts | {"kind": "black_hole"},
        "latency": lasts | {"kind": "latency", "added_s": 0.05},
        "bandwidth": lasts | {"kind": "bandwidth", "bytes_per_s": 30_000},
        "lost replies": lasts | {"kind": "lost_replies"},
    }
