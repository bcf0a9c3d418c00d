"""How long a handler holds the event loop: its own steps, and those of the tasks that it starts, one by one.

A step that computes is as long as the thread's processor time. One that blocks, as `time.sleep` does, holds the loop
all the same, so it is as long as the clock says. So is every step where the system does not count, for each thread, how
often it waits (macOS): there, what other processes take of the processor counts as the handler's.
"""

import asyncio
import os
import resource
import time
from collections.abc import Awaitable, Coroutine, Generator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import eventlib

_OF_THREAD: int | None = getattr(resource, "RUSAGE_THREAD", None)  # None: the system does not count for a thread

T = TypeVar("T")

_OURS = str(Path(eventlib.__file__).parent) + os.sep
_current: ContextVar["Meter | None"] = ContextVar("sim_meter", default=None)


class Meter:
    """Counts the steps of one attempt and their seconds: of all together, and of the longest one.

    `stolen_s` is how much longer they took because other processes had the processor meanwhile.
    """

    __slots__ = ("_begun", "held_s", "longest_s", "steps", "stolen_s")

    def __init__(self) -> None:
        self.held_s = 0.0
        self.longest_s = 0.0
        self.steps = 0
        self.stolen_s = 0.0
        self._begun = (0.0, 0.0, 0)

    def begin(self) -> None:
        """A step begins."""
        self._begun = (time.perf_counter(), time.thread_time(), _waits())

    def end(self) -> None:
        """It has ended."""
        clock_s, processor_s, waits = self._begun
        held_s, took_s = time.thread_time() - processor_s, time.perf_counter() - clock_s
        if _OF_THREAD is None or _waits() != waits:  # where it cannot be told, what waited did not compute
            held_s = max(held_s, took_s)
        self.stolen_s += max(0.0, took_s - held_s)
        self.steps += 1
        self.held_s += held_s
        self.longest_s = max(self.longest_s, held_s)


def _waits() -> int:
    """How often this thread has given up the processor of its own accord."""
    return 0 if _OF_THREAD is None else resource.getrusage(_OF_THREAD).ru_nvcsw


class _Steps(Awaitable[T]):
    """Runs a coroutine, and counts each of its steps."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], meter: Meter) -> None:
        self._coroutine = coroutine
        self._meter = meter

    def __await__(self) -> Generator[Any, Any, T]:
        coroutine, meter = self._coroutine, self._meter
        error: BaseException | None = None
        while True:
            meter.begin()
            try:
                awaited = coroutine.send(None) if error is None else coroutine.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            finally:
                meter.end()
            error = None
            try:
                yield awaited
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as raised:  # what the coroutine is cancelled or fails with
                error = raised


async def metered(coroutine: Coroutine[Any, Any, T], meter: Meter) -> T:
    """Run a coroutine, and count it and the tasks that it starts."""
    token = _current.set(meter)
    try:
        return await _Steps(coroutine, meter)
    finally:
        _current.reset(token)


class HandlerTasks:
    """Counts the tasks that handlers start, once it is the task factory of the loop.

    A library that a handler calls may keep a task running, such as the reader of a connection. Such a task does not
    count.
    """

    def __init__(self) -> None:
        self._started: WeakSet[asyncio.Task[Any]] = WeakSet()

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
        **options: Any,
    ) -> "asyncio.Task[T]":
        meter = _current.get()
        if meter is None or isinstance(coroutine, Generator) or _is_ours(coroutine):
            return asyncio.Task(coroutine, loop=loop, **options)
        task = asyncio.Task(_counted(coroutine, meter), loop=loop, **options)
        if not _is_installed(coroutine):
            self._started.add(task)
        return task

    def left(self) -> int:
        """How many of them still run."""
        return sum(not task.done() for task in self._started)


async def _counted(coroutine: Coroutine[Any, Any, T], meter: Meter) -> T:
    return await _Steps(coroutine, meter)


def _file_of(coroutine: Coroutine[Any, Any, Any]) -> str:
    code = getattr(coroutine, "cr_code", None)
    return code.co_filename if code is not None else ""


def _is_ours(coroutine: Coroutine[Any, Any, Any]) -> bool:
    """Whether it is eventlib that works on, in a task that it began while it was called by a handler."""
    return _file_of(coroutine).startswith(_OURS)


def _is_installed(coroutine: Coroutine[Any, Any, Any]) -> bool:
    file = _file_of(coroutine)
    return not file or not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)
