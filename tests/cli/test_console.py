"""What all commands share: an expected error is one line, a table in a pipe is not cut, and JSON is valid."""

import errno
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pydantic
import pytest
import typer
from typer.testing import CliRunner, Result

import eventlib as ev
from eventlib.cli.console import Commands, writable, write_json
from eventlib.extras import MissingExtra


@pytest.mark.parametrize("arguments", [("--help",), ("simulate", "--help")])
def test_help_that_cannot_be_written_to_stdout_is_reported(arguments: tuple[str, ...]) -> None:
    with open(os.devnull) as unwritable:  # it was opened to be read
        done = subprocess.run(
            [sys.executable, "-m", "workbench", *arguments],
            stdout=unwritable,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        2,
        f"error: standard output: {os.strerror(errno.EBADF)}; open it for what it is used for\n",
    )


def test_a_table_in_a_pipe_is_not_cut_at_80_columns() -> None:
    program = (
        "from rich.table import Table; from eventlib.cli.terminal import out; out.print(Table('x' * 70, 'y' * 70))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    printed = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert "x" * 70 in printed and "y" * 70 in printed


def run(work: Callable[[], object]) -> Result:
    """What a command that does this work ends with."""
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)
    app.command("work")(work)
    app.command("other")(lambda: None)  # with one command alone, typer makes no group
    return CliRunner().invoke(app, ["work"])


def raising(error: BaseException) -> Callable[[], object]:
    def work() -> None:
        raise error

    return work


EXPECTED = {
    "error: broker: no [bold] answer": ev.BrokerUnavailable("broker", "no [bold] answer"),
    "error: this needs numpy, which is not installed: pip install": MissingExtra("this", "numpy", "workbench"),
    "error: this command needs numpy, which is not installed: pip install": ModuleNotFoundError(name="numpy"),
    "error: memory: there is not enough of it for this": MemoryError(),
    "error: there.txt: no such file": FileNotFoundError(errno.ENOENT, "no such file", "there.txt"),
}


@pytest.mark.parametrize("told", EXPECTED)
def test_an_expected_error_is_one_line_and_status_2(told: str) -> None:
    result = run(raising(EXPECTED[told]))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(told) and result.stderr.count("\n") == 1


def test_a_run_without_a_result_is_status_3() -> None:
    class Invalid(Commands):
        expected = (ev.EventlibError,)
        invalid = (ev.BrokerUnavailable,)

    app = typer.Typer(cls=Invalid, pretty_exceptions_enable=False)
    app.command("work")(raising(ev.BrokerUnavailable("broker", "no answer")))
    app.command("other")(raising(ev.UsageError("app", "wrong")))
    assert [CliRunner().invoke(app, [name]).exit_code for name in ("work", "other")] == [3, 2]


def test_a_validation_error_is_reported_without_links_of_pydantic() -> None:
    def work() -> None:
        pydantic.TypeAdapter(int).validate_python("x")

    result = run(work)
    assert result.exit_code == 2 and "pydantic" not in result.stderr
    assert result.stderr.startswith("error: Input should be a valid integer")


def test_an_interrupt_is_status_130() -> None:
    result = run(raising(KeyboardInterrupt()))
    assert result.exit_code == 130 and "Interrupted" in result.stderr


@pytest.mark.parametrize("error", [RuntimeError("a defect"), ModuleNotFoundError(name="sim.lost")])
def test_a_defect_keeps_its_traceback(error: Exception) -> None:
    assert run(raising(error)).exception is error


def test_json_has_a_form_for_numbers_without_a_value(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    write_json(file, {"a": math.nan, "b": [1.0, {"c": math.inf}], "d": (-math.inf, "x")})
    assert json.loads(file.read_text(), parse_constant=pytest.fail) == {
        "a": None,
        "b": [1.0, {"c": "Infinity"}],
        "d": ["-Infinity", "x"],
    }
    write_json(None, {})


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    for file in (Path("-"), tmp_path, tmp_path / "missing" / "file.json"):
        with pytest.raises(typer.BadParameter, match="name"):
            writable(file)
    assert writable(tmp_path / "file.json") == tmp_path / "file.json"
    assert writable(None) is None
