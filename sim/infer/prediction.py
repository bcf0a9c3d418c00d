"""A Prediction: what live runs will measure, written down with a hash before they run.

Each seed is simulated several times. The replications of a seed have its arrivals, service times and failures. They
differ in the jitter of retries and in what the machine adds, so they say how far live runs may lie apart.
"""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, model_validator
from scipy import special

from eventlib.system_errors import with_mend
from eventlib.whole_files import write_whole
from sim.declare.declared import Floats
from sim.declare.differences import differences
from sim.declare.scenario import Scenario
from sim.environment import now, versions
from sim.errors import InvalidPrediction
from sim.evidence.history import History
from sim.evidence.metrics import Interval, is_predicted, measure, unit_of
from sim.reading import UNREADABLE, in_words, read_json
from sim.tables import html_table
from sim.wording import lower_bound, number

FORMAT = 1
CONFIDENCE = 0.95
_MUST_FIT = ("server", "Python", "event-workbench", "redis-py")
_PLACE = re.compile(r"(load\.(file|sample)|services\.[^:]*\.(file|folder|payload)): ")  # contents have a hash


@dataclass(frozen=True, slots=True)
class Predicted:
    """One metric as it is predicted, in `unit`: `of_seeds` has a mean for each seed.

    Of live runs of these seeds, 95 in 100 should have a mean over the seeds from `low` to `high`. Both are NaN where
    there are fewer than three replications. `unhandled` is as in `Interval`: where it is not 0, `high` is NaN, because
    nothing says how much longer what was never handled would have taken.
    """

    unit: str
    of_seeds: tuple[float, ...]
    low: float
    high: float
    unhandled: float = 0.0

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.of_seeds)) if self.of_seeds else math.nan

    @property
    def between(self) -> str:
        """Where live runs should lie, in words; empty where that is not known."""
        if not math.isfinite(self.low):
            return ""
        return f"from {number(self.low)} on" if self.unhandled else f"{number(self.low)} to {number(self.high)}"

    def interval(self, runs: int) -> Interval:
        """The mean and where live runs should lie, of so many simulated runs."""
        return Interval(self.mean, self.low, self.high, runs, self.unhandled)


NOT_PREDICTED = Predicted("", (), math.nan, math.nan)


@dataclass(frozen=True, repr=False)
class Prediction:
    """What live runs of `seeds` will measure, and what that was predicted from.

    `files` has the SHA-256 of each file that it reads, by its name. `made` is the time in UTC.
    """

    scenario: Scenario
    files: dict[str, str]
    seeds: tuple[int, ...]
    replications: int
    calibration: dict[str, Any]
    made: str
    versions: dict[str, str]
    metrics: dict[str, Predicted] = field(repr=False)

    HEADER: ClassVar = ("metric", "predicted", "for 95 in 100 live runs", "unit")

    @classmethod
    def of(cls, history: History, seeds: Sequence[int]) -> Self:
        """The prediction that a simulated history makes for these of its seeds."""
        found, of_runs = measure(history), np.array([run.seed for run in history.runs])
        replications = min((int(np.count_nonzero(of_runs == seed)) for seed in seeds), default=0)
        chosen = np.array([np.flatnonzero(of_runs == seed)[:replications] for seed in seeds])  # (seeds, replications)
        metrics = {
            name: _predicted(name, values[chosen], found.unhandled.get(name, np.zeros(values.size))[chosen])
            for name, values in found.items()
            if is_predicted(name) or name.startswith("lateness_s")  # the generator's shows whether the machine drifted
        }
        return cls(
            history.scenario,
            _digests(history.scenario),
            tuple(seeds),
            replications,
            history.calibration,
            now(),
            versions(),
            metrics,
        )

    def __repr__(self) -> str:
        return f"Prediction of {self._caption()}"

    def __str__(self) -> str:
        lines = ["{:<28}{:>14}  {:<28}{}".format(*cells) for cells in (self.HEADER, *self.rows())]
        return "\n".join((self._caption(), *lines))

    def _repr_html_(self) -> str:
        return html_table(self._caption(), self.HEADER, self.rows())

    def rows(self) -> list[tuple[str, str, str, str]]:
        """A row of text for each metric: its name, its value, where live runs should lie, its unit."""
        return [
            (
                name,
                lower_bound(number(found.mean), found.unhandled),
                found.between,
                found.unit,
            )
            for name, found in self.metrics.items()
        ]

    def _caption(self) -> str:
        runs = f"seeds {list(self.seeds)}, {self.replications} replications"
        return f"{self.scenario.name}, {runs}, made {self.made}, SHA-256 {self.sha256[:16]}"

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of all that the prediction says, as text with sorted names and without blanks."""
        text = json.dumps(self._said(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def _said(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "made": self.made,
            "scenario": self.scenario.model_dump(mode="json", by_alias=True),
            "files": self.files,
            "seeds": list(self.seeds),
            "replications": self.replications,
            "calibration": self.calibration,
            "versions": self.versions,
            "metrics": {name: _finite(asdict(found)) for name, found in self.metrics.items()},
        }

    def json(self) -> dict[str, Any]:
        """The prediction for machines, with its hash."""
        return self._said() | {"sha256": self.sha256}

    def save(self, file: str | Path) -> None:
        """Write it to a file, as JSON with its hash, whole or not at all.

        Raises:
            InvalidPrediction: it could not be written.
        """
        try:
            write_whole(file, json.dumps(self.json(), indent=2) + "\n")
        except OSError as error:
            problem = f"cannot be written: {with_mend(error)}"
            raise InvalidPrediction(str(file), problem) from error

    @classmethod
    def open(cls, file: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InvalidPrediction: there is no such file, it is no prediction, or it was changed after it was made.
        """
        made_by = "write one with `workbench predict --out FILE`"
        try:
            content = read_json(file)
            if content["format"] != FORMAT:
                raise InvalidPrediction(str(file), f"has format {content['format']!r}, not {FORMAT}; {made_by}")
            said = _Said.model_validate(content)
            found = cls(**{name: getattr(said, name) for name in _Said.model_fields if name != "sha256"})
        except OSError as error:
            raise InvalidPrediction(str(file), f"cannot be read: {error.strerror or error}; {made_by}") from error
        except UNREADABLE as error:
            problem = f"is no prediction ({in_words(error)}); {made_by}"
            raise InvalidPrediction(str(file), problem) from error
        if found.sha256 != said.sha256:
            changed = f"its SHA-256 is {found.sha256[:16]}..., and it says {said.sha256[:16]}..."
            problem = f"was changed after it was made: {changed}; predict again, and keep the file as it is written"
            raise InvalidPrediction(str(file), problem)
        return found

    def check_is_of(self, scenario: Scenario) -> None:
        """Refuse a scenario other than the one that was predicted.

        Raises:
            InvalidPrediction: they differ, or a file that it reads has changed.
        """
        found = [line for line in differences(self.scenario, scenario) if not _PLACE.match(line)]
        read = _digests(scenario)
        found += [f"{name} is not there" for name in self.files if name not in read]
        found += [f"{name} has changed" for name, digest in read.items() if self.files.get(name) != digest]
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            problem = f"it is of another scenario ({'; '.join(found[:3])}{more}); predict this one"
            raise InvalidPrediction("prediction", problem)

    def check_fits(self, server: str) -> None:
        """Refuse to judge a prediction by what another server (`Redis 8.2.3`) or other software does.

        Raises:
            InvalidPrediction: it was made for another one.
        """
        here = versions() | {"server": server}
        there = self.versions | {"server": self.calibration.get("server", server)}
        others = [name for name in _MUST_FIT if there.get(name) != here[name]]
        found = [f"{name} {there.get(name)!r}, here {here[name]!r}" for name in others]
        if found:
            raise InvalidPrediction("prediction", f"it was made for {'; '.join(found)}; predict again here")


