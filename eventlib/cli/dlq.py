"""The operators' commands on dead-letter queues: workbench dlq list | show | count | edit | replay | purge.

They know no App: they work on raw bytes and JSON. They never start a server, for what they are about is elsewhere.
"""

import asyncio
import base64
import json
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

import eventlib as ev
from eventlib.cli.console import FAILED, Json, err, out, write_json
from eventlib.policy import DeadReason

T = TypeVar("T")

app = typer.Typer(
    name="dlq",
    help="Look at what a group gave up: list, show, count, edit, replay and purge its dead letters.",
    epilog="Example: `workbench dlq list orders billing --url redis://localhost:6379/0`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def _age_s(text: str | float) -> float:
    if isinstance(text, float):
        return text
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no age; write a number and one of s m h d w, such as 90s, 12h or 7d")
    return float(found[1]) * _UNITS_S[found[2]]


def _moment_s(text: str | float) -> float:
    """Unix seconds of a moment in ISO form, UTC where it names no zone; or of so long ago."""
    if isinstance(text, float):
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return max(0.0, time.time() - _age_s(text))
        except typer.BadParameter:
            wanted = "write it such as 2026-11-24T13:05 (UTC), or how long ago, such as 2h"
            raise typer.BadParameter(f"{text!r} is no moment; {wanted}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _reason(text: str | None) -> str | None:
    if text is not None and text not in get_args(DeadReason):
        raise typer.BadParameter(f"{text!r} is none of {', '.join(get_args(DeadReason))}")
    return text


Stream = Annotated[str, typer.Argument(help="The event stream.", metavar="STREAM")]
Group = Annotated[str, typer.Argument(help="The consumer group whose letters they are.", metavar="GROUP")]
Letter = Annotated[str, typer.Argument(help="The letter's id, as listed.", metavar="ID")]
Url = Annotated[str | None, typer.Option(help="Redis to use; without it REDIS_URL.")]
Namespace = Annotated[str, typer.Option(help="What all keys start with.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="This letter; may be given again.")]
Reason = Annotated[
    str | None, typer.Option(help=f"Why they died: {', '.join(get_args(DeadReason))}.", callback=_reason)
]
Error = Annotated[str | None, typer.Option(help="A part of the error's type or text.")]
Type = Annotated[str | None, typer.Option("--type", help="The event type.")]
Handler = Annotated[str | None, typer.Option(help="A part of the handler's name.")]
Origin = Annotated[str | None, typer.Option(help="The entry's id in the event stream.")]
Since = Annotated[
    float | None, typer.Option(help="Died at or after: 2026-11-24T13:05, or 2h ago.", parser=_moment_s, metavar="WHEN")
]
Until = Annotated[
    float | None, typer.Option(help="Died before: 2026-11-24T14:00, or 30m ago.", parser=_moment_s, metavar="WHEN")
]
OlderThan = Annotated[
    float | None, typer.Option(help="Died longer ago than 7d, 12h, 30m or 90s.", parser=_age_s, metavar="AGE")
]
Limit = Annotated[int, typer.Option(help="How many letters at most.", min=1)]
Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without this, only say what would be done.")]


@app.command("list", epilog="Example: `workbench dlq list orders billing --reason exhausted --since 2h`")
def list_command(
    stream: Stream,
    group: Group,
    ids: Ids = None,
    reason: Reason = None,
    error: Error = None,
    type_: Type = None,
    handler: Handler = None,
    origin: Origin = None,
    since: Since = None,
    until: Until = None,
    older_than: OlderThan = None,
    after: Annotated[str | None, typer.Option(help="Go on after this letter: the last one of the page before.")] = None,
    limit: Limit = 20,
    url: Url = None,
    namespace: Namespace = "ev",
    json_file: Json = None,
) -> None:
    """List dead letters, oldest first, a page at a time."""
    which = ev.Selection(ids or None, reason, error, type_, handler, origin, since, until, older_than)

    async def look(letters: ev.DeadLetters) -> tuple[int, float | None, list[ev.DeadLetter]]:
        found = await letters.find(which, after=after, count=limit + 1)
        return await letters.size(), await letters.oldest_age_s(), found

    size, oldest_age_s, found = _with_letters(stream, group, url, namespace, look)
    page, more = found[:limit], len(found) > limit
    age = "" if oldest_age_s is None else f", the oldest died {_age(oldest_age_s)} ago"
    out.print(f"{group} on {stream}: {_number_of(size)}{age}", soft_wrap=True, highlight=False, markup=False)
    if page:
        out.print(_table_of_letters(page))
    elif size:
        out.print("None of them fits.")
    if more:
        out.print(f"There are more: --after {page[-1].id}", soft_wrap=True, highlight=False)
    write_json(
        json_file,
        {
            "stream": stream,
            "group": group,
            "size": size,
            "oldest_age_s": oldest_age_s,
            "letters": [_letter_json(letter) for letter in page],
            "after": page[-1].id if more else None,
        },
    )


@app.command("show", epilog="Example: `workbench dlq show orders billing 1732450000000-0`")
def show_command(
    stream: Stream, group: Group, id_: Letter, url: Url = None, namespace: Namespace = "ev", json_file: Json = None
) -> None:
    """Show all that is known of one dead letter, its bytes included."""
    letter = _with_letters(stream, group, url, namespace, lambda letters: letters.get(id_))
    _show_letter(letter)
    write_json(json_file, _letter_json(letter))


@app.command("count", epilog="Example: `workbench dlq count orders billing --older-than 7d`")
def count_command(
    stream: Stream,
    group: Group,
    ids: Ids = None,
    reason: Reason = None,
    error: Error = None,
    type_: Type = None,
    handler: Handler = None,
    origin: Origin = None,
    since: Since = None,
    until: Until = None,
    older_than: OlderThan = None,
    url: Url = None,
    namespace: Namespace = "ev",
    json_file: Json = None,
) -> None:
    """Count dead letters by their reason."""
    which = ev.Selection(ids or None, reason, error, type_, handler, origin, since, until, older_than)
    reasons = _with_letters(stream, group, url, namespace, lambda letters: letters.count(which))
    table = Table("reason", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("letters", justify="right")
    for name, number in reasons.most_common():
        table.add_row(_plain(name), f"{number:,}")
    table.add_section()
    table.add_row("all", f"{reasons.total():,}")
    out.print(table)
    write_json(json_file, {"stream": stream, "group": group, "all": reasons.total(), "by_reason": dict(reasons)})


@app.command("edit", epilog="""Example: `workbench dlq edit orders billing 1732450000000-0 --data '{"total": 42}'`""")
def edit_command(
    stream: Stream,
    group: Group,
    id_: Letter,
    data: Annotated[str | None, typer.Option(help="The event's new data, as JSON.")] = None,
    data_file: Annotated[Path | None, typer.Option(help="A file with the event's new data, as JSON.")] = None,
    event_file: Annotated[Path | None, typer.Option(help="A file with the whole event, byte for byte.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Keep it even if it is no event.")] = False,
    url: Url = None,
    namespace: Namespace = "ev",
    json_file: Json = None,
) -> None:
    """Have a replay deliver other data, or another event; until then what died is kept beside it."""
    if [data, data_file, event_file].count(None) != 2:
        raise typer.BadParameter("give one of --data, --data-file and --event-file")
    new_data = None if event_file else _data_of(data, data_file)
    event = event_file.read_bytes() if event_file else None
    letter = _with_letters(
        stream, group, url, namespace, lambda letters: letters.edit(id_, data=new_data, event=event, force=force)
    )
    out.print(f"Edited {letter.id}: a replay delivers", soft_wrap=True, highlight=False)
    out.print(_plain(_shown(letter.event or b"")), soft_wrap=True, highlight=False)
    out.print("Whether your event class accepts its data shows when it is replayed.", style="dim")
    write_json(json_file, _letter_json(letter))


@app.command("replay", epilog="Example: `workbench dlq replay orders billing --error ConnectionError --yes`")
def replay_command(
    stream: Stream,
    group: Group,
    ids: Ids = None,
    reason: Reason = None,
    error: Error = None,
    type_: Type = None,
    handler: Handler = None,
    origin: Origin = None,
    since: Since = None,
    until: Until = None,
    older_than: OlderThan = None,
    limit: Limit = 1000,
    keep_attempts: Annotated[
        bool,
        typer.Option(
            "--keep-attempts", help="Go on counting attempts instead of starting anew; what is exhausted stays."
        ),
    ] = False,
    yes: Yes = False,
    url: Url = None,
    namespace: Namespace = "ev",
    json_file: Json = None,
) -> None:
    """Deliver dead letters once more, to their group alone.

    Exit status: 0 all that were found were replayed, or would be, 1 some stay as they are, 2 bad input or no server.
    """
    which = ev.Selection(ids or None, reason, error, type_, handler, origin, since, until, older_than)
    outcome = _with_letters(
        stream,
        group,
        url,
        namespace,
        lambda letters: letters.replay(which, keep_attempts=keep_attempts, limit=limit, dry_run=not yes),
    )
    _conclude("replayed", outcome, done=yes, json_file=json_file)


@app.command("purge", epilog="Example: `workbench dlq purge orders billing --older-than 30d --yes`")
def purge_command(
    stream: Stream,
    group: Group,
    ids: Ids = None,
    reason: Reason = None,
    error: Error = None,
    type_: Type = None,
    handler: Handler = None,
    origin: Origin = None,
    since: Since = None,
    until: Until = None,
    older_than: OlderThan = None,
    limit: Limit = 10_000,
    yes: Yes = False,
    url: Url = None,
    namespace: Namespace = "ev",
    json_file: Json = None,
) -> None:
    """Delete dead letters for good."""
    which = ev.Selection(ids or None, reason, error, type_, handler, origin, since, until, older_than)
    outcome = _with_letters(
        stream, group, url, namespace, lambda letters: letters.purge(which, limit=limit, dry_run=not yes)
    )
    _conclude("purged", outcome, done=yes, json_file=json_file)


# Connecting


def _with_letters(
    stream: str, group: str, url: str | None, namespace: str, work: Callable[[ev.DeadLetters], Awaitable[T]]
) -> T:
    async def run() -> T:
        async with _letters_of(stream, group, url, namespace) as letters:
            return await work(letters)

    return asyncio.run(run())


@asynccontextmanager
async def _letters_of(stream: str, group: str, url: str | None, namespace: str) -> AsyncIterator[ev.DeadLetters]:
    if not (address := url or os.environ.get("REDIS_URL")):
        raise typer.BadParameter("no Redis is named; pass --url or set REDIS_URL, such as redis://localhost:6379/0")
    async with ev.connect(ev.App("workbench"), address, namespace=namespace) as bus:
        letters = bus.dead_letters(stream, group)
        await letters.check()
        yield letters


def _data_of(text: str | None, file: Path | None) -> Mapping[str, Any]:
    try:
        data = json.loads(file.read_bytes() if file else text or "")
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{file or '--data'} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise typer.BadParameter(f"{file or '--data'} must be a JSON object, the fields of the event")
    return data


# Showing. What is in a letter was written by others: nothing of it may steer the terminal.


def _conclude(done_word: str, outcome: ev.Outcome, *, done: bool, json_file: Path | None) -> None:
    told = f"{_number_of(len(outcome.ids))} {done_word if done else f'would be {done_word}; --yes does it'}."
    out.print(told, soft_wrap=True, highlight=False)
    for id_, obstacle in list(outcome.obstacles.items())[:20]:
        err.print(f"{id_} stays: {escape(obstacle)}", soft_wrap=True, highlight=False)
    if (unnamed := len(outcome.obstacles) - 20) > 0:
        err.print(f"and {unnamed:,} more stay", highlight=False)
    for id_ in outcome.gone:
        err.print(f"{id_} is gone: it was replayed or purged, or never was", soft_wrap=True, highlight=False)
    if outcome.more:
        out.print("More of them fit: run it again, or raise --limit.")
    write_json(
        json_file,
        {
            "done": done,
            done_word: list(outcome.ids),
            "obstacles": dict(outcome.obstacles),
            "gone": list(outcome.gone),
            "more": outcome.more,
        },
    )
    if outcome.obstacles:
        raise typer.Exit(FAILED)


def _table_of_letters(letters: list[ev.DeadLetter]) -> Table:
    """One line a letter: the error is cut to what the terminal leaves it, the id never, for it is copied from here."""
    narrow, marked = out.width < 110, any(map(_past, letters))
    died, type_length = (slice(5, 16), 8 if marked else 12) if narrow else (slice(0, 19), 32)
    columns = {
        "id": [letter.id for letter in letters],
        "died (UTC)": [_clock(letter.died_at_s)[died] for letter in letters],
        "reason": [letter.reason for letter in letters],
        "past": [_past(letter, short=narrow) for letter in letters],
        "type": [_cut(letter.event_type or "-", type_length) for letter in letters],
    }
    if not marked:
        del columns["past"]
    taken = sum(2 + max(map(len, (name, *cells))) for name, cells in columns.items())
    columns["error"] = [_cut(lt.error.partition("\n")[0], max(8, out.width - taken - 4)) for lt in letters]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, no_wrap=True)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*(_plain(cell, one_line=True) for cell in row))
    return table


def _past(letter: ev.DeadLetter, short: bool = False) -> str:
    """What was done to it before, if anything."""
    past = []
    if letter.edited_at_s is not None:
        past.append("e" if short else "edited")
    if letter.replays:
        past.append(f"{letter.replays}x" if short else f"replayed {letter.replays}x")
    return " ".join(past) if short else ", ".join(past)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}\u2026"


def _show_letter(letter: ev.DeadLetter) -> None:
    rows = {
        "died": f"{_clock(letter.died_at_s)}, first failed {_clock(letter.failed_at_s)}",
        "reason": letter.reason,
        "error": letter.error,
        "attempts": f"{letter.attempts}, replayed before: {letter.replays}",
        "handler": letter.handler,
        "consumer": letter.consumer,
        "origin": letter.origin,
        "event": f"{letter.event_type or '(type unknown)'}, id {letter.event_id or '(unknown)'}",
        "correlation": letter.correlation_id or "",
        "edited": "" if letter.edited_at_s is None else _clock(letter.edited_at_s),
        "replay": f"no: {letter.obstacle}; edit it first" if letter.obstacle else "possible",
    }
    for name, value in rows.items():
        if value:
            out.print(f"[bold]{name:12}[/]{_plain(value)}", soft_wrap=True, highlight=False)
    parts = {"traceback": letter.traceback}
    parts |= {f"field {_shown(name)} when it died": _shown(value) for name, value in letter.raw.items()}
    parts |= {"edited event": _shown(letter.edited)} if letter.edited is not None else {}
    for name, value in parts.items():
        if value:
            out.print(f"\n[bold]{_plain(name)}[/]\n{_plain(value)}", soft_wrap=True, highlight=False)


def _letter_json(letter: ev.DeadLetter) -> dict[str, Any]:
    """The letter for machines; bytes that are no text in base64."""
    names = ["id", "origin", "reason", "error", "traceback", "attempts", "handler", "consumer", "replays", "died_at_s"]
    names += ["failed_at_s", "edited_at_s", "event_type", "event_id", "correlation_id", "obstacle"]
    return {name: getattr(letter, name) for name in names} | {
        "raw": {_shown(name): _bytes_json(value) for name, value in letter.raw.items()},
        "edited": None if letter.edited is None else _bytes_json(letter.edited),
    }


def _bytes_json(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _shown(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def _plain(text: str, *, one_line: bool = False) -> str:
    """The text without markup and control characters."""
    kept = "" if one_line else "\n\t"
    return escape("".join(c if c.isprintable() or c in kept else f"\\x{ord(c):02x}" for c in text))


def _number_of(letters: int) -> str:
    return f"{letters:,} dead letter{'' if letters == 1 else 's'}"


def _clock(moment_s: float | None) -> str:
    if moment_s is None:
        return "unknown"
    try:
        return datetime.fromtimestamp(moment_s, UTC).isoformat(" ", "milliseconds")
    except (OverflowError, OSError, ValueError):  # of another clock, or another client
        return f"{moment_s:.0f} s"


def _age(seconds: float) -> str:
    name = max((name for name, size_s in _UNITS_S.items() if size_s <= seconds), key=_UNITS_S.__getitem__, default="s")
    return f"{seconds / _UNITS_S[name]:.1f} {name}"
