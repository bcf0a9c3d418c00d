"""Sagas: how many steps a second one process does. The outcome of each is stored before the next begins."""

import asyncio
import time
from collections import Counter

from pydantic import BaseModel

from benchmarks.evidence import NotDone
from benchmarks.library import connected
from eventlib import NOTHING_TO_UNDO, App, SagaContext, Step

STEPS = 5
_CONCURRENCY = 64
_STILL_S = 60.0


class Order(BaseModel):
    number: int


async def steps(url: str, namespace: str, count: int) -> float:
    """Steps done a second, of sagas that were all started before. Each step is a no-op with a result.

    Raises:
        NotDone: a saga is not completed, or a step ran twice.
    """
    app, ran, all_ran = App("bench"), Counter[str](), asyncio.Event()
    sagas = count // STEPS

    async def act(saga: SagaContext[Order]) -> int:
        ran[saga.idempotency_key] += 1
        if len(ran) == sagas * STEPS:
            all_ran.set()
        return saga.input.number

    declared = app.saga(
        "bench",
        *(Step(act, undo=NOTHING_TO_UNDO, name=f"step-{number}") for number in range(STEPS)),
        input=Order,
        concurrency=_CONCURRENCY,
    )
    async with connected(app, url, namespace) as bus:
        ids = await asyncio.gather(*(bus.start(declared, Order(number=number)) for number in range(sagas)))
        start = time.perf_counter()
        async with bus.running():
            async with asyncio.timeout(_STILL_S):
                await all_ran.wait()
                took_s = time.perf_counter() - start
                for saga_id in ids:
                    await bus.sagas(declared).wait(saga_id, timeout_s=_STILL_S)
        records = [await bus.sagas(declared).get(saga_id) for saga_id in ids]
        if set(ran.values()) != {1} or {record.status for record in records} != {"completed"}:
            raise NotDone(f"{Counter(record.status for record in records)}, most runs of a step: {max(ran.values())}")
        return sagas * STEPS / took_s
