"""The report for CI: Markdown and JUnit say what the page says, and Ctrl-C keeps what was measured."""

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from sim.cli.commands import app
from sim.evidence.claims import ClaimVerdict, Finding, Measured
from sim.evidence.claims import Row as ClaimRow
from sim.infer.compare import Comparison
from sim.infer.trends import REPORTS_MAX
from sim.show.claims import report_junit, report_markdown
from tests.sim.test_full_disk import full_disk

SCENARIO = str(Path(__file__).parents[2] / "data" / "scenarios" / "quickstart.yaml")


def row(id_: str, theme: str, verdict: ClaimVerdict) -> ClaimRow:
    finding = Finding(verdict, "found", distance=2.0)
    return ClaimRow(id_, theme, "it | works", "It is tried.", "it works", finding, 1.0)


CLAIMS = Measured(
    (row("S1", "schemas", "true"), row("S9", "bus", "false"), row("S53", "services", "not built")),
    total=3,
    server="Redis 8",
    full=False,
)


def test_markdown_has_the_verdict_the_metrics_and_every_claim(comparison: Comparison) -> None:
    text = report_markdown([comparison], CLAIMS, ["on a sample"])
    assert text.startswith("# ") and "Note: on a sample." in text
    assert all(f"| {row.metric.replace('_', chr(92) + '_')} |" in text for row in comparison.predictions)
    assert "## 1 of 3 claims are true, 1 false, 0 unknown, 1 not built" in text
    assert "| S9 | ❌ false | it \\| works | found (2 times the threshold) | It is tried. |" in text
    assert "### Event bus" in text and "⬜ not built" in text


def test_junit_has_a_case_for_each_check_claim_and_predicted_lag(comparison: Comparison) -> None:
    suite = ElementTree.fromstring(report_junit([comparison], CLAIMS))
    cases = {(case.get("classname"), case.get("name")): case for case in suite.iter("testcase")}
    assert len(cases) == len(comparison.checks) + 1 + 3
    [failure] = cases["bus", "S9 it | works"]
    assert (failure.tag, failure.get("message")) == ("failure", "found")
    assert cases["services", "S53 it | works"][0].tag == "skipped"
    assert (comparison.live.scenario.name, "lag_s_p95 is predicted within the tolerance") in cases


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take nearly all of the time."""
    monkeypatch.setattr("sim.show.report._figures", lambda *_: [])


def report(monkeypatch: pytest.MonkeyPatch, folder: Path, found: list[Comparison], *options: str) -> Result:
    """Run the command on a world that yields `found` and is then interrupted."""

    async def validate(*_: Any, **__: Any) -> AsyncIterator[Comparison]:
        for one in found:
            yield one
        raise KeyboardInterrupt

    monkeypatch.setattr("sim.infer.validate.validate", validate)
    output = str(folder / "report.html")
    return CliRunner().invoke(app, ["report", SCENARIO, "--output", output, "--url", "redis://127.0.0.1:1", *options])


@pytest.mark.usefixtures("without_figures")
def test_ctrl_c_keeps_what_was_measured_and_says_that_it_is_partial(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    done = report(monkeypatch, tmp_path, [comparison], "--markdown", str(tmp_path / "report.md"))
    assert done.exit_code == 130, done.output
    assert not (tmp_path / "history.parquet").exists(), "what is partial has no place in a trend"
    note = "partial: interrupted after 1 of 1 scenarios; no claim was measured"
    assert f"Note: {note}" in (tmp_path / "report.html").read_text()
    assert f"Note: {note}." in (tmp_path / "report.md").read_text() == summary.read_text().removesuffix("\n")


def test_ctrl_c_before_anything_was_measured_writes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = report(monkeypatch, tmp_path, [])
    assert done.exit_code == 130 and not (tmp_path / "report.html").exists()


@pytest.fixture
def whole(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of one scenario and a few claims, which nothing interrupts."""

    async def validate(*_: Any, **__: Any) -> AsyncIterator[Comparison]:
        yield comparison

    monkeypatch.setattr("sim.infer.validate.validate", validate)
    monkeypatch.setattr("sim.claims.registry.all_claims", lambda: ())
    monkeypatch.setattr("sim.claims.runner.measure", lambda *_, **__: CLAIMS)


