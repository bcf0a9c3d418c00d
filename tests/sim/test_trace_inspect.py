"""`workbench trace inspect` says what a trace is like, and writes a scenario that runs."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from sim.cli.commands import app
from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.declare.traces import Trace
from sim.declare.traces.summary import likely_columns, rate_over_time, summarize
from sim.declare.traces.tables import Seen
from sim.evidence.capacity import overloads
from sim.worlds.simulated import simulate


def trace(at_s: Floats) -> Trace:
    return Trace(at_s, {})


def test_even_distances_have_no_dispersion() -> None:
    found = summarize(trace(np.arange(2001) / 10))
    assert (found.rows, found.length_s, found.rate_per_s) == (2001, 200.0, 10.0)
    assert found.gap_s_p50 == pytest.approx(0.1) and found.gap_s_max == pytest.approx(0.1)
    assert found.cv == pytest.approx(0.0, abs=1e-9)
    assert found.dispersion[1.0] == pytest.approx(0.0, abs=0.02)
    assert set(found.dispersion) == {0.1, 1.0, 10.0}


def test_independent_rows_have_a_dispersion_and_a_cv_of_one() -> None:
    at_s = np.sort(np.random.default_rng(4).uniform(0.0, 2000.0, 20_000))
    found = summarize(trace(at_s - at_s[0]))
    assert found.cv == pytest.approx(1.0, abs=4 * (2 / 20_000) ** 0.5)
    for window_s, dispersion in found.dispersion.items():  # within four standard errors
        assert dispersion == pytest.approx(1.0, abs=4 * (2 / (2000 / window_s)) ** 0.5)


def test_bursts_of_ten_have_a_dispersion_of_ten_and_their_longest_gap_is_found() -> None:
    starts_s = np.sort(np.random.default_rng(4).uniform(0.0, 2000.0, 4000))
    starts_s[starts_s > 1000] += 500.0
    found = summarize(trace(np.repeat(starts_s - starts_s[0], 10)))
    assert found.gap_s_p50 == 0.0 and found.cv > 3
    assert found.gap_s_max == pytest.approx(500.0, abs=2.0)
    assert found.gap_max_at_s == pytest.approx(1000.0, abs=2.0)


def test_rate_over_time() -> None:
    edges_s, per_s = rate_over_time(trace(np.array([0.0, 1.0, 2.0, 9.0, 10.0])), 5)
    assert edges_s.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert per_s.tolist() == [1.0, 0.5, 0.0, 0.0, 1.0]


def seen(*columns: tuple[str, str]) -> list[Seen]:
    """Columns by name, and `times`, `numbers`, `ascending` or `text`."""
    return [
        Seen(name, "numbers" if has == "ascending" else has, "", 0.0, 9.0, has == "ascending")  # type: ignore[arg-type]
        for name, has in columns
    ]


@pytest.mark.parametrize(
    ("columns", "likely"),
    [
        ([("user_id", "numbers"), ("ts", "times"), ("size", "numbers")], {"at": "ts", "work": "size"}),
        (
            [("n", "numbers"), ("startTime", "numbers"), ("durationMs", "numbers")],
            {"at": "startTime", "work": "durationMs"},
        ),
        ([("x", "ascending"), ("name", "text")], {"at": "x"}),
        ([("ts", "text"), ("x", "ascending")], {"at": "ts"}),
        ([("note", "text"), ("start", "text"), ("time", "numbers")], {"at": "time"}),
        ([("name", "text"), ("n", "numbers")], {}),
        (
            [("TIMESTAMP", "times"), ("ContextTokens", "numbers"), ("GeneratedTokens", "numbers")],
            {"at": "TIMESTAMP", "context": "ContextTokens", "work": "GeneratedTokens"},
        ),
    ],
)
def test_which_column_is_likely_what(columns: list[tuple[str, str]], likely: dict[str, str]) -> None:
    assert likely_columns(seen(*columns)) == likely


@pytest.fixture
def inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on a file with this content."""
    monkeypatch.chdir(tmp_path)

    def run(content: str, *arguments: str) -> Any:
        Path("calls.csv").write_text(content)
        return CliRunner().invoke(app, ["trace", "inspect", "calls.csv", *arguments])

    return run


def drawn(rows: int = 2000) -> str:
    rng = np.random.default_rng(9)
    at_s = np.cumsum(rng.exponential(0.05, rows)) + 1_767_225_600
    sizes = rng.integers(1, 100, rows)
    lines = (f"{at:.6f};{size};GET" for at, size in zip(at_s.tolist(), sizes.tolist(), strict=True))
    return "\n".join(("epoch;size;method", *lines, ""))


