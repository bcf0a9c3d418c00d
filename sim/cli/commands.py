"""The command line: what `workbench` can do.

The module of a command is imported when the command runs or shows its own help. So the list of all commands appears at
once. The commands of the simulator import what they need when they run, so their help appears without delay too.
"""

from importlib.metadata import version
from typing import Annotated, Any, NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup

_UsageError = cast(type[Exception], typer.BadParameter.__base__)  # as in eventlib.cli.console: importing it takes long


class _Listed(NamedTuple):
    """A command as the list shows it. `module` holds an `app` that has it."""

    module: str
    summary: str


COMMANDS = {
    "simulate": _Listed("sim.cli.simulate", "Run a scenario in virtual time."),
    "live": _Listed("sim.cli.live", "Run a scenario for real: the library, a Redis, processes, SIGKILL."),
    "calibrate": _Listed(
        "sim.cli.calibrate", "Measure what this machine, server and library add to a scenario's own times."
    ),
    "predict": _Listed(
        "sim.cli.predict", "Predict what live runs of a scenario will measure: numbers, intervals and their SHA-256."
    ),
    "compare": _Listed("sim.cli.compare", "Predict a scenario, run it live, and judge each prediction by a tolerance."),
    "fidelity": _Listed(
        "sim.cli.fidelity",
        "Predict many scenarios from one calibration, run them all, and say how many of them were predicted well.",
    ),
    "sweep": _Listed("sim.cli.sweep", "Simulate a scenario at every combination of the values of some of its fields."),
    "plan": _Listed("sim.cli.plan", "Find the smallest number, of consumers say, with which what is expected holds."),
    "learn": _Listed(
        "sim.cli.learn", "Watch a running consumer group, read-only, and write a scenario that behaves like it."
    ),
    "trace": _Listed("sim.cli.trace", "Look at a recorded trace, and write the scenario that replays it."),
    "report": _Listed("sim.cli.report", "Run the scenarios in both worlds and write the validation report."),
    "claims": _Listed(
        "sim.cli.claims",
        "Measure what the reference document says of the system: 58 claims, true, false, unknown or not built.",
    ),
    "init": _Listed("sim.cli.init", "Write a first scenario, a notebook and a CI job into an empty folder."),
    "lab": _Listed("sim.cli.lab", "Open JupyterLab on the notebooks, with a Redis running."),
    "run": _Listed(
        "eventlib.cli.run", "Run an App's handlers, tasks and sagas until SIGTERM or Ctrl-C, with health endpoints."
    ),
    "exporter": _Listed(
        "eventlib.cli.exporter", "Serve metrics of the streams of any library, read-only, for Prometheus."
    ),
    "alerts": _Listed("eventlib.cli.alerts", "Print alert rules for Prometheus, made from thresholds, or the runbook."),
    "dashboard": _Listed("eventlib.cli.dashboard", "Print a dashboard for Grafana, with the thresholds as lines."),
    "monitor": _Listed(
        "eventlib.cli.monitor", "Watch streams, groups and consumers of any library in the terminal, with alerts."
    ),
    "doctor": _Listed(
        "eventlib.cli.doctor", "Examine a server, read-only: what is wrong with it and its streams, and the mend."
    ),
    "acl": _Listed(
        "eventlib.cli.acl", "Print the ACL rules that a Redis user needs for a role: publisher, consumer, ..."
    ),
    "settings": _Listed("eventlib.cli.settings", "Print the settings in force, and where each is from."),
    "server": _Listed("sim.cli.server", "Run a private Redis until Ctrl-C; prints its URL."),
    "schemas": _Listed(
        "eventlib.cli.schemas", "Export event schemas, and check whether a change breaks readers or writers."
    ),
    "dlq": _Listed(
        "eventlib.cli.dlq",
        "Look at what a group gave up: list, show, count, edit, replay and purge its dead letters.",
    ),
    "groups": _Listed(
        "eventlib.cli.groups",
        "Let a consumer group rest without stopping its programs: pause, resume; show who did it.",
    ),
    "sagas": _Listed(
        "eventlib.cli.sagas",
        "Look at sagas, and say how parked ones go on: list, show, retry, resolve and cancel; pause and resume all.",
    ),
    "tasks": _Listed(
        "eventlib.cli.tasks",
        "Look at task queues: health, list, show; cancel a task or run one now; pause and resume a queue.",
    ),
    "schedules": _Listed(
        "eventlib.cli.schedules",
        "Look at schedules: list, show, history; pause, resume, remove one, or run its task now.",
    ),
}


class Workbench(TyperGroup):
    """Lists the commands without importing them. Running one is left to `sim.cli.running`, which is imported then."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, listed in COMMANDS.items():
            self.add_command(TyperCommand(name, help=listed.summary))

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **kwargs: Any) -> Any:
        try:
            return super().make_context(info_name, list(args), *rest, **kwargs)
        except (OSError, _UsageError):  # once more, where errors are told in one line
            return self._running().make_context(info_name, args, *rest, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        return self._running().invoke(ctx)

    def _running(self) -> TyperGroup:
        from sim.cli.running import RunningCommands

        return RunningCommands(self, {name: listed.module for name, listed in COMMANDS.items()})


app = typer.Typer(
    name="workbench",
    cls=Workbench,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"event-workbench {version('event-workbench')}")
        raise typer.Exit


@app.callback()
def workbench(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Simulate an event-driven system, run it for real on Redis, and measure the difference.

    Exit status: 0 it holds, 1 a promise is broken, 2 bad input or no server, 3 invalid run (late generator, too noisy,
    not drained in time), 130 Ctrl-C.
    """