def reported(output: Path, *options: str) -> Result:
    command = ["report", SCENARIO, "--output", str(output), "--url", "redis://127.0.0.1:1", *options]
    return CliRunner(env={"COLUMNS": "60"}).invoke(app, command)


@pytest.mark.usefixtures("without_figures", "whole")
def test_a_disk_without_room_costs_the_files_and_not_the_sight(tmp_path: Path) -> None:
    """A page does not fit, nor do the trends; what was measured is shown, and what fits is written."""
    markdown = tmp_path / "report.md"
    with full_disk(4_000):
        done = reported(tmp_path / "report.html", "--markdown", str(markdown))
    assert done.exit_code == 2 and "throughput_per_s" in done.output and "S9" in done.output
    [line] = [one for one in done.stderr.splitlines() if "error: " in one]
    assert f"{tmp_path / 'report.html'}: {os.strerror(errno.EFBIG)}; " in line
    note = next(one for one in done.output.splitlines() if "is not kept for trends" in one)
    assert f"{tmp_path / 'history.parquet'}: {os.strerror(errno.EFBIG)}; " in note
    assert markdown.exists() and sorted(tmp_path.iterdir()) == [markdown]


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def read_only(*_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("os.open", read_only)
    monkeypatch.setattr("sim.infer.validate.validate", lambda *_, **__: pytest.fail("it ran"))
    done = reported(tmp_path / "report.html")
    assert done.exit_code == 2 and f"report.html cannot be written: {os.strerror(errno.EROFS)}; name a" in done.stderr


@pytest.mark.usefixtures("without_figures", "whole")
@pytest.mark.parametrize("held", ["something else", "a folder", "an older form"])
def test_a_history_that_cannot_be_read_costs_the_trends_alone(held: str, tmp_path: Path) -> None:
    history = tmp_path / "history.parquet"
    if held == "a folder":
        history.mkdir()
    elif held == "an older form":
        pd.DataFrame({"date": ["2025-01-01"], "lag": [1.0]}).to_parquet(history)
    else:
        history.write_bytes(b"PAR1 something else")
    before = history.read_bytes() if history.is_file() else None
    done = reported(tmp_path / "report.html")
    assert done.exit_code == 1 and "Note: the report is not kept for trends: " in done.output
    assert (tmp_path / "report.html").exists()
    assert before is None or history.read_bytes() == before


@pytest.mark.usefixtures("without_figures", "whole")
def test_a_folder_may_have_any_name_and_a_thousand_reports(tmp_path: Path) -> None:
    folder = tmp_path / "Prüfung mit Leerzeichen 日本語"
    assert reported(folder / "Bericht ü.html").exit_code == 1
    one = pd.read_parquet(folder / "history.parquet")
    dates = [f"2025-{place:06}" for place in range(REPORTS_MAX)]
    pd.concat([one.assign(date=date) for date in dates]).to_parquet(folder / "history.parquet", index=False)
    assert reported(folder / "Bericht ü.html").exit_code == 1
    page = (folder / "Bericht ü.html").read_text(encoding="utf-8")
    assert "30 reports, from" in page and len(page.encode()) < 3_000_000
    assert len(pd.read_parquet(folder / "history.parquet")["date"].unique()) == REPORTS_MAX


@pytest.mark.usefixtures("without_figures")
def test_a_second_report_shows_what_changed_since_the_first(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def validate(*_: Any, **__: Any) -> AsyncIterator[Comparison]:
        yield comparison

    monkeypatch.setattr("sim.infer.validate.validate", validate)
    monkeypatch.setattr("sim.claims.registry.all_claims", lambda: ())
    command = ["report", SCENARIO, "--output", str(tmp_path / "report.html"), "--url", "redis://127.0.0.1:1"]
    for reports in (1, 2):
        monkeypatch.setattr("sim.environment.now", lambda reports=reports: f"2026-01-0{reports}")
        monkeypatch.setattr("sim.claims.runner.measure", lambda *_, **__: CLAIMS)
        CliRunner().invoke(app, command)
        page = (tmp_path / "report.html").read_text()
        assert f"{reports} reports, from" in page and "S9 it | works" in page and 'href="#trends"' not in page
    (tmp_path / "history.parquet").write_text("something else")
    done = CliRunner().invoke(app, command)
    assert "Note: the report is not kept for trends: " in done.output
    assert "Since the reports before" not in (tmp_path / "report.html").read_text()
