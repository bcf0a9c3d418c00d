"""An executor with processes of its own, for simulations on all cores.

Each process is a new interpreter that imports nothing of the caller's program: a script needs no `if __name__ ==
"__main__"`, and a program with threads is not forked. A process ends with its owner, because it reads from it.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_TRIES = 2  # a process that is killed from outside, for its memory say, is replaced once


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Processes(Executor):
    """Calls functions in processes, one for each core unless told otherwise. What it calls must be importable."""

    def __init__(self, workers: int | None = None) -> None:
        self._threads = ThreadPoolExecutor(workers or cores(), thread_name_prefix="simulate")
        self._own = threading.local()
        self._lock = threading.Lock()
        self._children: list[subprocess.Popen[bytes]] = []
        self._closed = False

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in one of the processes."""
        return self._threads.submit(self._call, pickle.dumps((function, args, kwargs)))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes: when all calls have ended, or (`cancel_futures`) at once."""
        if cancel_futures:
            with self._lock:
                self._closed = True
                for child in self._children:
                    child.kill()
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for child in self._children:
            if child.stdin is not None:
                with suppress(OSError):
                    child.stdin.close()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()

    def _call(self, call: bytes) -> Any:
        for _ in range(_TRIES):
            child = self._child()
            try:
                child.stdin.write(call)
                child.stdin.flush()
                good, answer = pickle.load(child.stdout)
            except (EOFError, OSError, pickle.UnpicklingError):
                del self._own.child
                if self._closed:
                    break
                continue
            if good:
                return answer
            raise answer
        raise BrokenExecutor("a process that simulated was killed; is there enough memory for so many at once?")

    def _child(self) -> Any:
        """The process of this thread."""
        if not hasattr(self._own, "child"):
            start = f"import sys; sys.path[:] = {sys.path!r}; from sim.infer.processes import serve; serve()"
            with self._lock:
                if self._closed:
                    raise BrokenExecutor("the executor was shut down")
                self._own.child = subprocess.Popen(
                    [sys.executable, "-c", start],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C reaches the owner alone
                )
                self._children.append(self._own.child)
        return self._own.child


def serve() -> None:
    """What a process does: it calls what it reads, and writes what that returned or raised, until there is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a call prints is no answer
    while True:
        try:
            function, args, kwargs = pickle.load(calls)
        except EOFError:
            return
        try:
            answer = (True, function(*args, **kwargs))
        except Exception as error:
            answer = (False, error)
        answers.write(pickle.dumps(answer))
        answers.flush()
