"""What the simulator's commands show in a terminal: progress, tables of metrics, verdicts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from eventlib.cli.terminal import err, one_line, out, print_table
from sim.calibration import Calibration
from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.declare.traces import Trace
from sim.declare.traces.summary import TraceSummary, rate_over_time
from sim.declare.traces.tables import Seen
from sim.errors import InvalidTrace
from sim.evidence.capacity import Overload
from sim.evidence.checks import Check, Verdict
from sim.evidence.expectations import Judged, Outcome
from sim.evidence.history import History
from sim.evidence.metrics import Interval, is_predicted, unit_of
from sim.infer.compare import Comparison, Row
from sim.infer.fidelity import Fidelity
from sim.infer.kept import KeptComparison
from sim.infer.kept import cells as kept_cells
from sim.infer.planned import CapacityPlan
from sim.infer.prediction import Prediction
from sim.infer.swept import Sweep
from sim.show.wording import counted, percent, replications, seeds, warm_up_in_words
from sim.timings import STEPS
from sim.wording import lower_bound, number, quantity, share_unhandled

_FAULTS_MAX = 20  # more are not listed
_STYLES: dict[str, str] = {
    "true": "green",
    "false": "bold red",
    "unknown": "yellow",
    "not built": "dim",
}
STATES: dict[Outcome, Verdict] = {"holds": "true", "fails": "false", "cannot tell": "unknown"}


_BARS = "\N{LOWER ONE EIGHTH BLOCK}\N{LOWER ONE QUARTER BLOCK}\N{LOWER THREE EIGHTHS BLOCK}\N{LOWER HALF BLOCK}"
_BARS += "\N{LOWER FIVE EIGHTHS BLOCK}\N{LOWER THREE QUARTERS BLOCK}\N{LOWER SEVEN EIGHTHS BLOCK}\N{FULL BLOCK}"


@contextmanager
def steps() -> Iterator[Callable[[str, float], None]]:
    """Progress bars. Call what it yields with a step and the share of it that is done; each new step gets a bar."""
    bar_width = 40 if err.width > 100 else 16
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width),
        TextColumn("{task.percentage:>3.0f} %", markup=False),
        TimeElapsedColumn(),
    )
    name_width = max(8, err.width - bar_width - len(" 100 % 0:00:00") - 2)
    with Progress(*columns, console=err) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(step: str, share: float) -> None:
            if step not in tasks:
                complete_all()
                tasks[step] = bars.add_task(_shortened(step, name_width), total=1.0)
            bars.update(tasks[step], completed=share)

        def complete_all() -> None:
            for task in tasks.values():
                bars.update(task, completed=1.0)

        yield advance
        complete_all()


@contextmanager
def progress(step: str) -> Iterator[Callable[[float], None]]:
    """The progress bar of a single step."""
    with steps() as advance:
        yield partial(advance, step)


def print_metrics(history: History, summaries: Mapping[str, Interval]) -> None:
    """The metrics of one world with their intervals."""
    out.tell(f"{one_line(history.scenario.name)}, {history.world}, runs: {len(history.runs)}")
    if note := warm_up_in_words(history):
        out.tell(f"{note}.")
    columns = {
        "metric": list(summaries),
        "mean": [_bound(found.mean, found) for found in summaries.values()],
        "95 % interval": [_interval(found) for found in summaries.values()],
        "unit": [unit_of(name) for name in summaries],
    }
    print_table(columns, folded=["metric"], numbers=[*columns][1:], spare=["unit"])


def print_faults(scenario: Scenario) -> None:
    """What was made to go wrong, a line each."""
    for fault in scenario.faults[:_FAULTS_MAX]:
        out.tell(f"Fault: {one_line(fault.in_words(scenario))}")
    if (more := len(scenario.faults) - _FAULTS_MAX) > 0:
        out.tell(f"and {more:,} faults more")


def print_prediction(found: Prediction) -> None:
    """What is predicted, and its hash."""
    runs = f"{found.replications} replications of {seeds(found.seeds)}"
    out.tell(f"{one_line(found.scenario.name)}, predicted {found.made} from {runs}")
    columns = dict(zip(found.HEADER, map(list, zip(*found.rows(), strict=True)), strict=True))
    print_table(columns, folded=["metric"], numbers=[*columns][1:3], spare=["unit"])
    out.tell(f"SHA-256 {found.sha256}")


def print_comparison(comparison: Comparison) -> None:
    """The metrics of both worlds: first the relative error, which is judged, with the error bar that noise gives it.

    The floor is how far two live runs are apart; the baselines say how far they are off.
    """
    name, runs = one_line(comparison.live.scenario.name), comparison.headline.live_runs
    out.tell(f"{name} on {comparison.live.server}: both worlds on {seeds(comparison.seeds)}, n = {runs} live runs")
    made, digest = comparison.prediction.made, comparison.prediction.sha256
    out.tell(f"Predicted {made}, SHA-256 {digest[:16]}...; run {comparison.live.environment.get('date', 'later')}")
    if comparison.drift is not None and not comparison.drift.as_timed:
        out.tell(comparison.drift.in_words)
    rows, judged = comparison.rows, f"within {percent(comparison.tolerance)}?"
    baselines = sorted({name for row in rows for name in row.baselines})
    columns = {
        "metric": [row.metric for row in rows],
        "error": [percent(row.relative_error, signed=True) for row in rows],
        "noise": [_noise(row.relative_noise) for row in rows],
        "simulated": [_bound(row.simulated, row.simulated_interval) for row in rows],
        "live": [_bound(row.live, row.live_interval) for row in rows],
        judged: [row.in_words if is_predicted(row.metric) else "" for row in rows],
        "floor": [percent(row.relative_floor) for row in rows],
        "predicted for 95 in 100 runs": [_interval(row.simulated_interval) for row in rows],
        **{name: [_baseline(row, name) for row in rows] for name in baselines},
    }
    spare = ["predicted for 95 in 100 runs", *baselines, "floor", "simulated", "live"]
    print_table(columns, folded=["metric"], numbers=[*columns][1:5], spare=spare)


def print_calibration(calibration: Calibration) -> None:
    """What each step took, and the processor's time."""
    values = calibration.values()
    columns = {
        "step": list(STEPS),
        "median": [_number(values.get(f"{step}_p50", np.nan)) for step in STEPS],
        "mean": [_number(values[step]) for step in STEPS],
        "p99": [_number(values.get(f"{step}_p99", np.nan)) for step in STEPS],
        "unit": ["s"] * len(STEPS),
        "what": list(STEPS.values()),
    }
    print_table(columns, folded=["what"], numbers=[*columns][1:4], spare=["what"])
    cpu = ", ".join(f"{name} {quantity(value, 's')}" for name, value in values.items() if "_cpu_" in name)
    out.tell(f"Processor time: {cpu}")
    wrong = percent(np.expm1(calibration.discrepancy))
    out.tell(f"What the machine adds is simulated to about {wrong} of what was measured; intervals allow for it.")
    if calibration.was_busy:
        late = quantity(values["lateness_s_p99"], "s")
        out.tell(f"Note: the machine was busy: the load was sent up to {late} late (p99). Measure on a quieter one.")


