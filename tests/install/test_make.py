"""make in a folder that was copied, moved or made read-only: .venv is made anew, and what cannot be is said."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.repository import TOP

SETS_UP = "-m venv .venv"


@pytest.fixture(params=["clone", "a clone of mine"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with the Makefile and what stands for a .venv that was made in it."""
    folder = tmp_path / str(request.param)
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(TOP / name, folder)
    set_up(folder, shebang(folder))
    return folder


def shebang(made_in: Path) -> str:
    """The first lines of a program, as pip writes them: a space in the path needs a shell."""
    python = f"{made_in}/.venv/bin/python"
    return f'#!/bin/sh\n\'\'\'exec\' "{python}" "$0" "$@"\n' if " " in python else f"#!{python}\n"


def set_up(folder: Path, first_lines: str) -> None:
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "workbench"):
        (programs / name).write_text(f"{first_lines}import sys\n")
        (programs / name).chmod(0o755)
    (folder / ".venv" / ".ready").touch()


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_what_was_made_here_is_used(folder: Path) -> None:
    assert SETS_UP not in make(folder, "-n", "check").stdout


def test_a_moved_folder_is_set_up_anew(folder: Path) -> None:
    moved = folder.rename(folder.with_name("moved"))
    assert SETS_UP in make(moved, "-n", "check").stdout


def test_a_copy_below_the_same_path_is_set_up_anew(folder: Path, tmp_path: Path) -> None:
    """Its path ends as the first one does: a part of a path is not the path."""
    copy = tmp_path / "elsewhere"
    nested = Path(f"{copy}{folder}")
    shutil.copytree(folder, nested)
    shutil.rmtree(folder / ".venv")
    set_up(folder, shebang(nested))
    assert SETS_UP in make(folder, "-n", "check").stdout


def test_a_python_that_is_gone_is_replaced(folder: Path) -> None:
    python = folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(folder / "gone")
    assert SETS_UP in make(folder, "-n", "check").stdout


def test_nothing_of_the_other_folder_stays(folder: Path) -> None:
    moved = folder.rename(folder.with_name("moved"))
    done = make(moved, "check", "PYTHON=false")
    assert done.returncode and "Python 3.11 or newer" in done.stdout
    assert (moved / ".venv").exists()  # nothing is removed that cannot be made anew
    (moved / "python").write_text('#!/bin/sh\ncase "$2" in venv) exit 1;; esac\n')
    (moved / "python").chmod(0o755)
    done = make(moved, "check", "PYTHON=./python")
    assert done.returncode and "it was made in another folder" in done.stdout
    assert not (moved / ".venv").exists()


def test_a_folder_that_cannot_be_written_is_said(folder: Path) -> None:
    if os.geteuid() == 0:
        shell = folder / "bash"  # root may write everywhere, so a shell says that it may not
        shell.write_text('#!/bin/sh\nexec bash -c "$(printf %s "$2" | sed "s/\\[ -w \\. \\]/false/")"\n')
        shell.chmod(0o755)
        done = make(folder, "check", "SHELL=./bash", "PYTHON=false")
    else:
        folder.chmod(0o555)
        done = make(folder, "check", "PYTHON=false")
        folder.chmod(0o755)
    assert done.returncode and "cannot be written" in done.stdout
    assert f'cp -R "{folder}"' in done.stdout
