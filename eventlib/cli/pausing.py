"""The commands that pause groups, queues and sagas, and let them go on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import eventlib as ev
from eventlib.cli.bus import Namespace, Url, with_bus
from eventlib.cli.console import Json, ending, write_json
from eventlib.cli.moments import clock
from eventlib.cli.terminal import out, print_table
from eventlib.records import PauseAct

Reason = Annotated[str, typer.Option(help="Why. It is kept, with who did it and when.")]
By = Annotated[str | None, typer.Option(help="Who does it; by default this user and host.")]

_TOLD: Mapping[PauseAct, str] = {
    "pause": "is paused: its consumers read nothing within two seconds, and finish what they hold.",
    "resume": "goes on within a second.",
}


def add_pausing(
    app: typer.Typer, what: Literal["queue", "saga"], name: Any, example: str, *, pause: str, resume: str
) -> None:
    """Add the commands `pause` and `resume`, with these helps. `name` is the type of their argument, for typer."""
    helps: Mapping[PauseAct, str] = {"pause": pause, "resume": resume}
    for act, about in helps.items():
        _add(app, act, what, name, f"`workbench {app.info.name} {act} {example}`", about)


def _add(app: typer.Typer, act: PauseAct, what: str, name_type: Any, example: str, about: str) -> None:
    @app.command(act, epilog=ending(example), help=about)
    def command(
        name: name_type,
        reason: Reason = "",
        by: By = None,
        url: Url = None,
        namespace: Namespace = None,
        json_file: Json = None,
    ) -> None:
        turn(act, url, namespace, json_file, reason, by, **{what: name})


def turn(
    act: PauseAct,
    url: str | None,
    namespace: str | None,
    json_file: Path | None,
    reason: str,
    by: str | None,
    **what: str,
) -> None:
    """Pause what is named, or let it go on, and say so."""

    async def work(bus: ev.Bus) -> list[ev.GroupPause]:
        return await (bus.pause if act == "pause" else bus.resume)(reason=reason, by=by, **what)

    states = with_bus(url, namespace, work)
    for state in states:
        out.tell(f"{state.group} on {state.stream} {_TOLD[act]}")
    _write(json_file, states)


def show(url: str | None, namespace: str | None, json_file: Path | None, **what: str) -> None:
    """Print whether what is named is paused, and who did it."""
    states = with_bus(url, namespace, lambda bus: bus.pauses(**what))
    for state in states:
        out.tell(f"{state.group} on {state.stream} is {'paused' if state.paused else 'not paused'}.")
        if state.records:
            columns: dict[str, list[str]] = {
                "when (UTC)": [clock(record.at_s) for record in state.records],
                "act": [str(record.act) for record in state.records],
                "by": [record.by for record in state.records],
                "reason": [record.reason for record in state.records],
            }
            print_table(columns, folded=("reason",))
    _write(json_file, states)


def _write(json_file: Path | None, states: Sequence[ev.GroupPause]) -> None:
    write_json(json_file, {"groups": [asdict(state) for state in states]})
