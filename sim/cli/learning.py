"""How a command comes to know what own handlers do: from a file, or from a short run of them."""

import asyncio
from pathlib import Path

from eventlib.cli.console import writable
from eventlib.cli.terminal import err
from sim.declare.scenario import Scenario
from sim.infer.learned_file import open_learned, save_learned
from sim.infer.own_services import learn_services
from sim.show.console import progress
from sim.worlds.live import check_apps


def learned_target(file: Path | None) -> Path | None:
    """The file, if it is to be written: there is none yet."""
    return writable(file) if file is not None and not file.exists() else None


def with_own_handlers(scenario: Scenario, file: Path | None, url: str) -> Scenario:
    """The scenario with what its own handlers were seen to do.

    Raises:
        SimError, EventlibError: as `open_learned`, `LearnedFile.check_machine`, `check_apps` and `learn_services` do.
    """
    if all(service.learned for service in scenario.services.values()):
        return scenario
    if file is not None and file.exists():
        known = open_learned(scenario, file)
        known.check_machine()
        asyncio.run(check_apps(known.scenario))
        return known.scenario
    with progress("learning own handlers") as advance:
        learned = asyncio.run(learn_services(scenario, url=url, progress=advance))
    if file is not None:
        save_learned(learned, file)
    return learned


def learned_from(scenario: Scenario, file: Path) -> Scenario:
    """The scenario with what a file says of its own handlers. It is told what is not checked: no handler runs.

    Raises:
        InvalidScenario: as `open_learned` does.
    """
    known = open_learned(scenario, file)
    if any(service.app for service in known.scenario.services.values()):
        others = known.other_machine()
        there = f"on another machine ({others})" if others else "on this machine"
        learned = f"learned {there}, {known.date}"
        err.tell(f"Note: own handlers are simulated as they were {learned}. Their code is not looked at.")
    return known.scenario
