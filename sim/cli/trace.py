"""workbench trace: what a recorded trace has, and the scenario to start from."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eventlib.cli.console import Json, commands, ending, keep_and_show, keep_apart, writable, write_json
from eventlib.cli.terminal import one_line, out
from eventlib.whole_files import write_whole

if TYPE_CHECKING:  # the help appears without them
    from sim.declare.traces import Trace, TraceFormat
    from sim.declare.traces.summary import TraceSummary
    from sim.declare.traces.tables import Seen

_EXAMPLE = "`workbench trace inspect calls.csv.gz --out mine.yaml`"

app = commands("trace", "Look at a recorded trace, and write the scenario that replays it.", _EXAMPLE)


@app.callback()
def trace() -> None:
    """Look at a recorded trace, and write the scenario that replays it."""


@app.command("inspect", epilog=ending(_EXAMPLE))
def inspect_command(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file, as it is or packed by gzip.", metavar="FILE")],
    at: Annotated[str | None, typer.Option(help="The column of the times; else it is guessed.")] = None,
    work: Annotated[str | None, typer.Option(help="A column of numbers that the work follows; else guessed.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="What is between two values of a CSV; else found.")] = None,
    unit: Annotated[
        Literal["s", "ms", "us", "ns"] | None, typer.Option(help="What times that are numbers count; else found.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--out", help="Write the scenario to start from here.", callback=writable, metavar="FILE"),
    ] = None,
    json_file: Json = None,
) -> None:
    """Show the columns of a trace, its rate over time, its gaps and how bursty it is."""
    from sim.declare.traces import TraceFormat, open_trace, read_trace
    from sim.declare.traces.summary import rate_over_time, summarize
    from sim.show.console import print_trace, progress

    keep_apart([file], output, json_file)
    if delimiter is not None and len(delimiter) != 1:
        raise typer.BadParameter("--delimiter is one character, such as ';'")
    with progress(f"reading {file.name}") as advance:
        advance(0.0)
        table = open_trace(file, delimiter)
        seen = table.look()
        advance(0.5)
        columns = _columns(file, seen, at, work)
        form = TraceFormat(tuple(columns.items()), delimiter, unit)
        found = read_trace(file, form)
    summary = summarize(found)
    edges_s, rates_per_s = rate_over_time(found, 60)
    about: dict[str, Any] = {"file": str(file), "delimiter": table.delimiter, "columns": columns}
    about |= {"seen": [asdict(one) for one in seen], "began_s": found.began_s, "unsorted": found.unsorted}
    about |= {"summary": asdict(summary) | {"dispersion": {f"{key:g}": of for key, of in summary.dispersion.items()}}}
    about |= {"rate": {"edges_s": edges_s.tolist(), "per_s": rates_per_s.tolist()}}
    scenario = _scenario(file, output, columns, form, found, summary) if output is not None else ""
    keep_and_show(
        lambda: print_trace(seen, columns, found, summary),
        lambda: write_whole(output, scenario) if output is not None else None,
        lambda: write_json(json_file, about),
    )
    if output is not None:
        out.tell(one_line(f"The scenario is {output}; set its service_time and consumers, then simulate it."))


def _columns(file: Path, seen: "list[Seen]", at: str | None, work: str | None) -> dict[str, str]:
    """Which columns are read, by what a declaration calls them."""
    from sim.declare.traces import AT
    from sim.declare.traces.summary import likely_columns
    from sim.errors import InvalidTrace

    columns = likely_columns(seen)
    if at is not None:
        columns = {name: column for name, column in columns.items() if column != at} | {AT: at}
    if work is not None:
        columns["work"] = work
    if AT not in columns:
        listed = ", ".join(one.name for one in seen)
        raise InvalidTrace(str(file), f"no column looks like times; name it by --at: {listed}")
    return columns


def _scenario(
    file: Path,
    output: Path,
    columns: dict[str, str],
    form: "TraceFormat",
    found: "Trace",
    summary: "TraceSummary",
) -> str:
    """The scenario to start from: it replays the trace, and one consumer is half busy with it."""
    from sim.declare.traces import KNOWN

    beside = file.absolute().parent == output.absolute().parent
    load = {"kind": "trace", "event": "request.received", "file": file.name if beside else str(file.absolute())}
    lines = [f"  {key}: {json.dumps(value)}" for key, value in load.items()]
    if columns != KNOWN:
        inner = ", ".join(f"{name}: {json.dumps(column)}" for name, column in columns.items())
        lines.append(f"  columns: {{{inner}}}")
    lines += [
        f"  {key}: {json.dumps(value)}"
        for key, value in (("delimiter", form.delimiter), ("unit", form.unit))
        if value is not None
    ]
    mean_s = 0.5 / summary.rate_per_s if math.isfinite(summary.rate_per_s) else 0.01
    mean_work = float(found.numbers["work"].mean()) if "work" in found.numbers else 0.0
    if mean_work:
        time = f"{{kind: linear, base_s: {mean_s / 2:.3g}, per_unit_s: {mean_s / 2 / mean_work:.3g}}}"
        why = "base_s + per_unit_s x work"
    else:
        time, why = f"{{kind: exponential, mean_s: {mean_s:.3g}}}", "mean_s on average"
    return "\n".join(
        (
            f"# {summary.rows:,} rows in {summary.length_s:,.6g} s; burstiness: CV of gaps {summary.cv:.3g}.",
            f"name: {json.dumps(file.name.partition('.')[0] or 'trace')}",
            "load:",
            *lines,
            "services:",
            "  worker:",
            "    consumes: request.received",
            "    consumers: 1",
            f"    # Say here what a message costs: {why}. As it is, one consumer is busy half of the time.",
            f"    service_time: {time}",
            "",
        )
    )
