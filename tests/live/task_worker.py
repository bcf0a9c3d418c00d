"""A worker process that the live tests kill. Its tasks have unique keys and limits.

usage: python -m tests.live.task_worker URL NAMESPACE HANDLER_LOG WORK_S     Stops gracefully on SIGTERM.
"""

import asyncio
import os
import signal
import sys

import eventlib as ev

LEASE_S = 0.5


def app_of(handler_log: int, work_s: float) -> tuple[ev.App, ev.Task[[int], int]]:
    """Each log line is one write to a file opened for appending, so that it survives a kill right after it."""
    app = ev.App("worker")
    app.queue("default", concurrency=8, lease_s=LEASE_S)

    @app.task(
        unique_by=["number"], limit=3, retry=ev.Retry(attempts=100, wait_s=0.01, wait_s_max=0.1), keep_result_s=60.0
    )
    async def work(number: int) -> int:
        os.write(handler_log, b"begin %d %d\n" % (number, os.getpid()))
        await asyncio.sleep(work_s)
        os.write(handler_log, b"done %d %d\n" % (number, os.getpid()))
        return number

    return app, work


async def main(url: str, namespace: str, path: str, work_s: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    handler_log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with ev.connect(app_of(handler_log, work_s)[0], url, namespace=namespace) as bus, bus.running():
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
