"""Every command works on any terminal: closed or full streams, any encoding, 60 columns, whatever the user has set."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sim.cli.commands import app

NAME = "orders [/eu] :smile: 日本語"
SCENARIO = """
name: "orders [/eu] :smile: 日本語"
load: {kind: constant, event: order.placed, rate_per_s: 20, duration_s: 1}
services: {billing: {consumes: order.placed, service_time: {kind: constant, mean_s: 0.005}}}
"""
WORKBENCH = [sys.executable, "-m", "workbench"]
CHEAP = ["schemas", "check", "eventlib.catalog", "eventlib.catalog"]
OWN = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TERM", "PYTHONIOENCODING"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "scenario.yaml").write_text(SCENARIO, encoding="utf-8")
    return tmp_path / "scenario.yaml"


def environment(**variables: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in OWN} | variables


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*WORKBENCH, *arguments], env=environment(**variables), capture_output=True, timeout=120, check=False
    )


def in_shell(line: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which "$@" is the command."""
    command = ["bash", "-c", line, "bash", *WORKBENCH, *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)


# Streams


@pytest.mark.parametrize("arguments", [["--help"], ["dlq", "list", "--help"], CHEAP])
def test_closed_streams_are_no_error(arguments: list[str]) -> None:
    done = in_shell('"$@" >&-; echo $?; "$@" >&- 2>&- <&-; echo $?', *arguments)
    assert (done.stdout, done.stderr) == ("0\n0\n", "")


def test_a_result_file_is_whole_although_all_streams_are_closed(file: Path) -> None:
    result = file.with_name("result.json")
    done = in_shell('"$@" >&- 2>&- <&-', "simulate", str(file), "--seeds", "2", "--json", str(result))
    assert done.returncode == 0
    assert json.loads(result.read_text())["scenario"] == NAME


def test_a_reader_that_stops_reading_costs_no_result_and_no_error(file: Path) -> None:
    result = file.with_name("result.json")
    line = '"$@" | true; echo ${PIPESTATUS[0]}'
    done = in_shell(line, "simulate", str(file), "--seeds", "2", "--json", str(result))
    assert done.stdout == "0\n" and "rror" not in done.stderr
    assert "metrics" in json.loads(result.read_text())
    assert in_shell(line, *CHEAP, "--json", "-").stdout == "0\n"


def test_a_full_stdout_is_one_line_and_a_full_stderr_is_passed_over() -> None:
    done = in_shell('"$@" >/dev/full; echo $?; "$@" 2>/dev/full', *CHEAP)
    told = "error: standard output: No space left on device; make room on that disk, or name a place on another one\n"
    assert (done.stdout, done.stderr) == ("2\nNo changes.\n", told)


# Encodings, and what the user has set


@pytest.mark.parametrize("encoding", ["ascii:strict", "utf-16"])
def test_what_the_encoding_does_not_have_is_escaped(file: Path, encoding: str) -> None:
    done = run("simulate", str(file), "--seeds", "1", PYTHONIOENCODING=encoding)
    assert done.returncode == 0
    said = done.stdout.decode(encoding.partition(":")[0])
    escaped = "orders [/eu] :smile: \\u65e5\\u672c\\u8a9e"
    assert said.startswith(NAME if "utf" in encoding else escaped)
    assert "lag_s_p50" in said


