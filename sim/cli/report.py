"""workbench report: scenarios in both worlds, and every claim about the system, on one HTML page."""

import asyncio
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventlib.cli.console import INTERRUPTED, Json, ending, keep_and_show, keep_apart, writable, write_json
from eventlib.cli.terminal import err, out
from eventlib.system_errors import with_mend, with_place
from eventlib.whole_files import write_whole
from sim.cli.options import Junit, Markdown, Sample, Tolerance, Url
from sim.errors import InvalidPrediction, InvalidScenario

if TYPE_CHECKING:  # the help appears without them
    from sim.declare.scenario import Scenario
    from sim.evidence.claims import Measured
    from sim.evidence.claims import Row as ClaimRow
    from sim.infer.compare import Comparison
    from sim.infer.trends import Trend

app = typer.Typer()

_FAST = ("quickstart", "llm-trace")
_FULL = (*_FAST, "fan-out", "priorities", "tenants", "request-reply", "saga")
_SAMPLED = "{} ran on the shipped sample, not on the real trace; the workbench's data/README.md says how to fetch it"


@app.command("report", epilog=ending("`workbench report --sample-if-missing --output reports/validation.html`"))
def report_command(
    scenarios: Annotated[list[Path] | None, typer.Argument(help="Scenarios; by default some shipped ones.")] = None,
    output: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("reports/validation.html"),
    full: Annotated[
        bool,
        typer.Option("--full/--fast", help="Seven scenarios instead of two, and more samples for each claim."),
    ] = False,
    claims: Annotated[bool, typer.Option(help="Measure the claims of `workbench claims` too.")] = True,
    tolerance: Tolerance = 0.1,
    url: Url = None,
    json_file: Json = None,
    junit: Junit = None,
    markdown: Markdown = None,
    sample: Sample = False,
    fidelity: Annotated[
        Path | None, typer.Option(help="What `fidelity --json` wrote; fidelity.json beside the report by default.")
    ] = None,
) -> None:
    """Run the scenarios in both worlds and write the validation report.

    Ctrl-C writes a report of what was measured until then, and says that it is partial.
    """
    from sim.cli.conclusion import end
    from sim.cli.shipped import shipped
    from sim.declare.scenario import Scenario

    import_module("sim.show.report")  # what it needs is missed before anything is measured
    output.parent.mkdir(parents=True, exist_ok=True)
    writable(output)
    tried = _read_fidelity(fidelity, output.parent / "fidelity.json")
    names = _FULL if full else _FAST
    files = scenarios or [shipped() / f"data/scenarios/{name}.yaml" for name in names]
    declared = [Scenario.load(file, sample_if_missing=sample) for file in files]
    _refuse_one_name([one.name for one in declared], files)
    keep_apart([*files, *(file for one in declared for file in one.files)], json_file, output, junit, markdown)
    comparisons, measured, partial_of = _measure(declared, url, tolerance, full=full, claims=claims)
    if not comparisons:
        raise KeyboardInterrupt
    notes = [_SAMPLED.format(one.name) for one in declared if one.offered_load.sampled]
    notes += [note for one in declared for note in one.offered_load.notes()]
    history = None if partial_of else output.parent / "history.parquet"
    _write(comparisons, measured, [*partial_of, *notes], output, history, json_file, junit, markdown, tried)
    out.tell(f"The report is {output}")
    if partial_of:
        err.tell("Interrupted. Nothing was left running.")
        raise typer.Exit(INTERRUPTED)
    rows = measured.rows if measured is not None else ()
    end([check for one in comparisons for check in one.checks], comparisons, rows)


def _measure(
    declared: "Sequence[Scenario]", url: str | None, tolerance: float, *, full: bool, claims: bool
) -> "tuple[list[Comparison], Measured | None, list[str]]":
    """The comparisons, the claims, and where Ctrl-C ended it early, a note about that."""
    from sim.claims.registry import all_claims
    from sim.claims.runner import measure
    from sim.infer.validate import validate
    from sim.show.console import steps
    from sim.worlds.live import server_at

    comparisons: list[Comparison] = []

    async def compare_all() -> None:
        seeds = 2 if full else 1
        async for one in validate(declared, seeds=seeds, tolerance=tolerance, url=address, progress=advance):
            comparisons.append(one)

    with server_at(url) as address, steps() as advance:
        try:
            asyncio.run(compare_all())
        except KeyboardInterrupt:
            note = f"partial: interrupted after {len(comparisons)} of {len(declared)} scenarios; no claim was measured"
            return comparisons, None, [note]
        if not claims:
            return comparisons, None, []
        measured = measure(all_claims(), address, full=full, progress=advance)
    partial_of = [f"partial: interrupted after {len(measured.rows)} of {measured.total} claims"]
    return comparisons, measured, partial_of if measured.partial else []


