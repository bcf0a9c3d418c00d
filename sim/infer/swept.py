"""A Sweep: the numbers of a scenario at many points, a row for each point and seed. It is kept as Parquet."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from eventlib.system_errors import with_mend
from eventlib.whole_files import whole_file
from sim.declare.expectations import Expectation
from sim.declare.scenario import Scenario
from sim.errors import SweepFailed
from sim.evidence.capacity import Overload
from sim.evidence.expectations import Judged, check_metrics, judge, judged_json
from sim.evidence.export import interval_json, own_name, under_all_names
from sim.evidence.metrics import Interval, Metrics, summarize
from sim.infer.points import Measured
from sim.reading import UNREADABLE, in_words, parse_json
from sim.tables import html_table
from sim.wording import lower_bound, number

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
METRICS = ("lag_s_p50", "lag_s_p95", "lag_s_p99", "throughput_per_s", "unhandled")  # those that a table shows first
_UNHANDLED = "_unhandled"  # the column beside one of lag that says which of its numbers are lower bounds


@dataclass(frozen=True, slots=True)
class SweptPoint:
    """One point: the values of the fields, and what it came to. `key` tells it apart from all that are not equal."""

    values: tuple[Any, ...]
    key: str
    found: Measured

    def interval(self, metric: str) -> Interval:
        """The mean of a metric over the seeds, and its 95 % interval."""
        return summarize(self.found.metrics[metric], self.found.metrics.unhandled.get(metric))


@dataclass(frozen=True, repr=False)
class Sweep:
    """What a scenario comes to where some of its fields vary. All points have the same seeds.

    `fields` are the paths of what varies. `calibration` is as in a history: empty for a machine that takes no time.
    """

    scenario: Scenario
    fields: tuple[str, ...]
    seeds: tuple[int, ...]
    points: tuple[SweptPoint, ...] = field(repr=False)
    expectations: tuple[Expectation, ...] = ()
    calibration: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        return f"Sweep of {self._caption()}"

    def __str__(self) -> str:
        header, rows = self.table()
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)
        ]
        return "\n".join((self._caption(), *lines))

    def _repr_html_(self) -> str:
        return html_table(self._caption(), *self.table())

    def _caption(self) -> str:
        seeds = f"{len(self.seeds)} seed{'' if len(self.seeds) == 1 else 's'} each"
        return f"{self.scenario.name}, simulated at {len(self.points):,} points of {', '.join(self.fields)}: {seeds}"

    def table(self, metrics: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
        """A header, and a row of text for each point: its values, the means of the metrics, and what is expected."""
        shown = list(metrics) or self._shown()
        header = [
            *self.fields,
            *shown,
            *(f"{one.metric} {one.operator} {number(one.limit)}" for one in self.expectations),
        ]
        rows = []
        for point in self.points:
            means = [point.interval(name) for name in shown]
            texts = [lower_bound(number(found.mean, significant=3), found.unhandled) for found in means]
            rows.append([*map(str, point.values), *texts, *(one.outcome for one in self.judged(point))])
        return header, rows

    def _shown(self) -> list[str]:
        """The metrics that a table shows unless others are named: those of the system, and how busy services are."""
        names = self.metrics()
        expected = [own_name(one.metric, names) for one in self.expectations]
        busy = [name for name in names if name.rpartition(".")[2] == "utilisation"]
        return [name for name in dict.fromkeys((*METRICS, *expected, *busy)) if name in names]

    def metrics(self) -> list[str]:
        """The names of all metrics that the points have."""
        return list(dict.fromkeys(name for point in self.points for name in point.found.metrics))

    def known(self, metrics: Sequence[str]) -> list[str]:
        """These metrics, under the names that the sweep has them.

        Raises:
            InvalidScenario: it has no such metric.
        """
        names = self.metrics()
        check_metrics(metrics, under_all_names(dict.fromkeys(names), self.scenario))
        return list(dict.fromkeys(own_name(name, names) for name in metrics))

    def judged(self, point: SweptPoint) -> list[Judged]:
        """What is expected beside what a point came to."""
        return judge(self.expectations, point.found.metrics)

    def each_judged(self) -> Iterator[tuple[str, Judged]]:
        """Every expectation at every point, and the point in words: "services.billing.consumers=3"."""
        for point in self.points:
            for one in self.judged(point):
                yield self.in_words(point), one

    def in_words(self, point: SweptPoint) -> str:
        """Where a point is: "services.billing.consumers=3, load.rate_per_s=100"."""
        return ", ".join(f"{name}={value}" for name, value in zip(self.fields, point.values, strict=True))

    def overloads(self) -> Iterator[tuple[SweptPoint, Overload]]:
        """The points at which a service is offered more than it can do."""
        for point in self.points:
            for overload in point.found.overloads:
                yield point, overload

    def frame(self) -> "pd.DataFrame":
        """A table with a row for each point and seed: the fields, the seed, every metric.

        Beside a quantile of lag, a column with `_unhandled` in its name says where it is only a lower bound: there it
        has the share of messages that were never handled.
        """
        import pandas as pd  # not at the top: it takes half a second

        return pd.DataFrame(self._columns())

    def _columns(self) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {name: [] for name in (*self.fields, "seed")}
        for point in self.points:
            for name, value in zip(self.fields, point.values, strict=True):
                columns[name] += [value] * len(self.seeds)
            columns["seed"] += self.seeds
        nothing = np.full(len(self.seeds), np.nan)
        for metric in self.metrics():
            columns[metric] = [x for point in self.points for x in point.found.metrics.get(metric, nothing).tolist()]
        shares = dict.fromkeys(name for point in self.points for name in point.found.metrics.unhandled)
        for metric in shares:
            of_points = (point.found.metrics.unhandled.get(metric, nothing) for point in self.points)
            columns[metric + _UNHANDLED] = [x for shares in of_points for x in shares.tolist()]
        return columns

    def save(self, file: str | Path) -> None:
        """Write to one Parquet file, whole or not at all. The same sweep gives the same bytes.

        Raises:
            SweepFailed: it could not be written.
        """
        import pyarrow as pa
        from pyarrow import parquet

        about = {
            "format": FORMAT,
            "scenario": self.scenario.model_dump(mode="json", by_alias=True),
            "fields": self.fields,
            "seeds": self.seeds,
            "points": [
                {
                    "values": point.values,
                    "key": point.key,
                    "overloads": [asdict(overload) for overload in point.found.overloads],
                }
                for point in self.points
            ],
            "expectations": [asdict(one) for one in self.expectations],
            "calibration": self.calibration,
        }
        try:
            table = pa.table({name: _array(values) for name, values in self._columns().items()})
            with whole_file(file) as target:
                parquet.write_table(table.replace_schema_metadata({"sweep": json.dumps(about, default=str)}), target)
        except OSError as error:
            problem = f"cannot be written: {with_mend(error)}"
            raise SweepFailed(str(file), problem) from error

    @classmethod
    def open(cls, file: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            SweepFailed: there is no such file, or it holds no sweep of this version.
        """
        import pyarrow as pa
        from pyarrow import parquet

        made_by = "write one with `workbench sweep --out FILE`"
        try:
            table = parquet.read_table(file)
            about = parse_json((table.schema.metadata or {})[b"sweep"])
            if about["format"] != FORMAT:
                raise SweepFailed(str(file), f"has format {about['format']!r}, not {FORMAT}; {made_by}")
            fields = (*about["fields"], "seed")
            columns = {name: table[name].to_numpy() for name in table.column_names if name not in fields}
            seeds = len(about["seeds"])
            points = [
                _point(said, columns, slice(n * seeds, (n + 1) * seeds)) for n, said in enumerate(about["points"])
            ]
            return cls(
                Scenario.model_validate(about["scenario"]),
                tuple(about["fields"]),
                tuple(about["seeds"]),
                tuple(points),
                tuple(Expectation(**one) for one in about["expectations"]),
                about["calibration"],
            )
        except FileNotFoundError as error:  # what pyarrow says of it is the file's name
            raise SweepFailed(str(file), f"cannot be read: no such file; {made_by}") from error
        except (OSError, pa.ArrowException, *UNREADABLE) as error:
            raise SweepFailed(str(file), f"is no sweep ({in_words(error)}); {made_by}") from error

    def json(self) -> dict[str, Any]:
        """The sweep for machines: each point with its metrics, what was expected, and what was overloaded."""
        return {
            "scenario": self.scenario.name,
            "fields": list(self.fields),
            "seeds": list(self.seeds),
            "calibration": self.calibration,
            "points": [self._point_json(point) for point in self.points],
        }

    def _point_json(self, point: SweptPoint) -> dict[str, Any]:
        summaries = {name: point.interval(name) for name in point.found.metrics}
        return {
            "values": dict(zip(self.fields, point.values, strict=True)),
            "metrics": {name: interval_json(name, found) for name, found in summaries.items()},
            "expectations": judged_json(self.judged(point)),
            "overloads": [asdict(overload) for overload in point.found.overloads],
        }


def _array(values: list[Any]) -> Any:
    """Values of one type as they are; of several types, as texts."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError):
        return pa.array([str(value) for value in values])


def _point(said: dict[str, Any], columns: dict[str, Any], of: slice) -> SweptPoint:
    metrics = {name: values[of] for name, values in columns.items() if not name.endswith(_UNHANDLED)}
    unhandled = {
        name.removesuffix(_UNHANDLED): values[of] for name, values in columns.items() if name.endswith(_UNHANDLED)
    }
    overloads = tuple(Overload(**one) for one in said["overloads"])
    return SweptPoint(tuple(said["values"]), said["key"], Measured(Metrics(metrics, unhandled), overloads))
