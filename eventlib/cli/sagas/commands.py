"""The commands on sagas. What a saga needs to go on is stored with it."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_args

import typer

import eventlib as ev
from eventlib.cli.bus import Namespace, Url, with_bus
from eventlib.cli.console import Json, commands, ending, write_json
from eventlib.cli.pausing import add_pausing
from eventlib.cli.sagas.display import show_list, show_one
from eventlib.cli.terminal import out
from eventlib.saga_policy import Resolution, SagaStatus

T = TypeVar("T")

Name = Annotated[str, typer.Argument(help="The saga's name, as `App.saga` declares it.", metavar="SAGA")]
Id = Annotated[
    str, typer.Argument(help="The id of one saga: the key that it was started with, or as listed.", metavar="ID")
]
Status = Annotated[str | None, typer.Option(help=f"Only these: {', '.join(get_args(SagaStatus))}.")]
Limit = Annotated[int, typer.Option(help="How many sagas of each status at most.", min=1)]
First = Annotated[int, typer.Option(help="Leave out so many of each status.", min=0)]

app = commands(
    "sagas",
    "Look at sagas, and say how parked ones go on: list, show, retry, resolve and cancel; pause and resume all.",
    "`workbench sagas list order --status parked --url redis://localhost:6379/0`",
)


@app.command("list", epilog=ending("`workbench sagas list order --status parked`"))
def list_command(
    name: Name,
    status: Status = None,
    limit: Limit = 20,
    first: First = 0,
    url: Url = None,
    namespace: Namespace = None,
    json_file: Json = None,
) -> None:
    """List sagas by their status, those that got it first first."""
    known = cast(SagaStatus | None, status)

    async def look(sagas: ev.Sagas[Any]) -> list[ev.SagaRecord]:
        return await sagas.list(status=known, count=limit + 1, first=first)

    found = _with_sagas(name, url, namespace, look)
    page, more = list[ev.SagaRecord](), False
    for each in get_args(SagaStatus):
        of_status = [record for record in found if record.status == each]
        page += of_status[:limit]
        more |= len(of_status) > limit
    show_list(name, page)
    if more:
        out.tell(f"There are more: --first {first + limit}")
    write_json(json_file, {"saga": name, "sagas": [asdict(record) for record in page], "more": more})


@app.command("show", epilog=ending("`workbench sagas show order A1`"))
def show_command(name: Name, id_: Id, url: Url = None, namespace: Namespace = None, json_file: Json = None) -> None:
    """Show how one saga stands, and what happened to it."""

    async def look(sagas: ev.Sagas[Any]) -> tuple[ev.SagaRecord, list[ev.SagaNote]]:
        return await sagas.get(id_), await sagas.history(id_)

    record, history = _with_sagas(name, url, namespace, look)
    show_one(record, history)
    write_json(json_file, asdict(record) | {"history": [asdict(note) for note in history]})


@app.command("retry", epilog=ending("`workbench sagas retry order A1`"))
def retry_command(name: Name, id_: Id, url: Url = None, namespace: Namespace = None, json_file: Json = None) -> None:
    """Have a parked saga go on where it stopped, with a new count of attempts."""
    _conclude(_with_sagas(name, url, namespace, lambda sagas: sagas.retry(id_)), json_file)


@app.command("resolve", epilog=ending("`workbench sagas resolve order A1 --as undone`"))
def resolve_command(
    name: Name,
    id_: Id,
    as_: Annotated[
        str,
        typer.Option(
            "--as",
            help="completed or compensated: the saga ends as it stands. done or undone: this became of the step where "
            "it stopped; it goes on behind it, or undoes the steps before it.",
        ),
    ],
    url: Url = None,
    namespace: Namespace = None,
    json_file: Json = None,
) -> None:
    """Say what became of a parked saga."""
    resolution = cast(Resolution, as_)
    _conclude(_with_sagas(name, url, namespace, lambda sagas: sagas.resolve(id_, as_=resolution)), json_file)


@app.command("cancel", epilog=ending("""`workbench sagas cancel order A1 --why "the customer called"`"""))
def cancel_command(
    name: Name,
    id_: Id,
    why: Annotated[str, typer.Option(help="Why; it is kept in the saga's history.")] = "cancelled by an operator",
    url: Url = None,
    namespace: Namespace = None,
    json_file: Json = None,
) -> None:
    """Have a saga undo what it has done. A step that runs may end first; one that has ended stays as it is."""
    _conclude(_with_sagas(name, url, namespace, lambda sagas: sagas.cancel(id_, why=why)), json_file)


def _with_sagas(name: str, url: str | None, namespace: str | None, work: Callable[[ev.Sagas[Any]], Awaitable[T]]) -> T:
    """Do `work` on the sagas of one name, and return its result. A misspelt name looks empty, so it is refused."""

    async def run(bus: ev.Bus) -> T:
        sagas = bus.sagas(name)
        await sagas.check()
        return await work(sagas)

    return with_bus(url, namespace, run)


def _conclude(record: ev.SagaRecord, json_file: Path | None) -> None:
    why = f": {record.why}" if record.why else ""
    out.tell(f"{record.id} is {record.status}{why}")
    write_json(json_file, asdict(record))


add_pausing(
    app,
    "saga",
    Name,
    "order",
    pause="Let no worker of a saga do a step until it is resumed. Steps that run are finished.",
    resume="Let the workers of a paused saga go on.",
)