def print_kept(found: KeptComparison) -> None:
    """Two kept histories: what is different about how they were made, and what moved."""
    for when, history in (("Before", found.before), ("After", found.after)):
        made = f", {history.environment['date']}" if "date" in history.environment else ""
        runs = replications(history)
        out.tell(f"{when}: {one_line(history.scenario.name)}, {history.world}, {history.server}{made}: {runs}")
    for difference in found.differences:
        out.tell(one_line(difference))
    names = ("metric", "before", "after", "change", "95 % interval", "unit", "verdict")
    columns = dict(zip(names, map(list, zip(*map(kept_cells, found.rows), strict=True)), strict=True))
    print_table(columns, folded=["metric"], numbers=[*columns][1:5], spare=["unit", "before", "after"])


def print_sweep(found: Sweep, metrics: Sequence[str] = ()) -> None:
    """The points of a sweep with their means, what is expected of them, and where a service is overloaded."""
    runs = f"{len(found)} points, {seeds(found.seeds)} at each"
    out.tell(f"{one_line(found.scenario.name)}, simulated: {runs}")
    header, rows = found.table(metrics)
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    expected = header[len(header) - len(found.expectations) :]
    folded = [*found.fields, *expected]
    print_table(columns, folded=folded, numbers=[name for name in header if name not in expected])
    for point, overload in found.overloads():
        out.tell(one_line(f"Note: at {found.in_words(point)}, {overload.in_words()}."))


def print_plan(found: CapacityPlan) -> None:
    """The answer, what stands behind it, and the curve."""
    for line in found.lines():
        out.tell(one_line(line))
    header, rows = found.table()
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    expected = header[len(header) - len(found.expectations) :]
    print_table(columns, folded=[found.field, *expected], numbers=[name for name in header if name not in expected])


def print_fidelity(found: Fidelity) -> None:
    """How many scenarios reach each goal; the errors and floors of each; and the baselines."""
    for title, header, rows in found.tables():
        out.tell(title)
        columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
        print_table(columns, folded=[header[0]], numbers=header[1:])


def print_checks(checks: Iterable[Check]) -> None:
    """One line for each check: its verdict, what it claims and what was found."""
    for check in checks:
        tell_verdict(check.verdict, f"{check.claim}: {check.detail}")


