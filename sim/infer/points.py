"""One point of a sweep: a scenario, simulated for some seeds, and the numbers of it. It may run in any process."""

import gc
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from sim.calibration import Calibration
from sim.declare.scenario import Scenario
from sim.errors import SimError, SweepFailed
from sim.evidence.capacity import Overload, Rates, overloads, overloads_of, rates_of
from sim.evidence.metrics import Metrics, measure
from sim.infer.processes import Processes
from sim.worlds.simulated import simulate

_GARBAGE_ROWS = 200_000  # rows of runs that are over, after which their memory is given back
_IRRELEVANT = ("name", "description", "expect")  # what a run does not depend on


@dataclass(frozen=True)
class Point:
    """A scenario to simulate for some seeds. Every point of a sweep has the same seeds: common random numbers."""

    scenario: Scenario
    seeds: tuple[int, ...]
    calibration: Calibration | None = None

    def key(self, sha256: Callable[[Path], str]) -> str:
        """The SHA-256 of all that its numbers depend on. `sha256` says that of the content of a file."""
        declared = self.scenario.model_dump(mode="json", by_alias=True)
        about = {
            "scenario": {name: value for name, value in declared.items() if name not in _IRRELEVANT},
            "files": [sha256(file) for file in self.scenario.files if file.exists()],
            "seeds": self.seeds,
            "calibration": self.calibration.digest() if self.calibration else None,
            "version": version("event-workbench"),
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def keys_of(points: Sequence[Point]) -> list[str]:
    """The key of each point. A file that several of them have is read once."""
    sha256 = cache(lambda file: hashlib.sha256(file.read_bytes()).hexdigest())
    return [point.key(sha256) for point in points]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a point came to: its metrics, a value for each seed, and the services that were overloaded."""

    metrics: Metrics
    overloads: tuple[Overload, ...]


def simulated(point: Point) -> Measured:
    """Simulate a point, a run after the other: it takes the memory of one run, however many seeds there are.

    Raises:
        InvalidScenario, InvalidTrace: as `simulate` does.
    """
    if point.scenario.warm_up is not None or not point.seeds:  # it is found in all runs together
        history = simulate(point.scenario, point.seeds, calibration=point.calibration)
        return Measured(measure(history), tuple(overloads(history)))
    found: list[Metrics] = []
    rates: list[Rates] = []
    garbage = 0
    for seed in point.seeds:
        history = simulate(point.scenario, [seed], calibration=point.calibration)
        found.append(measure(history))
        rates.append(rates_of(history))
        if (garbage := garbage + history.rows.size) > _GARBAGE_ROWS:
            gc.collect()  # a run's world refers to itself, so it stays until then
            garbage = 0
    return Measured(_joined(found), tuple(overloads_of(point.scenario, rates)))


def _joined(each: Sequence[Metrics]) -> Metrics:
    """The metrics of several runs, one after the other."""
    values = {name: np.concatenate([one[name] for one in each]) for name in each[0]}
    return Metrics(values, {name: np.concatenate([one.unhandled[name] for one in each]) for name in each[0].unhandled})


def simulated_all(
    points: Sequence[Point],
    executor: Executor,
    *,
    done: Callable[[int, Measured], None] = lambda index, found: None,
) -> list[Measured]:
    """Simulate all points, in their order. `done` is called with each as soon as it is there.

    Raises:
        InvalidScenario, InvalidTrace: as `simulate` does.
        SweepFailed: the executor failed: a process was killed, or a cluster is gone.
    """
    found: dict[int, Measured] = {}
    futures: dict[Future[Measured], int] = {}
    try:
        for index, point in enumerate(points):
            futures[executor.submit(simulated, point)] = index
        for future in as_completed(futures):
            index = futures[future]
            found[index] = future.result()
            done(index, found[index])
    except SimError:
        raise
    except Exception as error:
        told = " ".join(f"{type(error).__name__} {error}".split())
        problem = f"the executor failed ({told}); what is finished is kept where a file was named: run it again"
        raise SweepFailed("sweep", problem) from error
    finally:
        for future, index in futures.items():  # after an error or Ctrl-C, what is finished counts all the same
            if not future.cancel() and future.done() and future.exception() is None and index not in found:
                done(index, future.result())
    return [found[index] for index in range(len(points))]


@contextmanager
def executor_of(given: Executor | None, workers: int | None = None) -> Iterator[Executor]:
    """The executor that was given, which stays as it is; or processes of our own, which are ended with the block."""
    if given is not None:
        yield given
        return
    own = Processes(workers)
    try:
        yield own
    except BaseException:
        own.shutdown(cancel_futures=True)
        raise
    own.shutdown()
