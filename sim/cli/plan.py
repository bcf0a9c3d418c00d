"""workbench plan: how many consumers are enough."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from eventlib.cli.console import FAILED, INVALID, Json, ending, keep_and_show, write_json
from sim.cli.options import Expect, Junit, MachineFile, Markdown, Sample, ScenarioFile, Url, Vary, Workers

if TYPE_CHECKING:  # the help appears without it
    from sim.infer.planned import CapacityPlan

app = typer.Typer()

_EXAMPLE = "`workbench plan data/scenarios/how-many-consumers.yaml --vary services.drafter.consumers=1..32 --down 1`"
_HELD = 0.9  # the share of live runs that must hold: it was predicted for their mean, not for each of them


PlanSeeds = Annotated[
    int,
    typer.Option(
        help="Seeds at the values that decide. First 5 are tried, and four times as many where these cannot tell.",
        min=3,
    ),
]
Live = Annotated[
    bool,
    typer.Option(
        "--live",
        help="Also run the answer, and the next cheaper one, on a real Redis. Without --calibration, the machine is "
        "timed first: what it takes belongs to the prediction.",
    ),
]


@app.command("plan", epilog=ending(_EXAMPLE))
def plan_command(
    scenario: ScenarioFile,
    vary: Vary,
    expect: Expect = None,
    down: Annotated[
        int, typer.Option(help="So many of the consumers are down from the start, and are not replaced.", min=0)
    ] = 0,
    seeds: PlanSeeds = 20,
    live: Live = False,
    live_runs: Annotated[int, typer.Option(help="With --live, how often each of them runs.", min=1, max=1000)] = 3,
    cost: Annotated[float | None, typer.Option(help="What a consumer costs an hour, in any currency.", min=0.0)] = None,
    workers: Workers = None,
    calibration_file: MachineFile = None,
    url: Url = None,
    json_file: Json = None,
    junit: Junit = None,
    markdown: Markdown = None,
    sample: Sample = False,
) -> None:
    """Find the smallest number, of consumers say, with which what is expected holds.

    The answer comes first, as a sentence: the number and its interval, what the next cheaper one breaks, and what
    limits it. Status 1 is that no number holds, or that the answer did not hold in nine of ten live runs.
    """
    from sim.cli.expecting import Expected
    from sim.cli.predicting import declared_in
    from sim.cli.varying import machine_in, varied
    from sim.environment import about_json
    from sim.infer.planning import plan
    from sim.show.console import print_plan, progress

    declared = declared_in(scenario, (calibration_file,), json_file, junit, markdown, sample_if_missing=sample)
    expected = Expected.of(declared, expect, junit, markdown)
    fields = varied(vary)
    machine = machine_in(calibration_file, url, runs_here=live)
    with progress(f"planning {declared.name}") as advance:
        found = plan(
            declared,
            fields,
            expect=expect or (),
            down=down,
            seeds=seeds,
            calibration=machine,
            cost_per_hour=cost,
            workers=workers,
            progress=advance,
        )
    if live and found.smallest is not None:
        found = _checked_live(found, live_runs, url)
    answer = found.smallest or found.tried[-1]
    places = [f"with {found.of(answer.value)}"] * len(answer.judged)
    keep_and_show(
        lambda: print_plan(found),
        lambda: write_json(json_file, about_json() | {"plan": found.json()}),
        lambda: expected.write(f"{declared.name}, planned", answer.judged, places=places),
    )
    _end(found)


def _checked_live(found: "CapacityPlan", runs: int, url: str | None) -> "CapacityPlan":
    """The plan with its answer and the next cheaper one run live."""
    from sim.declare.scenario import Scenario
    from sim.evidence.history import History
    from sim.infer.planning import checked_live
    from sim.show.console import steps
    from sim.worlds.live import run_live, server_at

    with server_at(url) as address, steps() as advance:

        async def run(variant: Scenario, value: str) -> History:
            tell = partial(advance, f"running {value} live")
            return await run_live(variant, range(runs), repeats=1, url=address, progress=tell)

        return asyncio.run(checked_live(found, run))


def _end(found: "CapacityPlan") -> None:
    """End with the status of the answer.

    Raises:
        typer.Exit: nothing holds, it cannot be told, or it did not hold live.
    """
    if found.smallest is None:
        raise typer.Exit(INVALID if found.tried[-1].cannot_tell else FAILED)
    for check in found.live[:1]:
        if check.late:
            raise typer.Exit(INVALID)
        if check.held < _HELD * check.runs:
            raise typer.Exit(FAILED)
