"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from eventlib.cli.console import server_url, writable

ScenarioFile = Annotated[Path, typer.Argument(help="A scenario's YAML file.", metavar="SCENARIO")]
Seeds = Annotated[int, typer.Option(help="How many seeds to simulate: 0, 1, ...", min=1, max=100_000)]
LiveSeeds = Annotated[int, typer.Option(help="How many seeds to run live: 0, 1, ...", min=1, max=100_000)]
Repeats = Annotated[int, typer.Option(help="Live runs of each seed; two or more show the noise.", min=1, max=100_000)]
Replications = Annotated[
    int, typer.Option(help="How often each seed is simulated; three or more give intervals.", min=1, max=10_000)
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="What `calibrate --out FILE` measured here; without it, the machine is timed now.",
        metavar="FILE",
    ),
]
Tolerance = Annotated[
    float,
    typer.Option(
        help="How far a prediction may be off, as a share of the live value: 0.1 is 10 %.", min=1e-6, max=1000
    ),
]
Vary = Annotated[
    list[str],
    typer.Option(
        "--vary",
        help="A field by its path, and its values: services.billing.consumers=1..8, load.rate_per_s=100,200,400, "
        "faults.0.at_s=1..3..0.5. May be given again.",
        metavar="FIELD=VALUES",
    ),
]
MachineFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="What `calibrate --out FILE` measured here; without it, the machine takes no time.",
        metavar="FILE",
    ),
]
Workers = Annotated[int | None, typer.Option(help="Processes to simulate in; by default one a core.", min=1)]
Expect = Annotated[
    list[str] | None,
    typer.Option(
        "--expect",
        help="What must hold beside the scenario's own `expect:`, such as 'lag_s_p99 < 500 ms'. May be given again.",
        metavar="EXPECTATION",
    ),
]
Junit = Annotated[
    Path | None,
    typer.Option("--junit", help="Write the verdicts here, as JUnit XML.", callback=writable, metavar="FILE"),
]
Markdown = Annotated[
    Path | None,
    typer.Option(
        "--markdown",
        help="Write a summary here, as Markdown. What is expected is also told to GitHub where it runs the command.",
        callback=writable,
        metavar="FILE",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(help="Redis to use; without it REDIS_URL, or else a private one.", callback=server_url),
]
Page = Annotated[
    Path | None,
    typer.Option("--html", help="Also write a page of the runs here.", callback=writable, metavar="FILE"),
]
HistoryFile = Annotated[
    Path | None, typer.Option("--history", help="Also write the history here, as Parquet.", callback=writable)
]
Learned = Annotated[
    Path | None,
    typer.Option(
        "--learned",
        help="What own handlers were seen to do. It is read from here; where there is no such file, they are run to "
        "learn it, and it is written.",
        metavar="FILE",
    ),
]
KnownLearned = Annotated[
    Path | None,
    typer.Option(
        "--learned",
        help="What own handlers were seen to do, as `compare` or `predict` wrote it. No handler runs here.",
        metavar="FILE",
    ),
]
MetricsOnly = Annotated[
    bool,
    typer.Option(
        "--metrics-only",
        help="Keep no rows: memory does not grow with the run, which may have 100 million messages. Quantiles are "
        "within 0.1 %.",
    ),
]
Sample = Annotated[bool, typer.Option("--sample-if-missing", help="Use the shipped sample where a trace is missing.")]


def refuse_given(context: typer.Context, why: str, *parameters: str) -> None:
    """Refuse options that would be passed over here.

    Raises:
        typer.BadParameter: one of them was given.
    """
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name) if parameter.name in parameters else None
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"{why}; leave {parameter.opts[0]} out")
