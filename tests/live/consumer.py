"""A consumer process that the live tests kill. Its handlers log what they begin and what they finish.

usage: python -m tests.live.consumer URL NAMESPACE HANDLER_LOG WORK_S     Stops gracefully on SIGTERM.
"""

import asyncio
import os
import signal
import sys

import eventlib as ev
from tests.shop import OrderPlaced

LEASE_S = 1.5  # it ends for what is killed, not for what stands still on a busy machine


def app_of(handler_log: int, work_s: float) -> ev.App:
    """Each log line is one write to a file opened for appending, so that it survives a kill right after it."""
    app = ev.App("consumer")
    app.group("billing", concurrency=4, prefetch=4, lease_s=LEASE_S)

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=100, wait_s=0.01, wait_s_max=0.1))
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        os.write(handler_log, b"begin %d %d\n" % (event.number, os.getpid()))
        await asyncio.sleep(work_s)
        if event.number % 10 == 3 and delivery.attempt == 1:
            raise ValueError("a tenth fails once")
        os.write(handler_log, b"done %d %d\n" % (event.number, os.getpid()))

    return app


async def main(url: str, namespace: str, path: str, work_s: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    handler_log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with ev.connect(app_of(handler_log, work_s), url, namespace=namespace) as bus, bus.running():
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