def print_overloads(overloaded: Iterable[Overload]) -> None:
    """A line for each service that was offered more than it can do."""
    for overload in overloaded:
        out.tell(f"Note: {one_line(overload.in_words())}.")


def print_judged(judged: Iterable[Judged], world: str = "") -> None:
    """One line for each expectation: whether it holds, and the number that says so. `world` is where it was found."""
    for one in judged:
        where = f"{world}: " if world else ""
        out.tell(
            (f"{one.verdict} ".ljust(8), _STYLES[STATES[one.outcome]]), one_line(f"{where}{one.expected}: {one.found}")
        )


def print_notes(scenario: Scenario) -> None:
    """A line for each thing that was done to the recording which a scenario replays."""
    with suppress(InvalidTrace):  # a history may be shown where its trace is not
        for note in scenario.offered_load.notes():
            out.tell(f"Note: {one_line(note)}.")


def print_trace(seen: Sequence[Seen], columns: Mapping[str, str], trace: Trace, found: TraceSummary) -> None:
    """A trace's columns, its rate over time, its gaps and its burstiness."""
    read_as = {column: name for name, column in columns.items()}
    cells: dict[str, list[str]] = {
        "column": [one.name for one in seen],
        "has": [one.has for one in seen],
        "first": [_shortened(one.first, 32) for one in seen],
        "lowest": [_number(one.low) for one in seen],
        "highest": [_number(one.high) for one in seen],
        "read as": [read_as.get(one.name, "") for one in seen],
    }
    print_table(cells, folded=["column"], numbers=["lowest", "highest"], spare=["first"])
    begun = (
        f" from {datetime.fromtimestamp(trace.began_s, UTC):%Y-%m-%d %H:%M:%S} UTC on" if trace.began_s > 1e8 else ""
    )
    if found.rows == 1 or not found.length_s:
        out.tell(
            f"{counted(found.rows, 'row').capitalize()} at one moment{begun}: there is no rate, and there are no gaps."
        )
        return
    rate = quantity(found.rate_per_s, "1/s")
    out.tell(f"{found.rows:,} rows in {quantity(found.length_s, 's')}{begun}: {rate} on average.")
    edges_s, rates_per_s = rate_over_time(trace, 60)
    low, high = (quantity(float(of), "1/s") for of in (rates_per_s.min(), rates_per_s.max()))
    out.tell(f"Rate  {_bars(rates_per_s)}  {low} to {high} in parts of {quantity(float(edges_s[1]), 's')}")
    p50, p99, longest = (quantity(of, "s") for of in (found.gap_s_p50, found.gap_s_p99, found.gap_s_max))
    at = quantity(found.gap_max_at_s, "s")
    out.tell(f"Gaps  median {p50}, p99 {p99}; the longest is {longest}, {at} after the first row.")
    out.tell(f"CV of gaps  {_number(found.cv)}; rows that are independent of each other have 1.")
    if found.dispersion:
        windows = ", ".join(f"{_number(of)} in {quantity(window, 's')}" for window, of in found.dispersion.items())
        out.tell(f"Index of dispersion  {windows}; independent rows at one rate have 1.")
    if trace.unsorted:
        out.tell(f"Note: {trace.unsorted:,} rows were recorded after a later one, and were put in order.")


def _bars(values: Floats) -> str:
    """Numbers as bars of eight heights, from 0 on. Nothing is shown where the number is 0."""
    heights = np.ceil(values / values.max() * len(_BARS)).astype(int)
    return "".join(_BARS[height - 1] if height else " " for height in heights)


def tell_verdict(verdict: str, text: str) -> None:
    """A line that begins with a verdict."""
    out.tell((f"{verdict:8} "[: max(8, len(verdict) + 1)], _STYLES[verdict]), one_line(text))


def _shortened(text: str, width: int) -> str:
    """The text on one line of so many columns: numbers beside it must not be cut."""
    text = one_line(text)
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "\u2026"


def _interval(found: Interval) -> str:
    if found.unhandled:
        return share_unhandled(found.unhandled)
    return f"{_number(found.low)} to {_number(found.high)}" if np.isfinite(found.low) else ""


def _baseline(row: Row, name: str) -> str:
    """How far a baseline is off, as a share of the live value."""
    distance = row.baselines.get(name, np.nan)
    return percent(distance / abs(row.live)) if row.live and is_predicted(row.metric) else "-"


def _noise(relative: float) -> str:
    return "\N{PLUS-MINUS SIGN}" + percent(relative) if np.isfinite(relative) else "-"


def _bound(value: float, interval: Interval) -> str:
    return lower_bound(_number(value), interval.unhandled)


def _number(value: float) -> str:
    return number(value, significant=3)
