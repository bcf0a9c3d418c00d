"""The commands on dead-letter queues. They need no App: they work on raw bytes and JSON."""

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

import eventlib as ev
from eventlib.cli.bus import Namespace, Url, with_bus
from eventlib.cli.console import FAILED, Json, commands, ending, keep_apart, write_json
from eventlib.cli.dlq.display import as_json, number_of, show_counts, show_list, show_one, text_of
from eventlib.cli.dlq.options import (
    After,
    Error,
    EventId,
    Group,
    Handler,
    Id,
    Ids,
    KeepAttempts,
    Limit,
    OlderThan,
    Origin,
    Reason,
    Since,
    Stream,
    Type,
    Until,
    Yes,
)
from eventlib.cli.terminal import err, out

T = TypeVar("T")

_NAMED_MAX = 20  # how many dead letters that stay are named

app = commands(
    "dlq",
    "Look at what a group gave up: list, show, count, edit, replay and purge its dead letters.",
    "`workbench dlq list orders billing --url redis://localhost:6379/0`",
)


@app.command("list", epilog=ending("`workbench dlq list orders billing --reason exhausted --since 2h`"))
def list_command(
    stream: Stream,
    group: Group,
    ids: Ids = None,
    reason: Reason = None,
    error: Error = None,
    type_: Type = None,
    handler: Handler = None,
    origin: Origin = None,
    event_id: EventId = None,
    since: Since = None,
    until: Until = None,
    older_than: OlderThan = None,
    after: After = None,
    limit: Limit = 20,
    url: Url = None,
    namespace: Namespace = None,
    json_file: Json = None,
) -> None:
    """List dead letters, oldest first, a page at a time."""
    which = ev.Selection(ids or None, reason, error, type_, handler, origin, since, until, older_than, event_id)

    async def look(queue: ev.DeadLetters) -> tuple[int, int, float | None, list[ev.DeadLetter]]:
        found = await queue.find(which, after=after, count=limit + 1)
        size = await queue.size()
        fitting = size if which == ev.Selection() else (await queue.count(which)).total()
        return size, fitting, await queue.oldest_age_s(), found

    size, fitting, oldest_age_s, found = _with_queue(stream, group, url, namespace, look)
    page, more = found[:limit], len(found) > limit
    show_list(f"{group} on {stream}", size, fitting, oldest_age_s, page)
    if more:
        out.tell(f"There are more: --after {page[-1].id}")
    write_json(
        json_file,
        {
            "stream": stream,
            "group": group,
            "size": size,
            "fitting": fitting,
            "oldest_age_s": oldest_age_s,
            "dead_letters": [as_json(dead) for dead in page],
            "after": page[-1].id if more else None,
        },
    )


@app.command("show", epilog=ending("`workbench dlq show orders billing 1732450000000-0`"))
def show_command(
    stream: Stream, group: Group, id_: Id, url: Url = None, namespace: Namespace = None, json_file: Json = None
) -> None:
    """Show all that is known of one dead letter, its bytes included."""
    dead = _with_queue(stream, group, url, namespace, lambda queue: queue.get(id_))
    show_one(dead)
    write_json(json_file, as_json(dead))


@app.command("count", epilog=ending("`workbench dlq count orders billing --older-than 7d`"))
def count_command(
    stream: Stream,
    group: Group,
    ids: Ids = None,
    reason: Reason = None,
    error: Error = None,
    type_: Type = None,
    handler: Handler = None,
    origin: Origin = None,
    event_id: EventId = None,
    since: Since = None,
    until: Until = None,
    older_than: OlderThan = None,
    url: Url = None,
    namespace: Namespace = None,
    json_file: Json = None,
) -> None:
    """Count dead letters by their reason."""
    which = ev.Selection(ids or None, reason, error, type_, handler, origin, since, until, older_than, event_id)
    reasons = _with_queue(stream, group, url, namespace, lambda queue: queue.count(which))
    show_counts(reasons)
    write_json(json_file, {"stream": stream, "group": group, "all": reasons.total(), "by_reason": dict(reasons)})


