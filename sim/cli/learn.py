"""workbench learn: a scenario from a system that runs."""

import asyncio
import re
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eventlib.cli.console import (
    INTERRUPTED,
    WRONG,
    Json,
    ending,
    keep_and_show,
    keep_apart,
    server_url,
    writable,
    write_json,
)
from eventlib.cli.terminal import err
from eventlib.whole_files import write_whole
from sim.errors import SimError

if TYPE_CHECKING:
    from sim.declare.scenario import Progress
    from sim.learn.findings import Learned
    from sim.learn.recording import Recording
    from sim.learn.trial import Trial

app = typer.Typer()

_INTERRUPTED = "Ctrl-C was pressed"
_UNNAMED = re.compile(r"[^A-Za-z0-9_.-]+")


def _new(file: Path | None) -> Path | None:
    """A file that is not there yet: what was learned before must not be lost."""
    if file is not None and file.exists():
        raise typer.BadParameter(f"{file} exists already; name another file, or delete it")
    return writable(file)


@app.command("learn", epilog=ending("`workbench learn redis://localhost:6379 orders billing --for 60 --out mine.yaml`"))
def learn_command(
    url: Annotated[
        str, typer.Argument(help="The server: redis://host:6379/0", metavar="REDIS_URL", callback=server_url)
    ],
    stream: Annotated[str, typer.Argument(help="The key of the stream.", metavar="STREAM")],
    group: Annotated[str, typer.Argument(help="The consumer group.", metavar="GROUP")],
    for_s: Annotated[float, typer.Option("--for", help="Seconds to watch it.", min=1, max=86_400)] = 60.0,
    rate: Annotated[
        float, typer.Option(help="The most commands sent to the server within any second.", min=15, max=1000)
    ] = 100.0,
    output: Annotated[
        Path | None,
        typer.Option("--out", help="The scenario to write; else standard output.", callback=_new, metavar="FILE"),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="The CSV of arrivals to write; else beside the scenario.", callback=_new, metavar="FILE"),
    ] = None,
    json_file: Json = None,
) -> None:
    """Watch a running consumer group, read-only, and write a scenario that behaves like it.

    It works with every library that uses consumer groups. It sends no command that writes, at most 100 commands
    (`--rate`) and 20,000 entries of replies a second, and reads the id of each new entry once, with its body. Ctrl-C
    ends the watching and writes what was learned so far.
    """
    from sim.learn.estimate import TooLittle, learn
    from sim.learn.library_group import NothingToLearn
    from sim.learn.write import findings_json, scenario_text
    from sim.show.console import progress

    if output is None and json_file == Path("-"):
        raise typer.BadParameter("both the scenario and --json would go to standard output; name a file by --out")
    trace = trace or _new(_beside(output, stream, group))
    assert trace is not None
    keep_apart((), output, trace, json_file)
    with progress(f"watching {group}") as advance:
        record = asyncio.run(_watch(url, stream, group, for_s, rate, advance))
    try:
        learned = learn(record)
    except TooLittle as error:
        raise NothingToLearn(f"{record.stream}, group {record.group}", str(error)) from None
    _keep_trace(learned, trace)
    directory = trace.parent if output is None else output.parent
    named = _from(directory, trace)
    text = scenario_text(record, learned, named)
    tried, untried = _try_out(text, directory, learned)
    keep_and_show(
        lambda: _tell(record, learned, tried.in_words() if tried else f"It was not simulated: {untried}."),
        lambda: _write(output, scenario_text(record, learned, named, tried)),
        lambda: write_json(json_file, findings_json(record, learned, tried)),
    )
    err.tell(f"The arrivals are in {trace}" + (f", the scenario in {output}" if output else ""))
    if record.changes.interrupted or untried == _INTERRUPTED:
        raise typer.Exit(INTERRUPTED)
    if tried is None:
        raise typer.Exit(WRONG)


def _try_out(text: str, directory: Path, learned: "Learned") -> tuple["Trial | None", str]:
    """Simulate what was learned. If that ends early, why: what was watched may have taken a day, and is kept."""
    from sim.learn.trial import try_out
    from sim.learn.write import scenario_of
    from sim.show.console import progress

    try:
        with progress("simulating what was learned") as advance:
            return try_out(scenario_of(text, directory), learned.lag, learned.at_begin, advance), ""
    except KeyboardInterrupt:
        return None, _INTERRUPTED
    except SimError as error:
        return None, str(error)


def _keep_trace(learned: "Learned", trace: Path) -> None:
    """Write the arrivals. Half a file would stand in the way of the next try."""
    from sim.learn.write import write_trace

    try:
        write_trace(learned, trace)
    except FileExistsError:  # another program has just made it
        raise
    except BaseException:
        trace.unlink(missing_ok=True)
        raise


def _write(output: Path | None, text: str) -> None:
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_whole(output, text)


def _beside(output: Path | None, stream: str, group: str) -> Path:
    """The trace's file: beside the scenario, or here, with the names of stream and group."""
    if output is not None:
        return output.with_name(f"{output.stem}-arrivals.csv")
    return Path(f"{_UNNAMED.sub('-', stream).strip('-')}-{_UNNAMED.sub('-', group).strip('-')}-arrivals.csv")


def _from(directory: Path, trace: Path) -> Path:
    """The trace as a scenario in this directory names it."""
    return Path(trace.name) if trace.absolute().parent == directory.absolute() else trace.absolute()


async def _watch(url: str, stream: str, group: str, for_s: float, rate: float, progress: "Progress") -> "Recording":
    """Watch until the time is over, or Ctrl-C is pressed."""
    from sim.learn.watch import watch

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    if threading.current_thread() is threading.main_thread():  # Python lets no other thread handle signals
        loop.add_signal_handler(signal.SIGINT, stop.set)
    return await watch(url, stream, group, for_s=for_s, commands_per_s=rate, stop=stop, progress=progress)


def _tell(record: "Recording", learned: "Learned", tried: str) -> None:
    """What was learned, a line each, on standard error: standard output may be the scenario."""
    from sim.learn.write import in_words

    for name, found in learned.findings.items():
        err.tell((f"{name.replace('_', ' '):16}", "bold"), f" {in_words(found)}; {found.sure}")
    for note in learned.notes:
        err.tell(f"Note: {note}.")
    err.tell(tried)
    err.tell(f"{record.commands:,} commands were sent in {record.watched_s:.0f} s, none that writes.")
