"""What all commands share: an error never shows a traceback, and output into a pipe or a file is never cut."""

import errno
import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("arguments", [("--help",), ("simulate", "--help")])
def test_help_that_cannot_be_written_is_told(arguments: tuple[str, ...]) -> None:
    with open(os.devnull) as unwritable:  # opened for reading
        done = subprocess.run(
            [sys.executable, "-m", "workbench", *arguments],
            stdout=unwritable,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (2, f"error: system: {os.strerror(errno.EBADF)}\n")


def test_a_table_in_a_pipe_is_not_cut_at_80_columns() -> None:
    program = "from rich.table import Table; from eventlib.cli.console import out; out.print(Table('x' * 70, 'y' * 70))"
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    printed = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert "x" * 70 in printed and "y" * 70 in printed