@app.command("edit", epilog=ending("""`workbench dlq edit orders billing 1732450000000-0 --data '{"total": 42}'`"""))
def edit_command(
    stream: Stream,
    group: Group,
    id_: Id,
    data: Annotated[str | None, typer.Option(help="The event's new data, as JSON.")] = None,
    data_file: Annotated[Path | None, typer.Option(help="A file with the event's new data, as JSON.")] = None,
    event_file: Annotated[Path | None, typer.Option(help="A file with the whole event, byte for byte.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Accept it even if it is no event.")] = False,
    url: Url = None,
    namespace: Namespace = None,
    json_file: Json = None,
) -> None:
    """Have a replay deliver other data, or another event. Until then what died is kept beside it."""
    if [data, data_file, event_file].count(None) != 2:
        raise typer.BadParameter("give one of --data, --data-file and --event-file")
    keep_apart([data_file, event_file], json_file)
    new_data = None if event_file else _data_of(data, data_file)
    event = event_file.read_bytes() if event_file else None
    dead = _with_queue(
        stream, group, url, namespace, lambda queue: queue.edit(id_, data=new_data, event=event, force=force)
    )
    out.tell(f"Edited {dead.id}: a replay delivers")
    out.tell(text_of(dead.event or b""))
    out.tell(("Whether your event class accepts its data shows when it is replayed.", "dim"))
    write_json(json_file, as_json(dead))


@app.command("replay", epilog=ending("`workbench dlq replay orders billing --error ConnectionError --yes`"))
def replay_command(
    stream: Stream,
    group: Group,
    ids: Ids = None,
    reason: Reason = None,
    error: Error = None,
    type_: Type = None,
    handler: Handler = None,
    origin: Origin = None,
    event_id: EventId = None,
    since: Since = None,
    until: Until = None,
    older_than: OlderThan = None,
    limit: Limit = 1000,
    keep_attempts: KeepAttempts = False,
    yes: Yes = False,
    url: Url = None,
    namespace: Namespace = None,
    json_file: Json = None,
) -> None:
    """Deliver dead letters once more, to their group alone. Where some stay or are gone, the exit status is 1."""
    which = ev.Selection(ids or None, reason, error, type_, handler, origin, since, until, older_than, event_id)
    outcome = _with_queue(
        stream,
        group,
        url,
        namespace,
        lambda queue: queue.replay(which, keep_attempts=keep_attempts, limit=limit, dry_run=not yes),
    )
    _conclude("replayed", outcome, event_id=event_id, done=yes, json_file=json_file)


@app.command("purge", epilog=ending("`workbench dlq purge orders billing --older-than 30d --yes`"))
def purge_command(
    stream: Stream,
    group: Group,
    ids: Ids = None,
    reason: Reason = None,
    error: Error = None,
    type_: Type = None,
    handler: Handler = None,
    origin: Origin = None,
    event_id: EventId = None,
    since: Since = None,
    until: Until = None,
    older_than: OlderThan = None,
    limit: Limit = 10_000,
    yes: Yes = False,
    url: Url = None,
    namespace: Namespace = None,
    json_file: Json = None,
) -> None:
    """Delete dead letters for good."""
    which = ev.Selection(ids or None, reason, error, type_, handler, origin, since, until, older_than, event_id)
    outcome = _with_queue(stream, group, url, namespace, lambda queue: queue.purge(which, limit=limit, dry_run=not yes))
    _conclude("purged", outcome, event_id=event_id, done=yes, json_file=json_file)


# Connecting


def _with_queue(
    stream: str, group: str, url: str | None, namespace: str | None, work: Callable[[ev.DeadLetters], Awaitable[T]]
) -> T:
    """Do `work` on the group's dead-letter queue; returns its result."""

    async def run(bus: ev.Bus) -> T:
        queue = bus.dead_letters(stream, group)
        await queue.check()
        return await work(queue)

    return with_bus(url, namespace, run)


def _data_of(text: str | None, file: Path | None) -> Mapping[str, Any]:
    try:
        data = json.loads(file.read_bytes() if file else text or "")
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{file or '--data'} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise typer.BadParameter(f"{file or '--data'} must be a JSON object, the fields of the event")
    return data


def _conclude(done_word: str, outcome: ev.Outcome, *, event_id: str | None, done: bool, json_file: Path | None) -> None:
    """Say what was done, or would be; fail where some stay as they are, or are not there to be replayed."""
    told = f"{number_of(len(outcome.ids))} {done_word if done else f'would be {done_word}; --yes does it'}."
    out.tell(told)
    for id_, obstacle in list(outcome.obstacles.items())[:_NAMED_MAX]:
        err.tell(f"{id_} stays: {obstacle}")
    if (unnamed := len(outcome.obstacles) - _NAMED_MAX) > 0:
        err.tell(f"and {unnamed:,} more stay")
    for id_ in outcome.gone:
        err.tell(f"{id_} is gone: it was replayed or purged, or never was")
    if event_id is not None and not (outcome.ids or outcome.obstacles):
        err.tell(f"no dead letter of event {event_id} is there: it was replayed or purged, or never was")
    if outcome.more:
        out.tell("More of them fit: run it again, or raise --limit.")
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
    missing = outcome.gone or (event_id is not None and not outcome.ids)
    if outcome.obstacles or (missing and done_word == "replayed"):
        raise typer.Exit(FAILED)
