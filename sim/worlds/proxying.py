"""The proxy of a live run whose network fails: a process of its own, between all others and the server."""

import asyncio

from eventlib.testing import FaultProxy, fault_proxy
from sim.declare.faults.worlds import Network
from sim.worlds.worker import Job, Orders, Tell


async def stand_between(job: Job, orders: Orders, tell: Tell) -> None:
    """Pass on what processes and server say to one another, and fail as ordered, until the order to stop."""
    async with fault_proxy(job.url, job.listens) as proxy:
        failing = asyncio.create_task(_fail_as_ordered(proxy, orders))
        tell("ready")
        await orders.stop.wait()
        failing.cancel()


async def _fail_as_ordered(proxy: FaultProxy, orders: Orders) -> None:
    while True:
        network = Network(**await orders.network.get())
        breaks = network.cut or network.away or (proxy.swallowing and not network.loses_replies)
        proxy.refusing = network.away
        proxy.swallowing = network.loses_replies
        proxy.delay_s = network.delay_s
        proxy.bytes_per_s = network.bytes_per_s
        proxy.holding = network.silent
        if breaks:
            proxy.cut()