def test_what_the_user_has_set_reaches_no_result(file: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("font.size: 30\n")
    own = {"FORCE_COLOR": "1", "MPLBACKEND": "nonsense", "PYTHONUTF8": "0", "LC_ALL": "C", "TERM": "xterm-256color"}
    own |= {"MATPLOTLIBRC": str(tmp_path), "PYTHONHASHSEED": "7", "TTY_COMPATIBLE": "1", "CLICOLOR_FORCE": "1"}
    usual, changed = tmp_path / "usual.json", tmp_path / "changed.json"
    assert invoke("simulate", file, "--seeds", 2, "--json", usual).exit_code == 0
    done = run("simulate", str(file), "--seeds", "2", "--json", str(changed), **own)
    assert done.returncode == 0 and b"\x1b" not in done.stdout + done.stderr
    assert {**json.loads(usual.read_text()), "date": ""} == {**json.loads(changed.read_text()), "date": ""}


def test_a_backend_of_matplotlib_that_does_not_exist_is_of_no_use_and_no_harm() -> None:
    program = "import workbench\ntry: workbench.main()\nfinally: import sim.show.plots"
    done = subprocess.run(
        [sys.executable, "-c", program, "--version"],
        env=environment(MPLBACKEND="nonsense"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# Widths


def on_terminal(columns: int, *arguments: str, **variables: str) -> str:
    """What a command writes on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [*WORKBENCH, *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(**variables)):
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says so at the end
                break
            said += part
            if not part:
                break
        os.close(ours)
    return said.decode()


@pytest.mark.parametrize(
    ("variables", "colour"),
    [({"TERM": "xterm-256color"}, True), ({"TERM": "dumb"}, False), ({"TERM": "xterm", "NO_COLOR": "1"}, False)],
)
def test_colour_is_for_a_terminal_that_has_it(variables: Mapping[str, str], colour: bool) -> None:
    said = on_terminal(60, "schemas", "check", "no_such_module", "x", **variables)
    assert "error:" in said and "no_such_module" in said.replace("\r\n", "")
    assert (re.search(r"\x1b\[[\d;]*31m", said) is not None) == colour


def test_a_table_fits_sixty_columns_with_whole_numbers(file: Path) -> None:
    said = on_terminal(60, "simulate", str(file), "--seeds", "3", TERM="xterm-256color")
    lines = [re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", line).rstrip() for line in said.replace("\r", "\n").split("\n")]
    table = lines[next(i for i, line in enumerate(lines) if "throughput_per_s" in line) - 2 :]
    table = table[: next(i for i, line in enumerate(table) if line.startswith("true"))]
    assert max(map(len, table)) <= 60
    assert any(line.split()[:5] == ["lag_s_p50", "0.005", "0.005", "to", "0.005"] for line in table), table
    assert any("100 %" in line and re.search(r"\d:\d\d:\d\d$", line) for line in lines)


def test_numbers_are_whole_on_any_width(file: Path) -> None:
    """What does not fit is left out as a column, or wrapped by the terminal."""
    for columns in ("1", "20", "33", "0", "x", ""):
        result = CliRunner(env={"COLUMNS": columns}).invoke(app, ["simulate", str(file), "--seeds", "3"])
        assert result.exit_code == 0 and "0.005 to 0.005" in result.stdout and "\u2026" not in result.stdout


# Options of all commands


@pytest.mark.parametrize("command", [[], ["simulate"], ["dlq"], ["dlq", "list"], ["schemas", "check"]])
def test_h_is_help(command: list[str]) -> None:
    short, long = (CliRunner().invoke(app, [*command, option]) for option in ("-h", "--help"))
    assert short.exit_code == 0 and "Usage" in short.stdout and short.stdout == long.stdout


def test_version() -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert said.exit_code == 0 and re.fullmatch(r"event-workbench \d+\.\d+\.\d+\n", said.stdout)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--nonsense"], "No such option: --nonsense"),
        (["simulat"], "No such command 'simulat'"),
        (["simulate"], "Missing argument 'SCENARIO'"),
        (["simulate", "x.yaml", "--seeds", "0"], "'--seeds'"),
        (["dlq", "list", "orders", "billing", "--nonsense"], "--nonsense"),
        (["simulate", "none.yaml"], "none.yaml: cannot be read"),
        (["schemas", "check", "no_such_module", "x"], "no_such_module"),
    ],
)
def test_a_problem_is_one_line(arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(app, arguments)
    [line] = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (2, "") and line.startswith("error: ") and told in line


def test_each_problem_of_a_scenario_has_a_line(file: Path) -> None:
    file.write_text(SCENARIO.replace("20", "-20").replace("0.005", "yes"), encoding="utf-8")
    result = CliRunner().invoke(app, ["simulate", str(file)])
    places = ("load.rate_per_s: ", "services.billing.service_time.mean_s: ")
    lines = result.stderr.splitlines()
    assert result.exit_code == 2 and len(lines) == 2
    assert all(line.startswith(f"error: {file}: {place}") for line, place in zip(lines, places, strict=True))


# Results for machines


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_json_on_standard_output_is_nothing_else(file: Path) -> None:
    result = invoke("simulate", file, "--seeds", 2, "--json", "-")
    told = json.loads(result.stdout, parse_constant=pytest.fail)
    assert told["metrics"]["billing.lag_s_p50"] == told["metrics"]["lag_s_p50"]
    assert {"date", "versions", "machine", "calibration", "runs", "checks"} <= set(told)
    assert f"{NAME}, simulated, runs: 2" in result.stderr and "true    Nothing" in result.stderr
    after = invoke("simulate", file, "--seeds", 2)
    assert after.stdout.startswith(NAME)


def test_an_output_never_overwrites_an_input(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    (tmp_path / "hard.yaml").hardlink_to(file)
    os.mkdir(tmp_path / "in")
    for output in (file, link, tmp_path / "hard.yaml", tmp_path / "in" / ".." / file.name):
        for option in ("--json", "--history"):
            result = invoke("simulate", file, option, output)
            assert result.exit_code == 2 and "is read; it would be overwritten" in result.stderr
    result = invoke("simulate", file, "--json", tmp_path / "new", "--history", tmp_path / "in" / ".." / "new")
    assert result.exit_code == 2 and "would be written twice" in result.stderr
    assert file.read_text(encoding="utf-8") == SCENARIO and not (tmp_path / "new").exists()


def test_the_trace_of_a_scenario_is_an_input(file: Path, tmp_path: Path) -> None:
    trace = tmp_path / "calls.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2026-01-01 00:00:00,1,1\n")
    file.write_text(re.sub("load: .*", "load: {kind: trace, event: order.placed, file: calls.csv}", SCENARIO), "utf-8")
    for arguments in (["simulate", "--json"], ["simulate", "--history"], ["compare", "--json"], ["report", "--output"]):
        result = invoke(arguments[0], file, arguments[1], trace)
        assert result.exit_code == 2 and "is read; it would be overwritten" in result.stderr
    assert trace.read_text().startswith("TIMESTAMP")


def test_a_module_and_an_export_are_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    source = 'import eventlib as ev\nclass Seen(ev.Event, type="seen", version=1, stream="s"):\n    n: int\n'
    (tmp_path / "seen_events.py").write_text(source)
    assert invoke("schemas", "export", "seen_events", "--output", "out").exit_code == 0
    assert invoke("schemas", "export", "seen_events", "--output", "out", "--json", "seen_events.py").exit_code == 2
    assert invoke("schemas", "export", "seen_events", "--output", "out", "--json", "out/asyncapi.json").exit_code == 2
    assert invoke("schemas", "check", "out", "seen_events", "--json", "out/asyncapi.json").exit_code == 2
    assert invoke("schemas", "check", "out", "seen_events", "--json", "seen_events.py").exit_code == 2
    assert (tmp_path / "seen_events.py").read_text() == source
    assert invoke("schemas", "check", "out", "seen_events", "--json", "new.json").exit_code == 0


def test_a_file_that_cannot_be_written_is_refused_before_the_run(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim.worlds.simulated.simulate", lambda *_, **__: pytest.fail("it ran"))
    for option in ("--json", "--history"):
        for target in (
            tmp_path,
            tmp_path / "none" / "x",
            tmp_path / ("x" * 300),
            file / "x",
            "/proc/x",
            "/proc/version",
        ):
            result = invoke("simulate", file, option, target)
            assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1, result.output
            assert "cannot be written" in result.stderr
    old = tmp_path / "old.json"
    old.write_text("old")
    for target in (old, tmp_path / "new.json"):
        assert invoke("simulate", file, "--json", target, "--history", tmp_path).exit_code == 2
    assert old.read_text() == "old" and sorted(tmp_path.iterdir()) == [old, file]


def test_the_bar_goes_on_while_checks_run_and_files_are_written(file: Path, tmp_path: Path) -> None:
    history = tmp_path / "history.parquet"
    said = invoke("simulate", file, "--seeds", 2, "--history", history).stderr
    assert [step for step in ("simulating", "checking", "writing") if step not in said] == []
