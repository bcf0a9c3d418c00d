"""A consumer process of an ordered group, to be killed. Its handlers log what they begin, fail and finish.

usage: python -m tests.live.ordered_consumer URL NAMESPACE HANDLER_LOG WORK_S     Stops gracefully on SIGTERM.
"""

import asyncio
import os
import random
import signal
import sys

import eventlib as ev

LEASE_S = 2.0  # a busy machine must not make a living process look dead


class Paid(ev.Event, type="account.paid", version=1, stream="orders"):
    account: str
    step: int


def app_of(handler_log: int, work_s: float) -> ev.App:
    """Each log line is one write to a file opened for appending, so that it survives a kill right after it."""
    app = ev.App("ordered_consumer")
    app.group("billing", concurrency=8, prefetch=8, lease_s=LEASE_S, ordered_by="account")

    def note(what: str, event: Paid) -> None:
        os.write(handler_log, f"{what} {os.getpid()} {event.account} {event.step}\n".encode())

    @app.subscribe(Paid, group="billing", retry=ev.Retry(attempts=100, wait_s=0.01, wait_s_max=0.1))
    async def pay(event: Paid, _: ev.Delivery) -> None:
        note("began", event)
        await asyncio.sleep(work_s * random.random())
        if random.random() < 0.1:
            note("failed", event)
            raise ValueError("a tenth fails")
        note("done", event)

    return app


async def main(url: str, namespace: str, path: str, work_s: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    handler_log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with ev.connect(app_of(handler_log, work_s), url, namespace=namespace) as bus, bus.running():
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
