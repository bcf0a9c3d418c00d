"""sweep(): a scenario at many points, on all cores. What is finished is kept, so a sweep can be interrupted."""

import json
from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from eventlib.system_errors import with_mend
from sim.calibration import Calibration
from sim.declare.order import run_order
from sim.declare.scenario import Progress, Scenario
from sim.declare.varying import Values, axes_of, grid, latin_hypercube, with_fields
from sim.errors import SweepFailed
from sim.evidence.capacity import Overload
from sim.evidence.expectations import expectations_of
from sim.evidence.metrics import Metrics
from sim.infer.points import Measured, Point, executor_of, keys_of, simulated_all
from sim.infer.swept import Sweep, SweptPoint
from sim.progress import shown
from sim.reading import UNREADABLE, parse_json

SEEDS = range(10)


def sweep(
    scenario: Scenario,
    vary: Values,
    *,
    seeds: Iterable[int] = SEEDS,
    samples: int | None = None,
    expect: Iterable[str] = (),
    calibration: Calibration | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Simulate a scenario at every combination of the values of some fields, each with the same seeds.

    `vary` has for each field, named by its path (`services.billing.consumers`, `load.rate_per_s`, `faults.0.at_s`), its
    values: `range(1, 9)`, `[100, 200, 400]`, or a text (`1..8`, `0.5..2..0.5`, `100,200,400`). With `samples`, so many
    points are drawn by a Latin hypercube, and a range such as `0.1..0.9` needs no steps. `expect` is judged at every
    point, beside what the scenario expects.

    It runs on `workers` processes (by default one a core), or on any `executor`: that of a Dask cluster is
    `Client.get_executor()`. The result is the same on each. With `out`, it is written there as Parquet; points that
    were finished before an interruption, or that an earlier sweep in this file has, are not simulated again.

    Raises:
        InvalidScenario: a field does not exist, varies over nothing or takes a value that cannot be run; or an
            expectation is of no metric.
        SweepFailed: the executor failed, or `out` cannot be read or written.
        InvalidTrace: as `simulate` does.
    """
    axes = axes_of(vary)
    values = grid(axes) if samples is None else latin_hypercube(axes, samples)
    fields, chosen = tuple(axis.field for axis in axes), tuple(seed for seed, _ in run_order(seeds, 1))
    variants = [with_fields(scenario, dict(zip(fields, at, strict=True))) for at in values]
    expected = expectations_of(scenario, expect)
    for variant in variants:
        variant.check_size(1 if variant.warm_up is None else max(1, len(chosen)))
    points = [Point(variant, chosen, calibration) for variant in variants]
    kept = _Kept(Path(out)) if out is not None else None
    found = kept.read() if kept is not None else {}
    keys = keys_of(points)
    missing = {key: point for key, point in zip(keys, points, strict=True) if key not in found}
    waiting = list(missing)
    with shown(progress, f"sweeping {scenario.name}") as advance:
        advance(1 - len(missing) / len(points))

        def note(index: int, measured: Measured) -> None:
            found[waiting[index]] = measured
            if kept is not None:
                kept.add(waiting[index], measured)
            advance(sum(key in found for key in keys) / len(points))

        if missing:
            with executor_of(executor, workers) as pool:
                simulated_all(list(missing.values()), pool, done=note)
    swept = tuple(SweptPoint(at, key, found[key]) for at, key in zip(values, keys, strict=True))
    result = Sweep(scenario, fields, chosen, swept, expected, calibration.about() if calibration is not None else {})
    if kept is not None:
        kept.finish(result)
    return result


class _Kept:
    """What is finished: the points of a sweep that the file has, and those that wait beside it to be put into it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._beside = file.with_name(f"{file.name}.unfinished")

    def read(self) -> dict[str, Measured]:
        """The points that were finished before, by their keys.

        Raises:
            SweepFailed: the file holds something else than a sweep.
        """
        found = {}
        if self.file.exists() and self.file.stat().st_size:
            found = {point.key: point.found for point in Sweep.open(self.file).points}
        try:
            lines = self._beside.read_bytes().splitlines()
        except FileNotFoundError:
            return found
        for line in lines:
            with suppress(*UNREADABLE):  # the last one may be cut off
                said = parse_json(line)
                found[said["key"]] = _measured(said)
        return found

    def add(self, key: str, measured: Measured) -> None:
        """Keep a point that is finished.

        Raises:
            SweepFailed: it cannot be written.
        """
        said = {
            "key": key,
            "metrics": {name: values.tolist() for name, values in measured.metrics.items()},
            "unhandled": {name: values.tolist() for name, values in measured.metrics.unhandled.items()},
            "overloads": [asdict(overload) for overload in measured.overloads],
        }
        try:
            with self._beside.open("a", encoding="utf-8") as file:
                file.write(f"\n{json.dumps(said)}")  # what was cut off before it stays a line of its own
        except OSError as error:
            problem = f"cannot be written: {with_mend(error)}"
            raise SweepFailed(str(self._beside), problem) from error

    def finish(self, result: Sweep) -> None:
        """Write the whole sweep, and delete what waited beside the file.

        Raises:
            SweepFailed: it could not be written.
        """
        result.save(self.file)
        self._beside.unlink(missing_ok=True)


def _measured(said: dict[str, Any]) -> Measured:
    metrics, unhandled = (
        {name: np.array(values, np.float64) for name, values in said[part].items()} for part in ("metrics", "unhandled")
    )
    return Measured(Metrics(metrics, unhandled), tuple(Overload(**one) for one in said["overloads"]))
