"""The page starts with the verdict, shows every number, check and claim, and loads nothing from elsewhere."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import sim
from sim.declare.scenario import Scenario
from sim.evidence.checks import Check
from sim.evidence.history import KIND, History, sorted_rows
from sim.infer.claims import Claim
from sim.infer.compare import Comparison, Row
from sim.show import plots
from sim.show.report import environment, render

CLAIMS = [
    Claim("Nothing is lost", "0 of 1,234", "true", "counted in the history"),
    Claim("Bursts are fast", "41,022/s", "true", "timed"),
]
VOID = {"meta", "br", "img", "link", "input", "hr", "base"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""
    inside: tuple[str, ...] = field(default=())


class Page(HTMLParser):
    """All elements of a page in their order, each with the text inside it."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(source)
        self.close()
        assert not self._open, f"never closed: {[element.tag for element in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        inside = tuple(element.tag for element in self._open)
        element = Element(tag, {name: value or "" for name, value in attrs}, inside=inside)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]

    def one(self, tag: str) -> Element:
        (element,) = self.all(tag)
        return element

    def said(self, tag: str) -> list[str]:
        return [" ".join(element.text.split()) for element in self.all(tag)]


REFERENCES = {"src", "href", "xlink:href", "srcset", "poster", "action", "data", "background"}


def outside(page: Page) -> Iterator[str]:
    """References that a browser would load from elsewhere or follow to elsewhere."""
    for element in page.elements:
        for name, value in element.attributes.items():
            if name in REFERENCES and not value.startswith(("#", "data:")):
                yield f"{element.tag} {name}={value}"
            yield from (found for found in re.findall(r"url\(([^)]*)\)", value) if not found.startswith("#"))
        if element.tag in ("script", "link", "iframe", "object", "embed"):
            yield element.tag
    for style in page.all("style"):
        yield from re.findall(r"@import.*|url\([^)]*\)", style.text)


