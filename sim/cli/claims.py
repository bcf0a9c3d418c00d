"""workbench claims: every statement of the reference document, measured on this machine."""

import sys
from typing import Annotated

import typer

from eventlib.cli.console import FAILED, INTERRUPTED, Json, ending, keep_and_show, keep_apart, write_json
from eventlib.cli.terminal import err, out
from eventlib.whole_files import write_whole
from sim.cli.options import Junit, Markdown, Url

app = typer.Typer()


@app.command("claims", epilog=ending("`workbench claims --only 'S9,performance' --junit claims.xml`"))
def claims_command(
    only: Annotated[
        str | None,
        typer.Option(
            help="Which claims: numbers (S9, 'S1?'), themes or words of a sentence, set apart by commas.",
            metavar="PATTERN",
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full/--fast", help="Take more samples: about three times as long, narrower intervals.")
    ] = False,
    url: Url = None,
    junit: Junit = None,
    markdown: Markdown = None,
    json_file: Json = None,
) -> None:
    """Measure what the reference document says of the system: 58 claims, true, false, unknown or not built.

    Each is found out here and now, on a real Redis. Ctrl-C shows what was measured until then. The exit status is 1
    where a claim is false.
    """
    from sim.claims.registry import all_claims
    from sim.claims.runner import chosen, measure
    from sim.cli.expecting import summary_of_job
    from sim.environment import about_json
    from sim.show.claims import claims_junit, claims_markdown, print_claim_rows
    from sim.show.console import steps
    from sim.show.provenance import exact_command
    from sim.worlds.live import server_at

    keep_apart((), json_file, junit, markdown)
    claims = chosen(all_claims(), only)
    with server_at(url) as address, steps() as advance:
        measured = measure(claims, address, full=full, progress=advance)
    about = about_json() | {"command": exact_command(sys.argv[1:])}
    keep_and_show(
        lambda: print_claim_rows(measured),
        lambda: write_json(json_file, about | measured.as_json()),
        lambda: write_whole(junit, claims_junit(measured)) if junit is not None else None,
        lambda: write_whole(markdown, claims_markdown(measured)) if markdown is not None else None,
        lambda: summary_of_job(claims_markdown(measured)),
    )
    out.tell(f"{measured.in_words}.")
    if measured.partial:
        err.tell("Interrupted. Nothing was left running.")
        raise typer.Exit(INTERRUPTED)
    if measured.of("false"):
        raise typer.Exit(FAILED)
