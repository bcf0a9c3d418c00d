"""The command, and the terminal that it draws on."""

import asyncio
import os
import signal
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleDimensions
from rich.live import Live

from eventlib.broker.surveying import SurveyLimits, Surveyor
from eventlib.cli.console import Json, ending, write_json
from eventlib.cli.looking import Rate, ServerUrl, Set, thresholds_from
from eventlib.cli.monitor.keyboard import pressed_keys
from eventlib.cli.monitor.screen import alert, draw, plain
from eventlib.cli.monitor.session import Session
from eventlib.cli.terminal import PlainConsole, out
from eventlib.operate.trends import Trends, View
from eventlib.thresholds import Thresholds

app = typer.Typer()


@app.command("monitor", epilog=ending("`workbench monitor redis://localhost:6379`"))
def monitor_command(
    url: ServerUrl,
    given: Set = None,
    every_s: Annotated[float, typer.Option("--every", help="Seconds between two looks.", min=0.2, max=3600.0)] = 2.0,
    rate: Rate = 500.0,
    streams_max: Annotated[int, typer.Option(help="The most streams to look at.", min=1, max=10_000)] = 200,
    stream: Annotated[
        list[str] | None, typer.Option(help="Look at this stream alone; may be given again.", metavar="KEY")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, print what is seen, and end.")] = False,
    json_file: Json = None,
) -> None:
    """Watch streams, groups and consumers of any library in the terminal, with alerts.

    It shows backlogs, rates and dead letters, and judges them by the thresholds. Keys look into a group and its dead
    letters, and replay one. `--once` and `--json FILE` look once; so does a monitor whose output is no terminal, or a
    dumb one. It survives a restart of Redis. NO_COLOR is obeyed.
    """
    thresholds = thresholds_from(given)
    limits = SurveyLimits(rate, streams_max, thresholds.idle_s, tuple(stream or ()))
    if once or json_file is not None or not out.is_terminal or out.is_dumb_terminal:
        view, where = asyncio.run(_look_once(url, limits, thresholds))
        write_json(json_file, {"server": where, **_document(view)})
        out.print(plain(view, where, _knows_bars(out)), crop=False)
        for finding in view.findings:
            out.print(alert(finding), soft_wrap=True)
    else:
        asyncio.run(_watch(url, limits, thresholds, every_s))


async def _look_once(url: str, limits: SurveyLimits, thresholds: Thresholds) -> tuple[View, str]:
    surveyor = Surveyor(url, limits)
    try:
        return Trends(thresholds).note(0.0, await surveyor.survey()), surveyor.where
    finally:
        await surveyor.close()


async def _watch(url: str, limits: SurveyLimits, thresholds: Thresholds, every_s: float) -> None:
    console = _FullScreen()
    surveyor = Surveyor(url, limits)
    keys: asyncio.Queue[str] = asyncio.Queue()
    live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def show() -> None:
        live.update(draw(session.state, *console.size, _knows_bars(console)), refresh=True)

    session = Session(url, surveyor, Trends(thresholds), every_s, show)
    try:
        with live, pressed_keys(keys):
            if hasattr(signal, "SIGWINCH"):  # the terminal has another size
                asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, show)
            show()
            await session.run(keys)
    finally:
        await surveyor.close()


class _FullScreen(PlainConsole):
    """A terminal with the height that it has."""

    @property
    def size(self) -> ConsoleDimensions:
        try:
            found = os.get_terminal_size(self.file.fileno())
        except (OSError, ValueError):
            return ConsoleDimensions(80, 24)
        return ConsoleDimensions(max(found.columns or 80, 40), max(found.lines or 24, 8))

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        raise AttributeError("the terminal decides")


def _knows_bars(console: Console) -> bool:
    """Whether the bars of a sparkline can be written there."""
    return (console.encoding or "").lower().replace("-", "") in ("utf8", "utf16", "utf32") and sys.platform != "win32"


def _document(view: View) -> dict[str, Any]:
    memory = dict(view.seen.memory)
    return {
        "memory": {**memory, "eviction_policy": view.seen.eviction_policy, "evicted_keys": view.seen.evicted_keys},
        "groups": [asdict(row) for row in view.rows],
        "alerts": [asdict(finding) for finding in view.findings],
        "streams": len(view.seen.streams),
        "skipped": view.seen.skipped,
        "missing": list(view.seen.missing),
        "commands": view.seen.commands,
    }
