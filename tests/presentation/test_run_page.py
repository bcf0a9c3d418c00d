"""The page of one run: what it says first, and that it needs nothing outside itself."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sim.cli.commands import app
from sim.declare.faults.kill import Kill
from sim.evidence.checks import check
from sim.evidence.expectations import expectations_of, judge_history
from sim.evidence.history import History
from sim.evidence.metrics import summaries
from sim.show.run_page import render_run
from sim.worlds.simulated import simulate
from tests.model.small import constant, scenario, service, steady


def page(history: History, *expect: str) -> str:
    judged = judge_history(expectations_of(history.scenario, expect), history)
    return render_run(history, summaries(history), check(history), judged, command="workbench simulate x.yaml")


def test_it_answers_first_and_marks_what_was_never_handled() -> None:
    slow = scenario(steady(50.0, 2.0), drain_s=0.5, desk=service(service_time=constant(0.1)))
    said = page(simulate(slow, range(3)), "lag_s_p99 < 500 ms")
    heading = re.search("<h1>(.*)</h1>", said)
    assert heading is not None
    assert "99 in 100 &gt;= 2.5 s, 76 % unhandled" in heading[1]
    assert "desk is overloaded: it is offered 50 /s and can do 9.6 /s, so its backlog grows by 40.4 /s" in said
    assert "One expectation failed." in said and "is handled: not ended" in said
    assert re.search(r"<td[^>]*><span>&gt;= 2.5</span></td>", said)


def test_it_is_whole_and_needs_nothing_outside_itself(tmp_path: Path) -> None:
    kill = Kill(kind="kill", service="desk", consumer=0, at_s=0.5, back_after_s=0.1)
    said = page(simulate(scenario(steady(20.0, 1.0), kill, desk=service(0.02, lease_s=0.2)), [0]))
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', said)
    assert said.count("<figure>") == 5 and "workbench simulate x.yaml" in said

    class Tags(HTMLParser):
        open_: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag in ("section", "table", "figure", "main", "body", "html"):
                self.open_.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag in ("section", "table", "figure", "main", "body", "html"):
                assert self.open_.pop() == tag

    parser = Tags()
    parser.feed(said)
    assert parser.open_ == []


def test_the_command_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    declared = {
        "name": "a <small> one",
        "load": {"kind": "constant", "event": "order.placed", "rate_per_s": 10, "duration_s": 1},
        "services": {"desk": {"consumes": "order.placed", "service_time": {"kind": "constant", "mean_s": 0.01}}},
    }
    Path("small.yaml").write_text(yaml.safe_dump(declared))
    done = CliRunner().invoke(app, ["simulate", "small.yaml", "--seeds", "3", "--html", "page.html"])
    assert done.exit_code == 0, done.output
    assert "a &lt;small&gt; one" in Path("page.html").read_text()
    assert CliRunner().invoke(app, ["simulate", "small.yaml", "--html", "small.yaml"]).exit_code == 2
