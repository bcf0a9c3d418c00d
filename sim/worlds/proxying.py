"""The proxy of a live run whose network fails: a process of its own, between all others and the server."""

import asyncio

from eventlib.testing import FaultProxy, fault_proxy
from sim.declare.faults.worlds import Network
from sim.worlds.recorder import Recorder
from sim.worlds.worker import Job, Orders, Tell, stopped


async def stand_between(job: Job, recorder: Recorder, orders: Orders, tell: Tell) -> None:
    """Pass on what processes and server say to one another, and fail as ordered, until the order to stop.

    The owner of the run cannot note when the network fails: on a busy machine its order comes later than it is given.
    """
    async with fault_proxy(job.url, job.listens) as proxy:
        failing = asyncio.create_task(_fail_as_ordered(proxy, recorder, orders))
        tell("ready")
        await stopped(orders, recorder)
        failing.cancel()


async def _fail_as_ordered(proxy: FaultProxy, recorder: Recorder, orders: Orders) -> None:
    while True:
        order = await orders.network.get()
        network = Network(**order["network"])
        breaks = network.cut or network.away or (proxy.swallowing and not network.loses_replies)
        proxy.refusing = network.away
        proxy.swallowing = network.loses_replies
        proxy.delay_s = network.delay_s
        proxy.bytes_per_s = network.bytes_per_s
        proxy.holding = network.silent
        if breaks:
            proxy.cut()
        if order["noted"]:
            recorder.note(order["noted"])
