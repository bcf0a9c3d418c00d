"""Live runs to look at from outside: their processes, their keys, and how to break one off."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import psutil
import pytest
import redis.asyncio as redis

from sim.declare.scenario import Scenario
from sim.evidence.checks import check
from sim.evidence.history import History
from sim.worlds.live import run_live
from sim.worlds.process_pool import PoolProcess, ProcessPool
from sim.worlds.simulated import simulate
from tests.model.small import scenario, service, steady

T = TypeVar("T")

OF_THE_MACHINE = {"generator_on_time"}  # says whether the machine had time for the load, nothing about the library


def endless() -> Scenario:
    """A run to be broken off. A process of it that were left would write to the server within milliseconds."""
    return scenario(steady(500.0, 40.0), desk=service(0.001, consumers=2))


def descendants() -> set[psutil.Process]:
    """The processes that this one has started, and those that they have started."""
    return set(psutil.Process().children(recursive=True))


def fork_servers() -> list[psutil.Process]:
    """Those of the runs that are under way. The processes that they forked look alike, but are no children of ours."""
    alive = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
    return [one for one in alive if "start_fork_server.py" in " ".join(one.cmdline())]


def fork_server() -> psutil.Process:
    """The only one."""
    (found,) = fork_servers()
    return found


def problems(history: History) -> dict[str, str]:
    """The checks that are not true, with what they found; but for what is the machine's."""
    return {one.name: one.detail for one in check(history) if one.verdict != "true" and one.name not in OF_THE_MACHINE}


async def both_worlds(declared: Scenario, url: str) -> tuple[History, History]:
    """A run of seed 0, live and simulated. No check fails in either, and the live one leaves no process and no key."""
    with no_process_left():
        live = await run_live(declared, [0], repeats=1, url=url)
    assert await keys_of_runs(url) == set()
    simulated = simulate(declared, [0])
    for history in (live, simulated):
        assert problems(history) == {}, history.world
    return live, simulated


async def keys_of_runs(url: str) -> set[bytes]:
    async with redis.Redis.from_url(url) as client:
        return {key async for key in client.scan_iter(match="wb-*")}


@contextmanager
def no_process_left() -> Iterator[None]:
    """All processes started inside are gone soon after."""
    before = descendants()
    yield
    _, alive = psutil.wait_procs(descendants() - before, timeout=30)
    assert not alive


@asynccontextmanager
async def under_way(url: str, declared: Scenario | None = None) -> AsyncIterator["asyncio.Task[History]"]:
    """A run, by default an endless one, once its load is being sent; ended with the block."""
    begun = asyncio.Event()

    def progress(share: float) -> None:
        if share > 0.005:  # a fifth of a second of the load
            begun.set()

    run = asyncio.create_task(run_live(declared or endless(), [0], repeats=1, url=url, progress=progress))
    try:
        done = asyncio.create_task(begun.wait())
        await asyncio.wait({done, run}, return_when=asyncio.FIRST_COMPLETED)
        assert begun.is_set(), run.result()
        yield run
    finally:
        run.cancel()
        await asyncio.wait({run}, timeout=30.0)


def delay_orders(monkeypatch: pytest.MonkeyPatch, kind: str, by_s: float) -> None:
    """Let processes get orders of one kind so much later than they are given, as on a busy machine."""
    order_now = ProcessPool.order

    def order(pool: ProcessPool, process: PoolProcess, order: Mapping[str, Any]) -> None:
        asyncio.get_running_loop().call_later(by_s if kind in order else 0.0, order_now, pool, process, order)

    monkeypatch.setattr(ProcessPool, "order", order)


async def in_time(run: Awaitable[T], limit_s: float = 40.0) -> T:
    """Await what must not hang."""
    task = asyncio.ensure_future(run)
    done, _ = await asyncio.wait({task}, timeout=limit_s)  # not asyncio.timeout: what hangs may not heed it
    if not done:
        task.cancel()
        await asyncio.wait({task}, timeout=limit_s)
    assert done, f"still running after {limit_s:.0f} s"
    return await task
