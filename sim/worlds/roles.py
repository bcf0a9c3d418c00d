"""The roles that a process of a live run may have."""

import asyncio

from sim.declare.scenario import Scenario
from sim.worlds.calling import call
from sim.worlds.recorder import Recorder
from sim.worlds.worker import Job, Orders, Tell, consume, generate

_ROLES = {"consumer": consume, "generator": generate, "caller": call}


async def work(job: Job, orders: Orders, tell: Tell) -> None:
    """Do the job until the order to stop comes."""
    scenario = Scenario.model_validate_json(job.scenario)
    recorder = Recorder(job.records, scenario, job.service, job.consumer)
    noting = asyncio.create_task(_note_cpu_at_go(recorder, orders))
    await _ROLES[job.role](job, scenario, recorder, orders, tell)
    noting.cancel()
    recorder.note_cpu()
    recorder.check()


async def _note_cpu_at_go(recorder: Recorder, orders: Orders) -> None:
    await orders.go.wait()
    recorder.note_cpu()