@pytest.fixture(scope="module")
def source(comparison: Comparison) -> str:
    return render([comparison], CLAIMS, command="workbench report", notes=["on a sample"])


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures out: they take nine tenths of the time, and these tests do not look at them."""
    monkeypatch.setattr(plots, "svg", lambda figure, **about: "<svg></svg>")


def headline(comparisons: Iterable[Comparison], claims: Iterable[Claim] = ()) -> str:
    return Page(render(list(comparisons), list(claims), command="x")).said("h1")[0]


def with_rows(comparison: Comparison, **changes: Row) -> Comparison:
    return replace(comparison, rows=tuple(changes.get(row.metric, row) for row in comparison.rows))


def with_verdict(comparison: Comparison, name: str, verdict: str) -> Comparison:
    checks = [
        Check(found.name, found.claim, verdict, "7 of 9") if found.name == name else found  # type: ignore[arg-type]
        for found in comparison.checks
    ]
    return replace(comparison, checks=tuple(checks))


def test_the_page_loads_nothing_from_elsewhere(page: Page) -> None:
    assert not list(outside(page))


@pytest.mark.parametrize(
    "broken",
    [
        '<img src="https://example.org/a.png">',
        '<a href="http://example.org">a</a>',
        "<style>a { background: url(//example.org/a.png) }</style>",
        '<p style="background: url(https://example.org)"></p>',
        "<script></script>",
    ],
)
def test_a_reference_to_elsewhere_is_found(broken: str) -> None:
    assert list(outside(Page(broken)))


def test_the_verdict_comes_first(page: Page, live: History) -> None:
    tags = [element.tag for element in page.elements]
    assert tags.index("h1") < min(tags.index("table"), tags.index("svg"), tags.index("h2"))
    published = int((live.rows["kind"] == KIND["published"]).sum())
    assert page.said("h1")[0].startswith(
        f"Nothing was lost: {published:,} publishes over 4 live runs, 4 consumers killed"
    )


@pytest.mark.usefixtures("without_figures")
def test_the_verdict_says_how_close_the_lag_is(comparison: Comparison) -> None:
    row = replace(comparison["lag_s_p95"], simulated=0.27, live=0.26, error=0.01, noise=0.005)
    said = "simulated lag p95 is off by +3.8 % \N{PLUS-MINUS SIGN} {} (n = 4) (270 ms against 260 ms live), {}"
    for changed, noise, judged in (
        (row, "1.9 %", "within the tolerance of 10 %"),
        (replace(row, tolerance=0.01), "1.9 %", "outside the tolerance of 1 %"),
        (replace(row, noise=0.02), "7.7 %", "too noisy to tell whether it is within the tolerance of 10 %"),
        (replace(row, noise=np.nan), "?", "too noisy to tell whether it is within the tolerance of 10 %"),
    ):
        assert said.format(noise, judged) in headline([with_rows(comparison, lag_s_p95=changed)])


@pytest.mark.usefixtures("without_figures")
def test_lost_messages_are_the_headline(comparison: Comparison) -> None:
    said = headline([with_verdict(comparison, "lost", "false")])
    assert said.startswith("Not every publish was handled or dead-lettered by the end (7 of 9)")
    assert headline([with_verdict(comparison, "lost", "unknown")]).startswith("Whether anything was lost is unknown")
    assert "not every check holds (balanced)" in headline([with_verdict(comparison, "balanced", "false")])


def marks(source: str) -> list[str]:
    return [element.text.strip() for element in Page(source).elements if "mark" in element.attributes.get("class", "")]


@pytest.mark.usefixtures("without_figures")
def test_a_false_claim_or_check_is_marked_at_the_top(comparison: Comparison) -> None:
    slow = replace(CLAIMS[1], verdict="false")
    comparison = with_rows(comparison, lag_s_p95=replace(comparison["lag_s_p95"], error=0.0, noise=0.0))
    assert marks(render([comparison], CLAIMS, command="x"))[0] == "✓ Every check and claim holds"
    assert marks(render([comparison], [CLAIMS[0], slow], command="x"))[0] == "✗ One claim found false"
    assert marks(render([with_verdict(comparison, "lost", "false")], [], command="x"))[0] == "✗ One check found false"
    assert marks(render([with_verdict(comparison, "lost", "unknown")], [], command="x"))[0].startswith(
        "? Nothing found"
    )


@pytest.mark.usefixtures("without_figures")
def test_a_late_generator_makes_the_run_invalid(simulated: History, live: History) -> None:
    rows = live.rows.copy()
    rows["t_s"][(rows["kind"] == KIND["sent"]) & (rows["service"] == -1)] += 0.02
    late = sim.compare(simulated, replace(live, rows=sorted_rows(rows)))
    source = render([late], [], command="x")
    assert "the times do not count, because the load was sent too late in shop" in headline([late])
    assert marks(source)[0] == "✗ Invalid run"
    assert "✗ Invalid run. The load was sent too late" in " ".join(Page(source).said("p"))
    assert "tolerance" not in " ".join(Page(source).said("li"))


def test_every_metric_check_and_claim_is_there(page: Page, comparison: Comparison) -> None:
    codes, cells = page.said("code"), page.said("td") + page.said("th")
    metrics = [row.metric for row in comparison.rows]
    assert sorted(metrics) == sorted(code for code in codes if code in metrics)
    assert {check.name for check in comparison.checks} <= set(codes)
    assert {check.detail for check in comparison.checks} <= set(cells)
    assert {text for claim in CLAIMS for text in (claim.claim, claim.measured, claim.how)} <= set(cells)


def test_the_scenario_is_described_in_words(page: Page, comparison: Comparison) -> None:
    items = page.said("li")
    assert "At 1 s, consumer 0 of billing is killed without warning and is replaced 0.5 s later." in items
    assert "From 2 s to 2.5 s, 60 % of the attempts at shipping fail instead of 0 %." in items
    assert any(said.startswith("The load: order.placed: 60 a second for 3 s, at random") for said in page.said("p"))
    assert comparison.live.scenario.description in page.said("p")
    assert "20 ms on average, lognormal, CV 0.5" in page.said("td")


def test_conditions_and_command_are_there(page: Page) -> None:
    facts = page.said("dd")
    assert "6 runs (seeds 0\N{EN DASH}5)" in facts
    assert "4 runs (seeds 0, 1 x 2 repeats) on Redis 8.2.3" in facts
    assert "workbench report" in page.said("pre")
    assert "Note: on a sample" in page.said("li")


def test_environment_names_server_and_versions() -> None:
    found = environment("Valkey 9.1.0")
    assert found["server"] == "Valkey 9.1.0"
    assert {"Python", "platform", "CPUs", "redis-py", "simpy", "numpy", "pydantic", "event-workbench"} <= set(found)
    assert all(found.values())


def test_headings_and_tables_are_marked_for_screen_readers(page: Page) -> None:
    assert page.one("html").attributes["lang"] == "en"
    assert len(page.all("main")) == 1
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(header.attributes.get("scope") for header in page.all("th"))
    assert len(page.all("svg")) == 5
    assert all(svg.attributes["role"] == "img" and svg.attributes["aria-label"] for svg in page.all("svg"))
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    assert {element.attributes["aria-labelledby"] for element in page.all("section")[1:]} <= set(ids)


def test_verdicts_are_shown_by_more_than_colour(page: Page) -> None:
    said = [element.text for element in page.elements if set(element.attributes.get("class", "").split()) & {"mark"}]
    assert all(re.match(r"\s*[✓✗?] \w+", text) for text in said)


@pytest.mark.usefixtures("without_figures")
def test_names_are_escaped(simulated: History, live: History) -> None:
    hostile = simulated.scenario.model_copy(update={"name": "<script>alert(1)</script>", "description": "a & <b>b</b>"})
    histories = (replace(history, scenario=hostile) for history in (simulated, live))
    claim = Claim("<script>", "<i>", "true", '"><script>')
    source = render([sim.compare(*histories)], [claim], command="<script>", notes=["<script>"])
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in source
    assert not Page(source).all("script")
    assert not Page(source).all("i")


def test_there_is_a_table_of_contents_for_two_scenarios(comparison: Comparison, page: Page) -> None:
    both = Page(render([comparison, comparison], CLAIMS, command="x"))
    links = {link.attributes["href"].removeprefix("#") for link in both.all("a")}
    assert {"scenario-1", "scenario-2"} <= links <= {element.attributes.get("id") for element in both.elements}
    assert not page.all("nav")
    ids = [element.attributes["id"] for element in both.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))


def test_the_same_input_gives_the_same_bytes(comparison: Comparison, source: str) -> None:
    assert render([comparison], CLAIMS, command="workbench report", notes=["on a sample"]) == source


def cells(comparison: Comparison, metric: str) -> tuple[list[str], str]:
    """The cells of a metric's row, and its HTML."""
    source = render([comparison], [], command="x")
    row = next(row for row in re.findall(r"<tr>.*?</tr>", source, re.DOTALL) if f"<code>{metric}</code>" in row)
    return Page(row).said("td"), row


