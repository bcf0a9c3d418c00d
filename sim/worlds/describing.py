"""What an App declares, as a process that has imported it describes it; and what becomes of a scenario by that.

The process is one of its own. So an App that prints, hangs or ends its process does this to no run.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from eventlib.declare.subscriptions import Subscription
from eventlib.events.identity import digest_of
from sim.declare.own_handlers import OwnHandlers, WireNames
from sim.declare.payload_fields import draw_fields
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.errors import InvalidScenario, LiveRunFailed, SimError
from sim.worlds.importing import app_of, known_events, subscription_of
from sim.worlds.payloads import payload_of
from sim.worlds.process_pool import PoolProcess, ProcessPool
from sim.worlds.worker import Job

IMPORT_S = 20.0  # longest time that importing an App may take
_SETTINGS = ("concurrency", "prefetch", "lease_s", "retry", "retry_budget", "circuit_breaker", "batch")


def describe(job: Job, scenario: Scenario) -> None:
    """Write what the App of a service declares, or what is wrong with it, as JSON."""
    try:
        found = _description(job, scenario)
    except SimError as error:
        found = {"where": error.where, "problem": error.problem}
    Path(job.records).write_text(json.dumps(found))


def _description(job: Job, scenario: Scenario) -> dict[str, Any]:
    name, service = job.service, scenario.services[job.service]
    app, import_s = app_of(name, service)
    subscription = subscription_of(name, service, app, scenario.flow.paths)
    load = scenario.offered_load
    said = draw_fields(load.fields, 1, np.random.SeedSequence(job.seed))
    if service.consumes in load.events and (payload := payload_of(scenario, service.consumes, job.seed, said)):
        payload(0)  # what is wrong with all of them is wrong with the first one
    settings = app.settings(service.group or name)
    budget, breaker = settings.retry_budget, settings.circuit_breaker
    spec = subscription.event_class.event_spec
    wires = known_events() | ({spec.type: spec} if spec else {})
    return {
        "concurrency": settings.concurrency,
        "prefetch": settings.prefetch,
        "lease_s": settings.lease.duration_s,
        "retry": subscription.retry.model_dump(),
        "retry_budget": budget.model_dump() if budget else None,
        "circuit_breaker": breaker.model_dump() if breaker else None,
        "batch": _batch(subscription, service),
        "own": {"digest": digest_of(subscription.handler), "import_s": import_s},
        "wires": {
            event: [wires[event].version, wires[event].stream] for event in scenario.flow.paths if event in wires
        },
    }


def _batch(subscription: Subscription, service: Service) -> dict[str, Any] | None:
    """What the App says of batches, with what was learned of them."""
    if subscription.batch is None:
        return None
    said = {"size": subscription.batch, "wait_s": subscription.batch_wait_s}
    return said | ({"per_message_s": service.batch.per_message_s} if service.batch is not None else {})


async def described(scenario: Scenario, pool: ProcessPool, directory: Path) -> Scenario:
    """The scenario with what its Apps declare.

    Raises:
        InvalidScenario: an App cannot be used, or is another one than was learned.
        LiveRunFailed: the processes could not be started.
    """
    names = [name for name, service in scenario.services.items() if service.app is not None]
    if not names:
        return scenario
    found = await asyncio.gather(*(_ask(scenario, name, pool, directory / f"{name}.json") for name in names))
    services = dict(scenario.services)
    wires: dict[str, tuple[WireNames, str]] = {}
    for name, description in zip(names, found, strict=True):
        _note_wires(wires, scenario, name, description)
        services[name] = _with_settings(name, services[name], description)
    for name, service in services.items():
        if service.consumes in scenario.flow.seen or any(
            scenario.services[one].consumes == service.consumes for one in names
        ):
            if service.consumes not in wires:
                problem = f"no App has an event class of the type {service.consumes!r}; import one where the App is"
                raise InvalidScenario(f"services.{name}.consumes", problem)
            services[name] = service.model_copy(update={"wire": wires[service.consumes][0]})
    return scenario.with_services(services)


def _note_wires(
    wires: dict[str, tuple[WireNames, str]], scenario: Scenario, name: str, description: Mapping[str, Any]
) -> None:
    for event, (version, stream) in description["wires"].items():
        first, of = wires.setdefault(event, (WireNames(version=version, stream=stream), name))
        if first.stream != stream:
            problem = f"{event!r} travels by the stream {stream!r} here and by {first.stream!r} at {of}; use one stream"
            raise InvalidScenario(f"services.{name}.app", problem)


def _with_settings(name: str, service: Service, description: Mapping[str, Any]) -> Service:
    """The service as the App sets it."""
    own = OwnHandlers.model_validate(description["own"])
    given = {field: description[field] for field in _SETTINGS}
    found = Service.model_validate(service.model_dump() | given | {"own": own.model_dump()})
    if found.batch is not None and found.follows is not None:
        raise InvalidScenario(f"services.{name}.follows", "batch handlers follow no field yet; leave it out")
    if service.own is None or service.own.learned is None:
        return found
    changed = [field for field in _SETTINGS if getattr(found, field) != getattr(service, field)]
    changed += ["its code"] if own.digest != service.own.digest else []
    if changed:
        problem = f"{service.app} has changed since it was learned ({', '.join(changed)}); learn it again"
        raise InvalidScenario(f"services.{name}", f"{problem}: delete the file that --learned names")
    return service


async def _ask(scenario: Scenario, name: str, pool: ProcessPool, file: Path) -> dict[str, Any]:
    """What a process that imports the App of a service says."""
    job = Job("describer", scenario.model_dump_json(by_alias=True), 0, "", "", str(file), name)
    process = pool.start(f"{name} (import)", asdict(job))
    process.expected_to_end = True
    where, app = f"services.{name}.app", scenario.services[name].app
    await process.started.wait()  # what the fork server itself imports does not count
    try:
        async with asyncio.timeout(IMPORT_S):
            await _first(process)
    except TimeoutError:
        await pool.kill(process.name)
        raise InvalidScenario(where, f"importing {app} takes over {IMPORT_S:g} s; let it only declare") from None
    if process.failure is not None:
        raise LiveRunFailed(where, f"{app} could not be described: {process.failure}")
    if not process.ready.is_set():
        raise InvalidScenario(where, f"importing {app} ended its process; let it only declare")
    return _read(file)


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    if "problem" in found:
        raise InvalidScenario(found["where"], found["problem"])
    return found


async def _first(process: PoolProcess) -> None:
    waits = {asyncio.create_task(event.wait()) for event in (process.ready, process.ended)}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
