"""workbench sweep: a scenario in virtual time, at many values of its fields."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eventlib.cli.console import Json, ending, keep_and_show, writable, write_json
from eventlib.cli.terminal import out as terminal
from sim.cli.options import Expect, Junit, MachineFile, Markdown, Sample, ScenarioFile, Seeds, Url, Vary, Workers

if TYPE_CHECKING:  # the help appears without it
    from sim.declare.scenario import Scenario
    from sim.evidence.expectations import Judged
    from sim.infer.swept import Sweep

app = typer.Typer()

_EXAMPLE = "`workbench sweep data/scenarios/quickstart.yaml --vary services.billing.consumers=2..5 --seeds 5`"


_Samples = Annotated[
    int | None, typer.Option(help="Draw so many points by a Latin hypercube, instead of every combination.", min=1)
]
_Metrics = Annotated[
    list[str] | None, typer.Option("--metric", help="A metric to show; the first one is drawn. May be given again.")
]
_Target = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Keep every point here, as Parquet. What is there is not simulated again, after Ctrl-C either.",
        callback=writable,
        metavar="FILE",
    ),
]
_Figure = Annotated[
    Path | None,
    typer.Option(
        help="Draw it here, as SVG or PNG: a line for one field, a heat map for two.", callback=writable, metavar="FILE"
    ),
]
_Dask = Annotated[
    str | None,
    typer.Option(
        "--dask", help="Simulate on the workers of the Dask cluster with this scheduler, such as tcp://10.0.0.1:8786."
    ),
]


@app.command("sweep", epilog=ending(_EXAMPLE))
def sweep_command(
    scenario: ScenarioFile,
    vary: Vary,
    samples: _Samples = None,
    seeds: Seeds = 10,
    metrics: _Metrics = None,
    expect: Expect = None,
    target: _Target = None,
    figure: _Figure = None,
    workers: Workers = None,
    dask: _Dask = None,
    calibration_file: MachineFile = None,
    url: Url = None,
    json_file: Json = None,
    junit: Junit = None,
    markdown: Markdown = None,
    sample: Sample = False,
) -> None:
    """Simulate a scenario at every combination of the values of some of its fields.

    All points have the same seeds, so that they differ by what varies alone. Status 1: an expectation fails at one.
    """
    from sim.cli.expecting import Expected
    from sim.cli.predicting import declared_in
    from sim.cli.varying import machine_in
    from sim.environment import about_json
    from sim.infer.sweep import sweep
    from sim.show.console import print_sweep, progress

    outputs = (json_file, target, figure, junit, markdown)
    declared = declared_in(scenario, (calibration_file,), *outputs, sample_if_missing=sample)
    expected = Expected.of(declared, expect, junit, markdown)
    fields, machine = _fields(declared, vary, metrics, figure), machine_in(calibration_file, url)
    with executor_at(dask) as executor, progress(f"sweeping {declared.name}") as advance:
        found = sweep(
            declared,
            fields,
            seeds=range(seeds),
            samples=samples,
            expect=expect or (),
            calibration=machine,
            executor=executor,
            workers=workers,
            out=target,
            progress=advance,
        )
    shown = found.known(metrics or ())
    judged = list(found.each_judged())
    verdicts, places = [one for _, one in judged], [place for place, _ in judged]
    keep_and_show(
        lambda: print_sweep(found, shown),
        lambda: _draw(found, figure, shown) if figure is not None else None,
        lambda: write_json(json_file, about_json() | found.json()),
        lambda: expected.write(f"{declared.name}, swept", verdicts, places=places),
    )
    _end(target, verdicts)


def _end(target: Path | None, verdicts: "Sequence[Judged]") -> None:
    from sim.cli.conclusion import end

    if target is not None:
        terminal.tell(f"The points are in {target}")
    if verdicts:
        end((), judged=verdicts)


@contextmanager
def executor_at(scheduler: str | None) -> Iterator[Executor | None]:
    """The Dask cluster with this scheduler; None: the processes of this machine."""
    if scheduler is None:
        yield None
        return
    from sim.infer.dask_cluster import dask_cluster

    with dask_cluster(scheduler) as executor:
        yield executor


def _fields(
    declared: "Scenario", vary: Sequence[str], metrics: Sequence[str] | None, figure: Path | None
) -> dict[str, str]:
    """The fields that vary, and their values. What is to be shown of them is checked, too.

    Raises:
        InvalidScenario: there is no such metric, or no such figure can be drawn.
        typer.BadParameter: as `varied` does.
    """
    from sim.cli.varying import varied
    from sim.evidence.expectations import check_metrics, metric_names

    fields = varied(vary)
    check_metrics(metrics or (), metric_names(declared))
    if figure is not None:
        from sim.show.sweeps import check_figure  # it brings the figures

        check_figure(fields, figure)
    return fields


def _draw(found: "Sweep", file: Path, shown: Sequence[str]) -> None:
    from sim.show.sweeps import write_figure  # it brings the figures

    write_figure(found, file, metric=shown[0] if shown else None)
