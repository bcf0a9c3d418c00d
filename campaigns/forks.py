"""Processes that begin with their imports done, so that one that was killed is replaced within milliseconds."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any, Self

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(  # a fork runs its parent's main module too, so what that imports is here
    ["campaigns.saga_worker", "campaigns.task_worker", "eventlib.testing", "redis.asyncio", "rich.progress"]
)


class Forks:
    """Processes that run the same function, until the block ends."""

    def __init__(self, run: Callable[..., None], *arguments: Any, number: int) -> None:
        self._run = run
        self._arguments = arguments
        self.processes = [self._started() for _ in range(number)]

    def replace(self, process: BaseProcess) -> None:
        """Start another one in the place of one that has ended."""
        self.processes[self.processes.index(process)] = self._started()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(20.0)
            process.kill()
            process.join()

    def _started(self) -> BaseProcess:
        process = FORKS.Process(target=self._run, args=self._arguments)
        process.start()
        return process
