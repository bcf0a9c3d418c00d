"""The fork server: one process that imports everything once, and forks the processes of live runs when told to.

In this way a process starts in milliseconds, also the one that takes a killed one's place. Orders and reports are JSON
lines on a socket of their own, because anything may be printed on standard output. Each child has a socket too.

However a run ends, all of its processes end. When the owner dies, the server's socket closes, and the server kills its
children and deletes the run's keys. When the server dies, the sockets of its children close, and they end.
"""

import asyncio
import contextlib
import gc
import json
import os
import resource
import selectors
import shutil
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eventlib import App, EventlibError, Settings, connect
from sim.errors import SimError, first_of
from sim.worlds.exact_loop import exact_loop
from sim.worlds.roles import work
from sim.worlds.worker import Job, Orders

_WORDS_MAX = 2000  # letters of an error that are passed on
_DELETE_S = 5.0  # longest time that deleting a run's keys may take


@dataclass(slots=True)
class _Child:
    number: int
    pid: int
    socket: int  # the server's end
    unread: bytes = b""


class ForkServer:
    """Forks children, passes orders to them and reports what becomes of them. `channel` leads to the owner."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._left: dict[str, Job] = {}  # where the rows of a run are, and one of its jobs

    def serve(self) -> None:
        """Obey until the channel closes."""
        self._selector.register(self._channel, selectors.EVENT_READ, None)
        unread = b""
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._pass_on(key.data)
                    continue
                chunk = _read(self._channel)
                if not chunk:
                    self._end()
                    return
                *lines, unread = (unread + chunk).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))

    def _obey(self, order: Mapping[str, Any]) -> None:
        if "start" in order:
            try:
                self._fork(order["start"], Job(**order["job"]))
            except OSError as error:  # no more files, processes or memory
                problem = f"it could not be started: {error.strerror}; raise the limit (ulimit -n, ulimit -u)"
                _send(self._channel, {"process": order["start"], "failed": problem})
                _send(self._channel, {"process": order["start"], "ended": 1})
        elif child := self._children.get(order["to"]):
            _send(child.socket, order["order"])

    def _fork(self, number: int, job: Job) -> None:
        self._left.setdefault(os.path.dirname(job.records), job)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            pid = os.fork()
            if pid == 0:
                # Another child's socket held open here would keep that child from seeing the end of the server.
                # The channel stays open: for the owner, it ends with the last child.
                for fd in (ours.detach(), *(child.socket for child in self._children.values())):
                    os.close(fd)
                _run_child(job, theirs.detach())
            child = self._children[number] = _Child(number, pid, ours.detach())
        self._selector.register(child.socket, selectors.EVENT_READ, child)
        _send(self._channel, {"process": number, "started": pid})

    def _pass_on(self, child: _Child) -> None:
        """Pass a child's reports on to the owner; the last one is that it has ended."""
        report = _read(child.socket)
        *lines, child.unread = (child.unread + report).split(b"\n")
        for line in lines:
            _send(self._channel, {"process": child.number, **json.loads(line)})
        if not report:
            self._selector.unregister(child.socket)
            os.close(child.socket)
            del self._children[child.number]
            _, status = os.waitpid(child.pid, 0)
            _send(self._channel, {"process": child.number, "ended": os.waitstatus_to_exitcode(status)})

    def _end(self) -> None:
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
        for directory, job in self._left.items():
            if os.path.isdir(directory):  # gone already, unless the owner was killed; then so are its keys
                shutil.rmtree(directory, ignore_errors=True)
                _delete_keys(job)


def _delete_keys(job: Job) -> None:
    """Delete the keys of a run whose owner was killed, if the server is still there."""
    if job.namespace:
        with contextlib.suppress(EventlibError, OSError, TimeoutError):
            asyncio.run(asyncio.wait_for(_delete_all(job), _DELETE_S))


async def _delete_all(job: Job) -> None:
    async with connect(App("workbench"), job.url, namespace=job.namespace, settings=Settings()) as bus:
        await bus.delete_all()


def _read(fd: int) -> bytes:
    """What there is to read; nothing where the other end is gone."""
    try:
        return os.read(fd, 65536)
    except ConnectionResetError:  # it ended with something unread
        return b""


def _send(fd: int, message: Mapping[str, Any]) -> None:
    unsent = json.dumps(message).encode() + b"\n"
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the other end is gone, and that is reported
        while unsent:
            unsent = unsent[os.write(fd, unsent) :]


def _run_child(job: Job, fd: int) -> None:
    """Do the job and end the process: this never returns."""
    status = 1
    try:
        with asyncio.Runner(loop_factory=exact_loop) as runner:
            runner.run(_work(job, fd))
        status = 0
    except BaseException as error:
        failure = first_of(error)
        words = str(failure) if isinstance(failure, SimError) else f"{type(failure).__name__}: {failure}"
        _send(fd, {"failed": words[:_WORDS_MAX]})
    finally:
        os._exit(status)  # without the server's own clean-up, which is not the child's


async def _work(job: Job, fd: int) -> None:
    orders = Orders(job.t0)
    if job.t0 is not None:
        orders.go.set()

    unread = b""

    def obey() -> None:
        nonlocal unread
        received = _read(fd)
        if not received:
            os._exit(1)  # the server is dead, and so is the run
        *lines, unread = (unread + received).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "go" in order:
                orders.t0 = order["go"]
                orders.go.set()
            elif "network" in order:
                orders.network.put_nowait(order)
            else:
                orders.stop.set()

    asyncio.get_running_loop().add_reader(fd, obey)
    await work(job, orders, lambda report: _send(fd, {report: True}))


def serve(channel: int) -> None:
    """Run the fork server of this process until the owner is done or dead."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # as many files as this user may have: each child needs one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.freeze()  # what was imported stays: no child collects it, and its pages stay shared
    ForkServer(channel).serve()
