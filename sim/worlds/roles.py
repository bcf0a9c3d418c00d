"""The roles that a process of a live run may have."""

import asyncio

from sim.declare.scenario import Scenario
from sim.worlds.calling import call
from sim.worlds.describing import describe
from sim.worlds.own_handlers import consume_own
from sim.worlds.proxying import stand_between
from sim.worlds.recorder import Recorder
from sim.worlds.serving import serve_calls
from sim.worlds.worker import Job, Orders, Tell, consume, generate

_ROLES = {"consumer": consume, "generator": generate, "caller": call}


async def work(job: Job, orders: Orders, tell: Tell) -> None:
    """Do the job until the order to stop comes."""
    scenario = Scenario.model_validate_json(job.scenario)
    if job.role == "describer":
        describe(job, scenario)
        tell("ready")
        return
    if job.role in ("proxy", "dependency"):
        recorder = Recorder(job.records, scenario, "", job.consumer)
        if job.role == "proxy":
            await stand_between(job, recorder, orders, tell)
        else:
            await serve_calls(job, scenario, recorder, orders, tell)
        recorder.check()
        return
    recorder = Recorder(job.records, scenario, job.service, job.consumer)
    own = job.role == "consumer" and scenario.services[job.service].app is not None
    noting = asyncio.create_task(_note_cpu_at_go(recorder, orders))
    await (consume_own if own else _ROLES[job.role])(job, scenario, recorder, orders, tell)
    noting.cancel()
    recorder.note_cpu()
    recorder.check()


async def _note_cpu_at_go(recorder: Recorder, orders: Orders) -> None:
    await orders.go.wait()
    recorder.note_cpu()