def _predicted(metric: str, values: Floats, unhandled: Floats) -> Predicted:
    """From the values of the seeds' replications, both arrays of shape (seeds, replications).

    The interval is that of one further observation of a normal sample: Student's t with R - 1 degrees of freedom, and
    the variance 1 + 1 / R times that of the R replications (Hahn and Meeker, "Statistical Intervals", 1991, 4.7).
    """
    of_seeds, share = tuple(values.mean(axis=1).tolist()), float(unhandled.mean()) if unhandled.size else 0.0
    runs = values.mean(axis=0)
    if runs.size < 3 or not np.isfinite(runs).all():
        return Predicted(unit_of(metric), of_seeds, math.nan, math.nan, share)
    spread = float(runs.std(ddof=1)) * math.sqrt(1.0 + 1.0 / runs.size)
    half = float(special.stdtrit(runs.size - 1, (1.0 + CONFIDENCE) / 2.0)) * spread
    mean = float(runs.mean())
    return Predicted(unit_of(metric), of_seeds, max(0.0, mean - half), math.nan if share else mean + half, share)


def _digests(scenario: Scenario) -> dict[str, str]:
    """The SHA-256 of each file that it reads, by its name."""
    found: dict[str, str] = {}
    for file in dict.fromkeys(file for file in scenario.files if file.exists()):
        again = f" ({sum(name.startswith(file.name) for name in found) + 1})" if file.name in found else ""
        found[file.name + again] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def _finite(value: Any) -> Any:
    """A value as JSON can hold it: NaN and infinity as text."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


class _Said(BaseModel):
    """What a file of a prediction has to say: the fields of a Prediction, and its hash."""

    scenario: Scenario
    files: dict[str, str]
    seeds: tuple[NonNegativeInt, ...] = Field(min_length=1)
    replications: PositiveInt
    calibration: dict[str, Any]
    made: str
    versions: dict[str, str]
    metrics: dict[str, Predicted]
    sha256: str

    @model_validator(mode="after")
    def _of_each_seed(self) -> Self:
        for name, metric in self.metrics.items():
            if len(metric.of_seeds) != len(self.seeds):
                raise ValueError(f"{name} has {len(metric.of_seeds)} values for {len(self.seeds)} seeds")
        return self