@pytest.mark.usefixtures("without_figures")
def test_an_unknown_number_is_a_dash_with_an_explanation(comparison: Comparison) -> None:
    row = replace(comparison["lag_s_p95"], live=np.nan, error=np.nan, noise=np.nan)
    found, html = cells(with_rows(comparison, lag_s_p95=row), "lag_s_p95")
    assert found[1] == 2 * "\N{EN DASH}"
    assert '<span title="there is no such number">' in html
    assert found[-1] == "– unknown"  # noqa: RUF001
    assert "nan" not in html


@pytest.mark.usefixtures("without_figures")
def test_what_was_never_handled_is_shown(comparison: Comparison) -> None:
    row = comparison["lag_s_p95"]
    bound = replace(row.live_interval, unhandled=0.97)
    changed = with_rows(comparison, lag_s_p95=replace(row, live=30.0, simulated=29.0, error=-1.0, live_interval=bound))
    found, _ = cells(changed, "lag_s_p95")
    assert found[4] == ">= 30 97 % unhandled"
    assert "(29 s against >= 30 s, 97 % unhandled live), which cannot be judged: not every message was handled" in (
        headline([changed])
    )


@pytest.mark.usefixtures("without_figures")
def test_an_endless_recovery_is_described_in_words(comparison: Comparison) -> None:
    name = "billing.recovery_s"
    row = replace(comparison[name], live=np.inf, error=-np.inf)
    found, html = cells(with_rows(comparison, **{name: row}), name)
    assert found[4].startswith("not recovered")
    assert "inf" not in html


@pytest.mark.usefixtures("without_figures")
def test_small_times_are_milliseconds(comparison: Comparison) -> None:
    row = replace(comparison["lag_s_p95"], simulated=0.0271, live=0.0262, error=0.0009)
    assert cells(with_rows(comparison, lag_s_p95=row), "lag_s_p95")[0][2] == "ms"
    row = replace(row, simulated=2.71, live=2.62, error=0.09)
    found, _ = cells(with_rows(comparison, lag_s_p95=row), "lag_s_p95")
    assert found[2] == "s"
    assert found[0] == "+3.4 % +0.09", "the share first: it is judged"


@pytest.mark.usefixtures("without_figures")
def test_only_predictions_are_judged(comparison: Comparison) -> None:
    assert cells(comparison, "lateness_s_p99")[0][-1] == "–"  # noqa: RUF001
    assert cells(comparison, "lag_s_p95")[0][-1] in ("● within", "◆ outside", "○ too noisy")


@pytest.mark.usefixtures("without_figures")
def test_a_trace_is_described_in_words(tmp_path: Path) -> None:
    file = tmp_path / "calls.csv"
    rows = [f"2023-11-16 18:15:{second:02}.0,10,20" for second in range(20)]
    file.write_text("\n".join(("TIMESTAMP,ContextTokens,GeneratedTokens", *rows)))
    declared = {
        "name": "trace",
        "load": {"kind": "trace", "event": "asked", "file": file, "time_scale": 0.1, "for_s": 10},
        "services": {
            "model": {"consumes": "asked", "service_time": {"kind": "tokens", "base_s": 0.2, "per_token_s": 0.03}}
        },
    }
    history = sim.simulate(Scenario.model_validate(declared), [0])
    result = sim.compare(history, replace(history, world="live", server="Redis 8.2.3"))
    page = Page(render([result], [], command="x"))
    assert (
        "The load: asked: the recorded trace calls.csv, 10 s of it from 0 s on, at 10 times its speed; "
        "10 messages a run on average." in page.said("p")
    )
    assert str(tmp_path) not in render([result], [], command="x")


def test_without_a_comparison_there_is_no_verdict() -> None:
    assert headline([]) == "Nothing was compared."
