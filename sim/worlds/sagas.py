"""Sagas of a live run: how they are declared in each process, started, worked on, and how each has ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pydantic import BaseModel

from eventlib import NOTHING_TO_UNDO, App, Bus, Reject, Saga, SagaContext, Step
from eventlib.saga_policy import Act, SagaStatus
from eventlib.sagas.messages import GROUP, saga_stream
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.evidence.history import Left
from sim.evidence.sagas import ENDS
from sim.worlds.messages import Mark, Numbered
from sim.worlds.recorder import Recorder

_PAGE = 1000  # sagas that are listed at once


class SagaInput(BaseModel):
    """What a saga is started with: its number in the plan, and when the load meant to start it."""

    index: int
    intended_s: float


Context = SagaContext[SagaInput]
RunAct = Callable[[int, Act, Context], Awaitable[None]]  # called with the number of the step and what to do to it


async def _run_elsewhere(at: int, act: Act, saga: Context) -> None:
    """What a step does in a process that only starts sagas."""
    raise Reject("no worker of this saga runs here")


def declare_saga(app: App, name: str, service: Service, run: RunAct = _run_elsewhere) -> Saga[SagaInput]:
    """Declare the sagas of a service under its name, with its steps."""
    assert service.saga is not None
    retries = service.saga.retries(service.retry)
    steps = []
    for at, step in enumerate(service.saga.steps):
        undo: Any = _act(run, at, "undo") if step.undo else NOTHING_TO_UNDO if step.nothing_to_undo else None
        undo_retry = {"undo_retry": step.undo.retry} if step.undo else {}
        more: dict[str, Any] = {"retry": retries[at, "do"], "unknown": step.unknown} | undo_retry
        steps.append(Step(_act(run, at, "do"), undo=undo, name=step.name, **more))
    return app.saga(name, *steps, input=SagaInput, concurrency=service.concurrency, lease_s=service.lease_s)


def _act(run: RunAct, at: int, act: Act) -> Callable[[Context], Awaitable[None]]:
    async def act_(saga: Context) -> None:
        await run(at, act, saga)

    return act_


def runs_acts(scenario: Scenario, seed: int, name: str, recorder: Recorder, now_s: Callable[[], float]) -> RunAct:
    """What the workers of a service do: each act takes its time and comes out as the plan says, and is noted."""
    plan, event = scenario.plan(seed), scenario.services[name].consumes
    seconds = {key: of_act.tolist() for key, of_act in plan.sagas[name].seconds.items()}

    async def run(at: int, act: Act, saga: Context) -> None:
        index, attempt, word = saga.input.index, saga.attempt, "step" if act == "do" else "undo"
        message = Mark(index, saga.input.intended_s)
        recorder.add(f"{word}_started", event, message, attempt, at)
        begun_s = now_s()
        outcome = plan.outcome(name, at, act, index, attempt, begun_s)
        await asyncio.sleep(seconds[at, act][index] * plan.slowed(name, begun_s))
        recorder.add(f"{word}_{'done' if outcome == 'done' else 'failed'}", event, message, attempt, at)
        if outcome == "rejected":
            raise Reject("the scenario rejects it")
        if outcome == "failed":
            raise RuntimeError("the scenario lets this attempt fail")

    return run


class Starter:
    """Starts the messages of one service that runs sagas. The key of each is its number, so no two starts make two."""

    def __init__(self, bus: Bus, saga: Saga[SagaInput]) -> None:
        self._bus = bus
        self._saga = saga

    async def enqueue(self, messages: Sequence[Numbered]) -> None:
        """Start a saga for each message."""
        starts = [SagaInput(index=one.index, intended_s=one.intended_s) for one in messages]
        await asyncio.gather(*(self._bus.start(self._saga, one, key=str(one.index)) for one in starts))


async def left_of(bus: Bus, name: str) -> Left:
    """What the workers of a service's sagas have left to do. Sagas that are parked are not counted."""
    seen = await bus.backlog(saga_stream(name), GROUP)
    return Left(seen.waiting, seen.pending, seen.retrying, seen.delayed, 0)


async def ends_of(bus: Bus, name: str) -> list[tuple[float, SagaStatus, int, float]]:
    """How each saga of a service has ended, as Redis has it: monotonic seconds, status, number and intended time."""
    to_monotonic = time.monotonic() - time.time()
    ends = []
    for status in ENDS:
        first = 0
        while records := await bus.sagas(name).list(status=status, count=_PAGE, first=first):
            first += _PAGE
            ends += [
                (one.updated_at_s + to_monotonic, status, one.input["index"], one.input["intended_s"])
                for one in records
            ]
    return ends
