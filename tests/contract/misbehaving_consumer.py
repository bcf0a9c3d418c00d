"""A consumer process whose handler ends, kills or interrupts its own process.

usage: python -m tests.contract.misbehaving_consumer URL NAMESPACE DEED     DEED: see DEEDS
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import eventlib as ev
from tests.shop import OrderPlaced

LEASE_S = 1.0  # a loaded machine may stand still for a shorter one, and its own sweep would count a delivery


def interrupt() -> None:
    raise KeyboardInterrupt


DEEDS: dict[str, Callable[[], None]] = {
    "exit": lambda: os._exit(7),
    "abort": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "signal": lambda: os.kill(os.getpid(), signal.SIGINT),
    "interrupt": interrupt,
}


async def main(url: str, namespace: str, deed: str) -> None:
    app = ev.App("misbehaving_consumer")
    app.group("billing", lease_s=LEASE_S)

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2))
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        DEEDS[deed]()
        await asyncio.sleep(0.05)  # still in the middle when the signal is heard

    async with ev.connect(app, url, namespace=namespace) as bus, bus.running():
        await asyncio.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
    asyncio.run(main(*sys.argv[1:]))
