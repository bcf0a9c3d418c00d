"""How a command comes to know what own handlers do: from a file, or from a short run of them."""

import asyncio
from pathlib import Path

from eventlib.cli.console import writable
from sim.declare.scenario import Scenario
from sim.infer.learned_file import open_learned, save_learned
from sim.infer.own_services import learn_services
from sim.show.console import progress


def learned_target(file: Path | None) -> Path | None:
    """The file, if it is to be written: there is none yet."""
    return writable(file) if file is not None and not file.exists() else None


def with_own_handlers(scenario: Scenario, file: Path | None, url: str) -> Scenario:
    """The scenario with what its own handlers were seen to do.

    Raises:
        SimError, EventlibError: as `open_learned` and `learn_services` do.
    """
    if all(service.learned for service in scenario.services.values()):
        return scenario
    if file is not None and file.exists():
        return open_learned(scenario, file)
    with progress("learning own handlers") as advance:
        learned = asyncio.run(learn_services(scenario, url=url, progress=advance))
    if file is not None:
        save_learned(learned, file)
    return learned