def _write(
    comparisons: "Sequence[Comparison]",
    measured: "Measured | None",
    notes: list[str],
    output: Path,
    history: Path | None,
    json_file: Path | None,
    junit: Path | None,
    markdown: Path | None,
    tried: dict[str, Any] | None,
) -> None:
    """Write the report in every form that is asked for, and show it."""
    from sim.cli.expecting import summary_of_job
    from sim.environment import about_json, environment
    from sim.infer.compare import comparison_json
    from sim.show.claims import report_junit, report_markdown
    from sim.show.console import progress
    from sim.show.provenance import exact_command, provenance
    from sim.show.report import render

    command = exact_command(sys.argv[1:])
    rows = measured.rows if measured is not None else ()
    about = provenance() | environment(comparisons[0].live.server)
    trends = [] if history is None else _kept(history, comparisons, rows, about)
    with progress("writing the report"):
        page = render(comparisons, rows, command=command, notes=notes, environment=about, fidelity=tried, trends=trends)
    told = {
        "command": command,
        "notes": notes,
        "claims": measured.as_json() if measured is not None else None,
        "scenarios": [comparison_json(comparison) for comparison in comparisons],
    }
    text = report_markdown(comparisons, measured, notes)
    keep_and_show(
        partial(_show, comparisons, measured, notes),
        partial(write_whole, output, page, errors="xmlcharrefreplace"),  # bytes of a path may be no text
        lambda: write_json(json_file, about_json() | told),
        lambda: write_whole(junit, report_junit(comparisons, measured)) if junit is not None else None,
        lambda: write_whole(markdown, text) if markdown is not None else None,
        lambda: summary_of_job(text),
    )


def _kept(
    file: Path, comparisons: "Sequence[Comparison]", rows: "Sequence[ClaimRow]", about: dict[str, str]
) -> "list[Trend]":
    """Keep the numbers of this report beside it. Returns how they stand to those of this machine's reports before."""
    from sim.environment import now
    from sim.infer.trends import InvalidTrends, Trends, numbers_of

    machine = f"{about['host']}, {about['CPUs']} CPUs, {about['server']}"
    try:
        kept = Trends.keep(file, now(), about["commit"], machine, numbers_of(comparisons, rows))
    except (InvalidTrends, OSError) as error:
        problem = with_place(error) if isinstance(error, OSError) else error
        out.tell(f"Note: the report is not kept for trends: {problem}.")
        return []
    return kept.of(machine)


def _show(comparisons: "Sequence[Comparison]", measured: "Measured | None", notes: list[str]) -> None:
    from sim.evidence.capacity import overloads
    from sim.show.claims import print_claim_rows
    from sim.show.console import print_checks, print_comparison, print_overloads

    for note in notes:
        out.tell(f"Note: {note}.")
    for comparison in comparisons:
        print_comparison(comparison)
        print_checks(comparison.checks)
        print_overloads(overloads(comparison.live))
    if measured is not None:
        print_claim_rows(measured)


def _read_fidelity(named: Path | None, usual: Path) -> dict[str, Any] | None:
    """What `workbench fidelity --json` wrote, where it is named or lies in its usual place.

    Raises:
        InvalidPrediction: the file that is named, or lies there, is something else.
    """
    from sim.reading import UNREADABLE, read_json

    file = named or usual
    if named is None and not usual.exists():
        return None
    try:
        found: dict[str, Any] = read_json(file)
        _ = [found["date"], *(one["prediction"]["sha256"] for one in found["scenarios"].values())]
        _ = [[table["title"], table["header"], *table["rows"]] for table in found["tables"]]
    except OSError as error:
        raise InvalidPrediction(str(file), f"cannot be read: {with_mend(error)}") from error
    except UNREADABLE as error:
        problem = "is not what `workbench fidelity --json` writes; run it again, or name another file with --fidelity"
        raise InvalidPrediction(str(file), problem) from error
    return found


def _refuse_one_name(names: list[str], files: list[Path]) -> None:
    """The page and the table name a scenario by its name alone."""
    for index, name in enumerate(names):
        if (first := names.index(name)) < index:
            problem = f"name: {files[first]} is called {name!r} too; give each scenario of a report a name of its own"
            raise InvalidScenario(str(files[index]), problem)
