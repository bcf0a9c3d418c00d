"""workbench init: a folder to begin in, with a scenario, a notebook and a CI job that run as they are."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from eventlib.cli.console import Json, ending, write_json
from eventlib.cli.terminal import out
from eventlib.system_errors import with_mend
from eventlib.whole_files import write_whole

app = typer.Typer()

# Where each file of `examples/first` goes.
_PLACES = {"ci.yml": ".github/workflows/ci.yml"}


@app.command("init", epilog=ending("`workbench init my-system`"))
def init_command(
    folder: Annotated[Path, typer.Argument(help="The folder to write into; it is made, or must be empty.")],
    json_file: Json = None,
) -> None:
    """Write a first scenario, a notebook and a CI job into an empty folder."""
    from sim.cli.shipped import shipped

    source = shipped() / "examples" / "first"
    refuse_what_is_there(folder)
    written: list[Path] = []
    for file in sorted(path for path in source.iterdir() if path.is_file()):
        place = folder / _PLACES.get(file.name, file.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, file.read_text(encoding="utf-8"))
        written.append(place)
    written.append(folder / "requirements.txt")
    write_whole(written[-1], f"event-workbench[lab]=={version('event-workbench')}\n")
    for place in written:
        out.tell(f"wrote {place}")
    out.tell(f"Next: cd {folder}, then workbench simulate scenario.yaml")
    write_json(json_file, {"folder": str(folder), "files": [str(place.relative_to(folder)) for place in written]})


def refuse_what_is_there(folder: Path) -> None:
    """Make sure that nothing of the user's would be overwritten.

    Raises:
        typer.BadParameter: the folder is a file, or has something in it, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = next(folder.iterdir(), None)
    except OSError as error:
        raise typer.BadParameter(f"{folder} cannot be written: {with_mend(error)}") from error
    if there is not None:
        raise typer.BadParameter(f"{folder} is not empty: it has {there.name}; name a new folder")
