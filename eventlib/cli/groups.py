"""The commands on consumer groups: pause one, let it go on, and see who did it."""

from typing import Annotated

import typer

from eventlib.cli.bus import Namespace, Url
from eventlib.cli.console import Json, commands, ending
from eventlib.cli.pausing import By, Reason, show, turn
from eventlib.records import PauseAct

app = commands(
    "groups",
    "Let a consumer group rest without stopping its programs: pause, resume; show who did it.",
    "`workbench groups pause orders billing --reason 'the bank is down' --url redis://localhost:6379/0`",
)

Stream = Annotated[str, typer.Argument(help="The event stream.", metavar="STREAM")]
Group = Annotated[str, typer.Argument(help="The consumer group.", metavar="GROUP")]


def _add(act: PauseAct, more: str, about: str) -> None:
    @app.command(act, epilog=ending(f"`workbench groups {act} orders billing{more}`"), help=about)
    def command(
        stream: Stream,
        group: Group,
        reason: Reason = "",
        by: By = None,
        url: Url = None,
        namespace: Namespace = None,
        json_file: Json = None,
    ) -> None:
        turn(act, url, namespace, json_file, reason, by, group=group, stream=stream)


_add(
    "pause",
    " --reason 'the bank is down'",
    "Let no consumer of a group read until it is resumed. What they hold is finished; nothing is lost.",
)
_add("resume", "", "Let the consumers of a paused group go on.")


@app.command("show", epilog=ending("`workbench groups show orders billing`"))
def show_command(
    stream: Stream, group: Group, url: Url = None, namespace: Namespace = None, json_file: Json = None
) -> None:
    """Show whether a group is paused, and who paused it and let it go on, when and why."""
    show(url, namespace, json_file, group=group, stream=stream)
