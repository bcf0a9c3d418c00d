"""The schemas commands: they export event classes for other languages, and say what a change of a class breaks."""

import importlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from eventlib import Registry, SchemaChange, open_export, schema_changes
from eventlib.cli.console import FAILED, Commands, Json, ending, keep_apart, write_json
from eventlib.cli.terminal import err, out, print_table
from eventlib.errors import InvalidArgument

app = typer.Typer(
    name="schemas",
    cls=Commands,
    help="Export event schemas, and check whether a change breaks readers or writers.",
    epilog=ending("`workbench schemas export eventlib.catalog --output schemas`"),
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Side = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        help="`readers` or `writers`: exit with 0 even if this side breaks, such as when readers are updated first.",
        metavar="SIDE",
    ),
]


@app.command("export", epilog=ending("`workbench schemas export shop.events --output schemas`"))
def export_command(
    modules: Annotated[
        list[str], typer.Argument(help="Modules or packages that hold event classes.", metavar="MODULE")
    ],
    output: Annotated[Path, typer.Option(help="The directory to write to; it is made if it is missing.")],
    title: Annotated[str, typer.Option(help="Title of the AsyncAPI document.")] = "Events",
    json_file: Json = None,
) -> None:
    """Write asyncapi.json, and the JSON Schemas (2020-12) of each event's data and envelope."""
    _refuse_files(modules)
    registry = _gathered(modules)
    keep_apart(_sources(modules), json_file, output / "asyncapi.json")
    written = registry.save(output, title=title)
    write_json(json_file, {"events": sorted(registry), "files": [str(file) for file in written]})
    out.tell(f"{len(registry)} event{'' if len(registry) == 1 else 's'}, {len(written)} files in {output}")


@app.command("check", epilog=ending("`workbench schemas check schemas shop.events`"))
def check_command(
    old: Annotated[str, typer.Argument(help="An export's directory or asyncapi.json, or a module.", metavar="OLD")],
    new: Annotated[str, typer.Argument(help="The same, after the change.", metavar="NEW")],
    accept: Side = None,
    json_file: Json = None,
) -> None:
    """Compare two sets of events. Where the change breaks something, the exit status is 1.

    Readers break where old programs cannot read new events; writers break where new programs cannot read old events.
    """
    accepted = set(accept or ())
    if unknown := accepted - {"readers", "writers"}:
        raise InvalidArgument(f"--accept {' '.join(sorted(unknown))}", "is no side; give readers or writers")
    _refuse_files([old, new])
    changes = schema_changes(_opened(old), _opened(new))
    exports = [path for side in (old, new) for path in (Path(side), Path(side) / "asyncapi.json")]
    keep_apart([*exports, *_sources([old, new])], json_file)
    broken = {side for change in changes for side in change.breaks}
    _show(changes)
    write_json(json_file, {"compatible": not broken, "breaks": sorted(broken), "changes": list(map(_row, changes))})
    if broken:
        err.tell(f"This breaks {' and '.join(sorted(broken))}.")
    if broken - accepted:
        raise typer.Exit(FAILED)


def _opened(source: str) -> dict[str, Any]:
    """The export at this path if there is one, otherwise the module of this name."""
    path = Path(source)
    if path.is_file() or (path / "asyncapi.json").is_file():
        return open_export(path)
    if all(part.isidentifier() for part in source.split(".")):
        return _gathered([source]).asyncapi()
    return open_export(path)


def _refuse_files(sources: list[str]) -> None:
    """A program is named as Python imports it, which is easily confused with its file."""
    for source in sources:
        if source.endswith(".py"):
            raise InvalidArgument(
                source, "is a file; name its module as `import` does: shop.events, not shop/events.py"
            )


def _gathered(modules: list[str]) -> Registry:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)  # `python -m` has it there; the workbench script has its own directory
    try:
        registry = Registry(*map(importlib.import_module, modules))
    except (Exception, SystemExit) as error:  # a module may do anything when it is imported
        problem = f"cannot be imported: {type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError) and error.name in modules:
            problem = "is neither a module that can be imported from here nor an export; check its spelling"
        raise InvalidArgument(f"module {', '.join(modules)}", problem) from error
    if not registry:
        raise InvalidArgument(f"module {', '.join(modules)}", "holds no event class with a type of its own")
    return registry


def _sources(modules: list[str]) -> list[Path]:
    """The files of the modules that have been imported."""
    files = [getattr(sys.modules.get(name), "__file__", None) for name in modules]
    return [Path(file) for file in files if file]


def _show(changes: list[SchemaChange]) -> None:
    if not changes:
        out.tell("No changes.")
        return
    columns = {
        "event": [change.event for change in changes],
        "field": [change.path for change in changes],
        "change": [change.detail for change in changes],
        "breaks": [" ".join(sorted(change.breaks)) or "nothing" for change in changes],
    }
    breaking = {number for number, change in enumerate(changes) if change.breaks}
    print_table(columns, folded=columns, bold_rows=breaking)


def _row(change: SchemaChange) -> dict[str, Any]:
    return {
        "event": change.event,
        "path": change.path,
        "rule": change.rule,
        "breaks": sorted(change.breaks),
        "detail": change.detail,
    }
