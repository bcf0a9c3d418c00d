"""A Calibration is what a machine adds to a scenario's own times: measured live once, kept in a file, and sampled.

What each step took is kept as it was measured, second by second. So the simulated world draws from the distributions
themselves, and an interval of a prediction can be had by drawing the seconds again (`resampled`).

A step takes longer the longer its process had rested, because caches and the processor's sleep have to be overcome.
So the samples of each step are kept apart by that rest.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from eventlib.system_errors import with_mend
from eventlib.whole_files import write_whole
from sim.declare.declared import Floats
from sim.environment import machine, now, versions
from sim.errors import InvalidCalibration, OtherFormat
from sim.reading import UNREADABLE, in_words, read_json
from sim.timings import (
    RESTS_S,
    ROLES,
    STEPS,
    Block,
    CpuCost,
    CpuUse,
    read_blocks,
    read_cpu_use,
    read_positive,
    read_scales,
    read_texts,
)

FORMAT = 2  # of the file

PARTS = {
    "scales": "the waiting that the probes' own processes made is counted twice",
    "distributions": "each step takes its mean",
    "rest": "a step takes no longer after a rest",
    "cpu": "processes and the server never wait for a processor or for themselves",
    "batching": "an event of a batch costs as much as a single one",
    "series": "a consumer that has work goes on at once: reading, starting the next and waking up take no time",
}
BUSY_S = 0.002  # on a quiet machine, not one timer in a hundred is so late
_SAMPLES_MIN = 20  # a class with fewer takes those of its neighbours too
_MUST_FIT = ("processor", "CPUs", "Python", "event-workbench", "redis-py")


@dataclass(frozen=True, repr=False)
class Calibration:
    """What one machine, server and library add to a scenario's own times.

    `scales` make a simulation of the runs that were measured show what was measured: there, processes waited for each
    other, which is in the samples and in the simulation too. `left_out` has the parts that are left out: see `PARTS`.
    `discrepancy` is how far such a simulation still is from what was measured: the standard deviation of the logarithm
    of all that the machine adds. `stretch` multiplies all of it.
    """

    blocks: tuple[Block, ...]
    cpu: tuple[CpuUse, ...] = ()
    server: str = "none"
    date: str = ""
    machine: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    scales: Mapping[str, Sequence[float]] = field(default_factory=dict)  # of samples, by step and class of rest
    discrepancy: float = 0.0
    stretch: float = 1.0

    @classmethod
    def measured(cls, blocks: Sequence[Block], cpu: Sequence[CpuUse], server: str) -> Self:
        """What was just measured here."""
        return cls(tuple(blocks), tuple(cpu), server, now(), machine(), versions())

    @classmethod
    def constant(cls, **steps: float) -> Self:
        """Each of these steps always takes so many seconds, the others no time: for tests, and to ask "what if".

        Without `append_s`, the server has an event half-way to the reply.

        Raises:
            InvalidCalibration: there is no such step, or its time is no number of seconds.
        """
        for name, value in steps.items():
            if name not in STEPS:
                raise InvalidCalibration("calibration", f"there is no step {name!r}; there are: {', '.join(STEPS)}")
            if not 0.0 <= value < float("inf"):
                raise InvalidCalibration("calibration", f"{name} is {value:g}; give seconds, 0 or more")
        halfway = {"append_s": steps["publish_s"] / 2.0} if "publish_s" in steps else {}
        return cls((Block(0, {name: [[value]] for name, value in (halfway | steps).items()}),))

    # What the simulated world asks for

    def samples_s(self, step: str, rest: int) -> Floats:
        """What a step took in seconds after a rest of this class, shape (samples,); one 0 where it was not measured."""
        return self._samples[step][min(rest, len(self._samples[step]) - 1)]

    def cpu_cost(self, role: str) -> CpuCost:
        """What a process of this role needs of the processor. Least squares over the runs, none negative.

        What it uses without anything to do, such as for timers and samples of the backlog, is told apart by time.
        """
        of_role = [use for use in self.cpu if use.role == role]
        if not of_role or "cpu" in self.left_out:
            return CpuCost()
        counts = np.array([(use.wakes, use.events, use.lasted_s) for use in of_role])
        if "batching" in self.left_out:
            counts[:, 1] = 0.0
        from scipy import optimize  # importing it takes long

        (wake_s, event_s, _), _ = optimize.nnls(counts, np.array([use.cpu_s for use in of_role]))
        return CpuCost(self.stretch * float(wake_s), self.stretch * float(event_s))

    @property
    def cores(self) -> int:
        """How many processes can run at the same time."""
        found = self.machine.get("CPUs", "")
        return max(1, int(found)) if found.isdecimal() else 1

    @cached_property
    def _samples(self) -> dict[str, list[Floats]]:
        return {step: self._classes(step) for step in STEPS}

    def _classes(self, step: str) -> list[Floats]:
        """The samples of a step by class of rest. A class with few has those of its neighbours, too."""
        by_class: list[list[float]] = [[] for _ in range(len(RESTS_S) + 1)]
        for block in self.blocks:
            for rest, seconds in enumerate(block.steps.get(step, ())):
                by_class[rest].extend(seconds)
        everything = [one for of_class in by_class for one in of_class]
        if not everything or (step in ("read_s", "next_s") and "series" in self.left_out):
            return [np.zeros(1)]
        if "rest" in self.left_out:
            by_class = [everything]
        pooled = [_pooled(by_class, place) for place in range(len(by_class))]
        if "scales" not in self.left_out and "rest" not in self.left_out and step in self.scales:
            pooled = [samples * scale for samples, scale in zip(pooled, self.scales[step], strict=True)]
        if "distributions" in self.left_out:
            pooled = [np.array([of_class.mean()]) for of_class in pooled]
        if step == "handle_s" and "series" in self.left_out:
            pooled = [np.zeros(1)]
        return [samples * self.stretch for samples in pooled] if self.stretch != 1.0 else pooled

    # What a history, a report and an ablation ask for

    def values(self) -> dict[str, float]:
        """The calibration in a few numbers: each step's mean, median and 99th percentile, and the processor's time.

        Those of the steps are as they were measured, before `scales`.
        """
        found: dict[str, float] = {}
        for step in STEPS:
            every = np.array(
                [one for block in self.blocks for of_class in block.steps.get(step, ()) for one in of_class]
            )
            if every.size:
                found |= {step: float(every.mean())}
                found |= {f"{step}_{name}": float(np.quantile(every, q)) for name, q in (("p50", 0.5), ("p99", 0.99))}
        for role in ROLES:
            if any(use.role == role for use in self.cpu):
                cost = self.cpu_cost(role)
                found |= {f"{role}_cpu_wake_s": cost.wake_s, f"{role}_cpu_event_s": cost.event_s}
        return found

    @property
    def was_busy(self) -> bool:
        """Whether other programs kept the machine so busy that what was measured holds for that hour alone."""
        late_s = [one for block in self.blocks for of_class in block.steps.get("lateness_s", ()) for one in of_class]
        return bool(late_s) and float(np.quantile(late_s, 0.99)) > BUSY_S

    def digest(self) -> str:
        """The SHA-256 of all that the simulation takes from it."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        whole = self._as_json()
        simulated = {name: whole[name] for name in ("format", "left_out", "cpu", "scales", "blocks", "discrepancy")}
        simulated |= {"cores": self.cores, "stretch": self.stretch}
        return hashlib.sha256(json.dumps(simulated, sort_keys=True).encode()).hexdigest()

    def about(self) -> dict[str, Any]:
        """What a history says of the calibration that it was simulated with."""
        more = {"without": sorted(self.left_out), "was_busy": self.was_busy, "discrepancy": self.discrepancy}
        told = {name: value for name, value in more.items() if value}
        return {"digest": self.digest(), "date": self.date, "server": self.server, **told, "values": self.values()}

    def without(self, *parts: str) -> Self:
        """The same without these parts: what does each of them buy?

        Raises:
            InvalidCalibration: there is no such part.
        """
        for part in parts:
            if part not in PARTS:
                raise InvalidCalibration("calibration", f"there is no part {part!r}; there are: {', '.join(PARTS)}")
        return replace(self, left_out=self.left_out | set(parts))

    def resampled(self, seed: int) -> Self:
        """Another calibration, as it might have been measured: its blocks are drawn anew, with replacement.

        Whole blocks are drawn because what one second measures is alike: a bootstrap of single samples would be too
        sure. Source: Carlstein, "The Use of Subseries Values for Estimating the Variance of a General Statistic from a
        Stationary Sequence", Annals of Statistics 14(3), 1986. The processor's uses are not drawn: each run shows
        another side of them. All that the machine adds is stretched by a lognormal factor, by which the model itself
        may be wrong.
        """
        rng = np.random.default_rng(np.random.SeedSequence((seed, 3)))
        of_run: dict[int, list[Block]] = {}
        for block in self.blocks:
            of_run.setdefault(block.run, []).append(block)
        blocks = [each[place] for each in of_run.values() for place in rng.integers(len(each), size=len(each))]
        stretch = float(np.exp(self.discrepancy * rng.standard_normal()))
        return replace(self, blocks=tuple(blocks), stretch=stretch)

    # The file

    def save(self, file: str | Path) -> None:
        """Write it to a JSON file, whole or not at all.

        Raises:
            InvalidCalibration: it could not be written.
        """
        try:
            write_whole(file, json.dumps(self._as_json(), indent=1) + "\n")
        except OSError as error:
            problem = f"cannot be written: {with_mend(error)}"
            raise InvalidCalibration(str(file), problem) from error

    @classmethod
    def load(cls, file: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InvalidCalibration: there is no such file, or it holds no calibration, or one of another format.
        """
        mend = "measure one with `workbench calibrate --out FILE`"
        try:
            found = read_json(file)
            blocks = found["blocks"]  # every version has some
            if found["format"] != FORMAT:
                raise OtherFormat(str(file), f"is of format {found['format']}, this version reads {FORMAT}; {mend}")
            return cls(
                read_blocks(blocks),
                tuple(read_cpu_use(use) for use in found["cpu"]),
                server=str(found["server"]),
                date=str(found["date"]),
                machine=read_texts("machine", found["machine"]),
                versions=read_texts("versions", found["versions"]),
                left_out=_left_out(found["left_out"]),
                scales=read_scales(found["scales"]),
                discrepancy=read_positive("discrepancy", found["discrepancy"]),
            )
        except OSError as error:
            raise InvalidCalibration(str(file), f"cannot be read: {error.strerror or error}; {mend}") from error
        except UNREADABLE as error:
            problem = f"is no calibration ({in_words(error)}); {mend}"
            raise InvalidCalibration(str(file), problem) from error

    def check_fits(self, server: str) -> None:
        """Refuse to predict what this machine, server (`Redis 8.2.3`) and library do from what others did.

        Raises:
            InvalidCalibration: it was measured elsewhere.
        """
        here, there = (
            machine() | versions() | {"server": server},
            {**self.machine, **self.versions, "server": self.server},
        )
        others = [
            f"{name} {there.get(name)!r}, here {here[name]!r}"
            for name in ("server", *_MUST_FIT)
            if there.get(name) != here[name]
        ]
        if others:
            problem = f"was measured with {'; '.join(others)}; measure it here: `workbench calibrate --out FILE`"
            raise InvalidCalibration("calibration", problem)

    def _as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "date": self.date,
            "server": self.server,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "left_out": sorted(self.left_out),
            "cpu": [asdict(use) for use in self.cpu],
            "scales": {step: list(scales) for step, scales in self.scales.items()},
            "discrepancy": self.discrepancy,
            "blocks": [{"run": block.run, "steps": dict(block.steps)} for block in self.blocks],
        }

    def __repr__(self) -> str:
        return f"Calibration({', '.join(f'{name}={value:.3g}' for name, value in self.values().items())})"


def _pooled(by_class: Sequence[Sequence[float]], place: int) -> Floats:
    """The samples of a class, with those of the nearest ones as long as there are few."""
    reach, found = 0, list(by_class[place])
    while len(found) < _SAMPLES_MIN and reach < len(by_class):
        reach += 1
        for neighbour in (place - reach, place + reach):
            if 0 <= neighbour < len(by_class):
                found += by_class[neighbour]
    return np.array(found)


def _left_out(found: Sequence[str]) -> frozenset[str]:
    if unknown := sorted(set(found) - set(PARTS)):
        raise ValueError(f"there is no part {unknown[0]!r}")
    return frozenset(found)
