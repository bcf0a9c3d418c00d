"""The fork server: one process that imports everything once, and forks the processes of live runs when told to.

In this way a process starts in milliseconds, also the one that takes a killed one's place. Orders come as JSON lines on
standard input, reports go as JSON lines to standard output. Each child has two pipes: one from the server for its
orders, one to the server for its reports.

However a run ends, all of its processes end. When the owner dies, the server's standard input closes, and the server
kills its children. When the server dies, the pipes of its children close, and they end.
"""

import asyncio
import contextlib
import gc
import json
import os
import selectors
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sim.errors import SimError, first_of
from sim.worlds.worker import Job, Orders, work


@dataclass(frozen=True, slots=True)
class _Child:
    number: int
    pid: int
    orders: int  # write end
    reports: int  # read end


class ForkServer:
    """Forks children, passes orders to them and reports what becomes of them."""

    def __init__(self) -> None:
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._directories: set[str] = set()  # where the rows of the children are

    def serve(self) -> None:
        """Obey until standard input closes."""
        self._selector.register(0, selectors.EVENT_READ, None)
        unread = b""
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._pass_on(key.data)
                    continue
                chunk = os.read(0, 65536)
                if not chunk:
                    self._end()
                    return
                *lines, unread = (unread + chunk).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))

    def _obey(self, order: Mapping[str, Any]) -> None:
        if "start" in order:
            self._fork(order["start"], Job(**order["job"]))
        elif child := self._children.get(order["to"]):
            _send(child.orders, order["order"])

    def _fork(self, number: int, job: Job) -> None:
        self._directories.add(os.path.dirname(job.records))
        order_read, order_write = os.pipe()
        report_read, report_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            # Another child's pipe held open here would keep that child from seeing the end of the server.
            for fd in (
                order_write,
                report_read,
                *(fd for c in self._children.values() for fd in (c.orders, c.reports)),
            ):
                os.close(fd)
            # For the owner, the pipe of the orders ends with the server, that of the reports with the last child.
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            _run_child(job, order_read, report_write)
        os.close(order_read)
        os.close(report_write)
        child = self._children[number] = _Child(number, pid, order_write, report_read)
        self._selector.register(report_read, selectors.EVENT_READ, child)
        _send(1, {"process": number, "started": pid})

    def _pass_on(self, child: _Child) -> None:
        """Pass a child's reports on to the owner; the last one is that it has ended."""
        report = os.read(child.reports, 65536)
        for line in report.splitlines():
            _send(1, {"process": child.number, **json.loads(line)})
        if not report:
            self._selector.unregister(child.reports)
            os.close(child.reports)
            os.close(child.orders)
            del self._children[child.number]
            _, status = os.waitpid(child.pid, 0)
            _send(1, {"process": child.number, "ended": os.waitstatus_to_exitcode(status)})

    def _end(self) -> None:
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
        for directory in self._directories:  # gone already, unless the owner was killed
            shutil.rmtree(directory, ignore_errors=True)


def _send(fd: int, message: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the other end is gone; that is reported where it matters
        os.write(fd, json.dumps(message).encode() + b"\n")


def _run_child(job: Job, orders: int, reports: int) -> None:
    """Do the job and end the process: this never returns."""
    status = 1
    try:
        asyncio.run(_work(job, orders, reports))
        status = 0
    except BaseException as error:
        failure = first_of(error)
        words = str(failure) if isinstance(failure, SimError) else f"{type(failure).__name__}: {failure}"
        _send(reports, {"failed": words})
    finally:
        os._exit(status)  # without the server's own clean-up, which is not the child's


async def _work(job: Job, orders_fd: int, reports: int) -> None:
    orders = Orders(job.t0)
    if job.t0 is not None:
        orders.go.set()

    def obey() -> None:
        received = os.read(orders_fd, 4096)
        if not received:
            os._exit(1)  # the server is dead, and so is the run
        for line in received.splitlines():
            order = json.loads(line)
            if "go" in order:
                orders.t0 = order["go"]
                orders.go.set()
            else:
                orders.stop.set()

    asyncio.get_running_loop().add_reader(orders_fd, obey)
    await work(job, orders, lambda report: _send(reports, {report: True}))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit("sim.worlds.fork_server is started by sim.worlds.process_pool and takes no arguments")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    gc.freeze()  # what was imported stays: no child collects it, and its pages stay shared
    ForkServer().serve()
