"""Where the system refuses a file, the line names the place and the mend: for every kind of error and every command."""

import errno
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from eventlib.system_errors import with_mend, with_place
from sim.cli.commands import COMMANDS, app
from tests.cli.test_console import raising, run

SCENARIO = """
name: orders
load: {kind: constant, event: order.placed, rate_per_s: 20, duration_s: 1}
services: {billing: {consumes: order.placed, service_time: {kind: constant, mean_s: 0.005}}}
"""
# What a command is given for what it needs beside the file that is tried. Nothing listens at port 1.
GIVEN = {
    "as_": "done",
    "file": "good.yaml",
    "modules": "eventlib.catalog",
    "out": "new.json",
    "output": "new",
    "roles": "publisher",
    "scenario": "good.yaml",
    "url": "redis://127.0.0.1:1",
    "vary": "services.billing.consumers=1..2",
}
MADE = {"init folder", "fidelity histories", "schemas export output", "report output"}  # with the folders above them
UNREAD = {"compare learned", "predict learned"}  # what is there is of use to handlers of an App alone
SHARED = {"json_file", "junit", "markdown"}  # one option for all commands
PLACES = {
    "missing": "none/x",
    "a folder": "folder",
    "below a file": "file/x",
    "too long": 300 * "x",
    "a loop": "loop/x",
}


def leaves(command: Any, path: list[str]) -> Iterator[tuple[list[str], Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
    for name, one in (below or {}).items():
        yield from leaves(one, [*path, name])


def paths() -> Iterator[tuple[str, list[str], Any, Any]]:
    """Every argument and option that names a file, and the command that has it."""
    for name, listed in COMMANDS.items():
        holder = typer.Typer(add_completion=False)
        holder.add_typer(import_module(listed.module).app)
        top: Any = typer.main.get_command(holder)
        for path, command in leaves(getattr(top, "commands", {name: top})[name], [name]):
            for one in command.params:
                shared = one.name in SHARED and path != ["simulate"]
                if "Path" in str(one.type_descriptor.annotation) and not shared:
                    yield " ".join([*path, one.name]), path, command, one


PATHS = {name: rest for name, *rest in paths() if name != "compare after"}  # read as the first of two histories is


def line_of(path: list[str], command: Any, tried: Any, place: str) -> list[str]:
    """A command line that is right but for the place."""
    arguments, options = [], []
    for one in command.params:
        if one is not tried and not one.required and one.name not in ("scenario", "url"):
            continue
        value = place if one is tried else GIVEN.get(one.name, "x")
        if one.param_type_name == "argument":
            arguments.append(value)
        else:
            options += [one.opts[0], value]
    return [*path, *arguments, *options]


@pytest.mark.parametrize("name", PATHS)
def test_every_file_that_cannot_be_used_is_named_with_a_mend(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(SCENARIO)
    (tmp_path / "file").write_text("a file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for kind, place in PLACES.items():
        if name in MADE and kind in ("missing", "a folder"):
            continue
        if name in UNREAD and kind == "a folder":
            continue
        result = CliRunner().invoke(app, line_of(*PATHS[name], place))
        assert result.exit_code == 2, (kind, result.output)
        [line] = (one for one in result.stderr.splitlines() if "error: " in one)  # a bar may stand before it
        named, _, rest = line.partition(place.partition("/")[0] if kind in ("below a file", "a loop") else place)
        assert named.startswith("error: ") and ";" in rest, (kind, line)


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_kind_of_error_has_a_mend(number: int) -> None:
    result = run(raising(OSError(number, os.strerror(number), "there.txt")))
    said, mend = result.stderr.removeprefix("error: there.txt: ").rstrip("\n").split("; ", 1)
    assert (result.exit_code, result.stderr.count("\n"), said) == (2, 1, os.strerror(number))
    assert mend and mend == with_mend(OSError(number, "it fails")).removeprefix("it fails; ")


def test_an_error_that_names_no_file_has_a_place_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_place(OSError(errno.EAGAIN, "no more")).startswith("the system: no more; ")
    assert with_place(OSError("no number")) == "the system: no number; name another place, or look after this one"
    assert with_place(OSError(errno.EACCES, "no", b"a\xff")).startswith("a\udcff: no; ")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = CliRunner().invoke(app, ["simulate", "x.yaml", "--json", "y.json"])
    assert result.exit_code == 2 and "; " in result.stderr, result.stderr