def test_it_shows_the_trace_and_writes_a_scenario_that_is_half_busy(inspect: Any) -> None:
    result = inspect(drawn(), "--out", "mine.yaml")
    assert result.exit_code == 0, result.output
    said = result.stdout
    assert "2,000 rows in" in said and "from 2026-01-01 00:00:00 UTC on" in said
    assert "CV of gaps" in said and "Index of dispersion" in said and "Rate  " in said
    assert [line.split()[-1] for line in said.splitlines() if line.strip().startswith(("epoch", "size"))] == [
        "at",
        "work",
    ]
    scenario = Scenario.load("mine.yaml")
    history = simulate(scenario, [0])
    busy = scenario.plan(0).service_s["worker"].sum() / scenario.offered_load.duration_s
    assert busy == pytest.approx(0.5, rel=0.02)
    assert not list(overloads(history))


def test_json_has_what_is_shown(inspect: Any) -> None:
    result = inspect(drawn(), "--json", "-", "--work", "size", "--at", "epoch")
    told = json.loads(result.stdout)
    assert told["columns"] == {"at": "epoch", "work": "size"}
    assert told["delimiter"] == ";"
    assert told["summary"]["rows"] == 2000
    assert told["summary"]["dispersion"]["1"] == pytest.approx(1.0, abs=0.6)
    assert len(told["rate"]["per_s"]) == 60 and len(told["rate"]["edges_s"]) == 61
    assert [one["has"] for one in told["seen"]] == ["numbers", "numbers", "text"]


def test_a_scenario_that_cannot_be_written_costs_nothing_else(inspect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(file: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr("sim.cli.trace.write_whole", no_room)
    result = inspect(drawn(), "--out", "mine.yaml", "--json", "calls.json")
    assert result.exit_code == 2 and "error: mine.yaml: " in result.stderr
    assert "2,000 rows in" in result.stdout and "The scenario is" not in result.stdout
    assert json.loads(Path("calls.json").read_text())["summary"]["rows"] == 2000


def test_one_row_has_no_rate(inspect: Any) -> None:
    """But a scenario that sends it."""
    result = inspect("ts,size\n2026-01-01T00:00:00Z,5\n", "--out", "mine.yaml", "--json", "calls.json")
    assert result.exit_code == 0, result.output
    assert "One row at one moment" in result.stdout
    assert json.loads(Path("calls.json").read_text())["summary"]["rate_per_s"] is None
    assert len(Scenario.load("mine.yaml").plan(0).arrivals_s) == 1


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        ("a,b\nx,y\n", (), "no column looks like times; name it by --at: a, b"),
        ("ts,size\n1,2\n", ("--at", "when"), "has no column 'when'; there are: ts, size"),
        ("ts,size\n1,2\n", ("--delimiter", ";;"), "--delimiter is one character"),
        ("ts,size\n1,2\n3\n", (), "line 3: '3' is no row of this trace (1 fields, where the header has 2)"),
        ("ts,size\n", (), "has no rows"),
        ("", (), "has no column names"),
        ("1.5,2\n2.5,3\n", (), "has values and no column names (1.5, 2)"),
        ("2026-01-01T00:00:00Z,2\n2026-01-01T00:00:01Z,3\n", (), "has values and no column names"),
        (
            "ts;size\n1,5;2\n",
            (),
            "'1,5;2' is no row of this trace (the time has a comma where a decimal point is read)",
        ),
        ("ts;size\n1;2,5\n", ("--work", "size"), "'2,5' has a comma where a decimal point is read"),
        (
            "ts,size\n1,2\n2026-01-01T00:00:00Z,3\n",
            (),
            "(the time is a time with a zone, and the first one is a number)",
        ),
        ("ts,size\n1,2\n", ("--out", "calls.csv"), "is read; it would be overwritten"),
    ],
)
def test_what_cannot_be_inspected(inspect: Any, content: str, arguments: tuple[str, ...], said: str) -> None:
    result = inspect(content, *arguments)
    assert result.exit_code == 2
    assert said in result.output.replace("\n", "")
    assert "Traceback" not in result.output


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["trace", "inspect", str(tmp_path / "none.csv")])
    assert result.exit_code == 2
    output = result.output.replace("\n", "")
    assert "none.csv: no such trace; correct its name" in output
    assert "--sample-if-missing" not in output  # which this command has not
