"""workbench report: scenarios in both worlds, and the claims about the library, on one HTML page."""

import asyncio
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventlib.cli.console import Json, ending, keep_and_show, keep_apart, writable, write_json
from eventlib.cli.terminal import out
from eventlib.whole_files import write_whole
from sim.cli.options import Sample, Tolerance, Url
from sim.errors import InvalidPrediction, InvalidScenario

if TYPE_CHECKING:  # the help appears without it
    from sim.infer.validate import Validation

app = typer.Typer()

_NAMES = ("quickstart", "llm-trace", "priorities", "tenants", "fan-out", "request-reply", "saga")
_SHIPPED = tuple(f"data/scenarios/{name}.yaml" for name in _NAMES)
_SAMPLED = "{} ran on the shipped sample, not on the real trace; the workbench's data/README.md says how to fetch it"


@app.command("report", epilog=ending("`workbench report --sample-if-missing --output reports/validation.html`"))
def report_command(
    scenarios: Annotated[list[Path] | None, typer.Argument(help="Scenarios; the shipped ones by default.")] = None,
    output: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("reports/validation.html"),
    tolerance: Tolerance = 0.1,
    url: Url = None,
    json_file: Json = None,
    sample: Sample = False,
    fidelity: Annotated[
        Path | None, typer.Option(help="What `fidelity --json` wrote; fidelity.json beside the report by default.")
    ] = None,
) -> None:
    """Run the scenarios in both worlds and write the validation report."""
    from sim.cli.conclusion import end
    from sim.cli.shipped import shipped
    from sim.declare.scenario import Scenario
    from sim.environment import about_json, environment
    from sim.infer.compare import comparison_json
    from sim.infer.validate import validate
    from sim.show.console import steps
    from sim.show.provenance import exact_command, provenance
    from sim.show.report import render
    from sim.worlds.live import server_at

    output.parent.mkdir(parents=True, exist_ok=True)
    writable(output)
    tried = _read_fidelity(fidelity, output.parent / "fidelity.json")
    files = scenarios or [shipped() / name for name in _SHIPPED]
    declared = [Scenario.load(file, sample_if_missing=sample) for file in files]
    _refuse_one_name([one.name for one in declared], files)
    keep_apart([*files, *(file for one in declared for file in one.files)], json_file, output)
    with server_at(url) as address, steps() as advance:
        result = asyncio.run(validate(declared, tolerance=tolerance, url=address, progress=advance))
        advance("writing the report", 0.0)
        notes = [_SAMPLED.format(one.name) for one in declared if one.offered_load.sampled]
        notes += [note for one in declared for note in one.offered_load.notes()]
        command = exact_command(sys.argv[1:])
        about = provenance() | environment(result.server)
        page = render(
            result.comparisons, result.claims, command=command, notes=notes, environment=about, fidelity=tried
        )
    told = {"command": command, "notes": notes, "claims": [asdict(claim) for claim in result.claims]}
    told |= {"scenarios": list(map(comparison_json, result.comparisons))}
    keep_and_show(
        partial(_show, result, notes),
        partial(write_whole, output, page, errors="xmlcharrefreplace"),  # bytes of a path may be no text
        lambda: write_json(json_file, about_json() | told),
    )
    out.tell(f"The report is {output}")
    end([check for one in result.comparisons for check in one.checks], result.comparisons, result.claims)


def _show(result: "Validation", notes: list[str]) -> None:
    from sim.show.console import print_checks, print_claims, print_comparison, print_overloads

    for note in notes:
        out.tell(f"Note: {note}.")
    for comparison in result.comparisons:
        print_comparison(comparison)
        print_checks(comparison.checks)
        print_overloads(comparison.live)
    print_claims(result.claims)


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
    except (OSError, *UNREADABLE) as error:
        problem = "is not what `workbench fidelity --json` writes; run it again, or name another file with --fidelity"
        raise InvalidPrediction(str(file), problem) from error
    return found


def _refuse_one_name(names: list[str], files: list[Path]) -> None:
    """The page and the table name a scenario by its name alone."""
    for index, name in enumerate(names):
        if (first := names.index(name)) < index:
            problem = f"name: {files[first]} is called {name!r} too; give each scenario of a report a name of its own"
            raise InvalidScenario(str(files[index]), problem)
