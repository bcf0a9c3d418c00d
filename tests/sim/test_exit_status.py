"""How a command ends says what its verdicts come to: 0 holds, 1 a promise is broken, 2 bad input, 3 invalid run."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from eventlib.cli.console import EXIT_STATUS
from sim.cli.commands import COMMANDS, app
from sim.cli.conclusion import end
from sim.errors import LiveRunFailed
from sim.evidence.checks import Check, Verdict, check
from sim.evidence.claims import ClaimVerdict, Finding
from sim.evidence.claims import Row as ClaimRow
from sim.infer.compare import Comparison, compare
from tests.sim.handmade import attempted, history, sent, whole

WORKBENCH = [sys.executable, "-m", "workbench"]
SCENARIO = "data/scenarios/quickstart.yaml"
GOOD = history(*(whole(i, i / 10, i / 10 + 0.1) for i in range(20)))


def compared(error: float = 0.0, noise: float = 0.0) -> Comparison:
    """Two worlds whose lag differs by this share."""
    found = compare(replace(GOOD, world="simulated"), GOOD)
    off = replace(found.headline, live=1.0, error=error, noise=noise)
    return replace(found, rows=tuple(off if row.metric == off.metric else row for row in found.rows))


def status(checks: Sequence[Check], comparisons: Sequence[Comparison] = (), claims: Sequence[ClaimRow] = ()) -> int:
    try:
        end(checks, comparisons, claims)
    except typer.Exit as ended:
        return ended.exit_code
    return 0


def checks(**verdicts: Verdict) -> list[Check]:
    """The checks of a good run, some with another verdict."""
    return [replace(found, verdict=verdicts.get(found.name, found.verdict)) for found in check(GOOD)]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (checks(), 0),
        (checks(lost="false"), 1),
        (checks(duplicates_explained="false"), 1),
        (checks(generator_on_time="false"), 3),
        (checks(pending="false"), 3),
        (checks(lost="unknown"), 3),
        (checks(lost="false", generator_on_time="false", pending="false"), 1),  # what is lost is lost
    ],
)
def test_checks(found: list[Check], wanted: int) -> None:
    assert status(found) == wanted


@pytest.mark.parametrize(
    ("error", "noise", "wanted"), [(0.02, 0.01, 0), (0.55, 0.01, 1), (-0.55, 0.01, 1), (0.02, 0.5, 3), (0.55, 0.6, 3)]
)
def test_predictions(error: float, noise: float, wanted: int) -> None:
    assert status(checks(), [compared(error, noise)]) == wanted
    assert status(checks(generator_on_time="false"), [compared(error, noise)]) == 3, "its times do not count"


@pytest.mark.parametrize(("verdict", "wanted"), [("true", 0), ("false", 1), ("unknown", 3), ("not built", 0)])
def test_claims(verdict: ClaimVerdict, wanted: int) -> None:
    assert status(checks(), [compared()], [ClaimRow("S1", "bus", "", "", "", Finding(verdict, ""), 0.0)]) == wanted


def test_what_is_left_breaks_no_promise() -> None:
    """A message is lost if it is neither handled nor left. What is left makes the run invalid."""
    lost = history(*(whole(i, 0.0, 0.1) for i in range(5)), sent(5, 0.0))
    assert status(check(lost)) == 1
    left = replace(lost, runs=(replace(lost.runs[0], left={"desk": replace(lost.runs[0].left["desk"], waiting=1)}),))
    assert status(check(left)) == 3
    handled = history(*(whole(i, 0.0, 0.1) for i in range(5)), sent(5, 0.0), attempted(5, 0.0, 0.1))
    assert status(check(handled)) == 0


@pytest.mark.parametrize("command", ["", *COMMANDS, "dlq list", "dlq replay", "schemas check", "schemas export"])
def test_every_help_names_the_statuses(command: str) -> None:
    said = CliRunner().invoke(app, [*command.split(), "--help"]).output
    assert EXIT_STATUS in " ".join(said.split())


def test_bad_input_is_status_2(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["simulate", str(tmp_path / "missing.yaml")]).exit_code == 2


def test_a_live_run_that_failed_is_status_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no evidence, whatever the input was."""

    async def fails(*_: object, **__: object) -> None:
        raise LiveRunFailed("live run", "billing 0 failed")

    monkeypatch.setattr("sim.worlds.live.run_live", fails)
    result = CliRunner().invoke(app, ["live", SCENARIO])
    assert (result.exit_code, "error: live run: billing 0 failed" in result.output) == (3, True)


@pytest.mark.parametrize("arguments", [("simulate", SCENARIO, "--seeds", "1"), ("simulate", "--help"), ("--help",)])
def test_a_reader_that_goes_is_no_failure(arguments: tuple[str, ...]) -> None:
    """As in `| head -0`: the status is the command's own, and nothing is said about the pipe."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run([*WORKBENCH, *arguments], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pipe" not in done.stderr.lower()


def test_ctrl_c_is_status_130() -> None:
    with subprocess.Popen([*WORKBENCH, "server"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stderr is not None
        assert server.stdout.readline().startswith("export REDIS_URL=")
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=90) == 130
        assert "Interrupted" in server.stderr.read()


def test_a_users_own_modules_are_not_ours(tmp_path: Path) -> None:
    """`python -m workbench` in a folder that has a sim.py and a redis.py of its own."""
    for name in ("sim", "eventlib", "redis", "simpy", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported by mistake')\n")
    scenario = Path(SCENARIO).resolve()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [*WORKBENCH, "simulate", str(scenario), "--seeds", "1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
