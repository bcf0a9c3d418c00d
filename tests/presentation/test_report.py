"""The page starts with the verdict, shows every number, check and claim, and loads nothing from elsewhere."""

import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import sim
from sim.declare.scenario import Scenario
from sim.environment import environment
from sim.evidence.checks import Verdict
from sim.evidence.claims import ClaimVerdict, Finding
from sim.evidence.claims import Row as ClaimRow
from sim.evidence.history import KIND, History, sorted_rows
from sim.infer.compare import Comparison, Row
from sim.show import plots, report
from sim.show.provenance import commit, exact_command, provenance
from sim.show.report import render


def claim_of(sentence: str, measured: str, verdict: ClaimVerdict, how: str) -> ClaimRow:
    """A row of the claims."""
    finding = Finding(verdict, measured, distance=1.5)
    return ClaimRow("S9", "bus", sentence, how, "it does", finding, seconds=1.0)


CLAIMS = [
    claim_of("Nothing is lost", "0 of 1,234", "true", "counted in the history"),
    claim_of("Bursts are fast", "41,022/s", "true", "timed"),
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
    """Leave the figures out: they take nearly all of the time, and these tests do not look at them."""
    monkeypatch.setattr(report, "_figures", lambda *_: [])


def headline(comparisons: Iterable[Comparison], claims: Iterable[ClaimRow] = ()) -> str:
    return Page(render(list(comparisons), list(claims), command="x")).said("h1")[0]


def with_rows(comparison: Comparison, **changes: Row) -> Comparison:
    return replace(comparison, rows=tuple(changes.get(row.metric, row) for row in comparison.rows))


def with_verdict(comparison: Comparison, name: str, verdict: Verdict) -> Comparison:
    checks = [
        replace(found, verdict=verdict, detail="7 of 9", violations=7) if found.name == name else found
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


def test_the_verdict_comes_first(page: Page) -> None:
    tags = [element.tag for element in page.elements]
    assert tags.index("h1") < min(tags.index("table"), tags.index("svg"), tags.index("h2"))
    assert len(page.said("h1")[0].split()) < 30


@pytest.mark.usefixtures("without_figures")
def test_the_verdict_says_how_close_the_lag_is(comparison: Comparison) -> None:
    row = replace(comparison["lag_s_p95"], simulated=0.27, live=0.26, error=0.01, noise=0.005)
    noisy = "but the live runs are too noisy to tell whether the simulated p95 lag is right"
    bound = replace(row.live_interval, unhandled=0.97)
    for changed, tolerance, said in (
        (row, 0.1, "and the simulated p95 lag is within 10 % of the live one"),
        (replace(row, tolerance=0.01), 0.01, "but the simulated p95 lag is off by more than 1 %"),
        (replace(row, noise=0.02), 0.1, noisy),
        (replace(row, noise=np.nan), 0.1, noisy),
        (replace(row, live_interval=bound), 0.1, "but the simulated p95 lag cannot be judged"),
    ):
        judged = replace(with_rows(comparison, lag_s_p95=changed), tolerance=tolerance)
        assert headline([judged]) == f"Nothing was lost, {said}."


@pytest.mark.usefixtures("without_figures")
def test_lost_messages_are_the_headline(comparison: Comparison) -> None:
    said = headline([with_verdict(comparison, "lost", "false")])
    assert said.startswith("Not every publish was handled or dead-lettered by the end, and ")
    assert headline([with_verdict(comparison, "lost", "unknown")]).startswith("Whether anything was lost is unknown")
    assert "not every check holds (balanced)" in headline([with_verdict(comparison, "balanced", "false")])


def shown_tiles(*comparisons: Comparison) -> list[str]:
    """The tiles: the state of each, its title, its value and its details."""
    page = Page(render(list(comparisons), [], command="x"))
    found = [element for element in page.all("li") if element.attributes.get("class", "").startswith("is-")]
    return [f"{tile.attributes['class']}: {' '.join(tile.text.split())}" for tile in found]


@pytest.mark.usefixtures("without_figures")
def test_three_tiles_answer_the_three_questions(comparison: Comparison) -> None:
    row = replace(comparison["lag_s_p95"], simulated=0.27, live=0.26, error=0.01, noise=0.005)
    back = replace(comparison["billing.recovery_s"], simulated=1.4, live=1.7)
    published = int((comparison.live.rows["kind"] == KIND["published"]).sum())
    known = with_rows(comparison, **{"lag_s_p95": row, "billing.recovery_s": back})
    assert shown_tiles(known) == [
        f"is-true: Lost ✓ 0 of {published:,} acknowledged publishes in 4 live runs. 4 consumers killed with SIGKILL.",
        "is-true: Error of the simulated p95 lag ✓ +3.8 % Within the tolerance of 10 %. "
        "+3.8 % ± 1.9 % (n = 4): 270 ms simulated, 260 ms live.",
        "is-true: Recovery ✓ 1.7 s until the backlog of billing was back, live. 1.4 s simulated.",
    ]


@pytest.mark.usefixtures("without_figures")
def test_a_tile_shows_the_worst(comparison: Comparison) -> None:
    row = replace(comparison["lag_s_p95"], simulated=0.27, live=0.26, error=0.01, noise=0.005)
    good = with_rows(comparison, lag_s_p95=row)
    never = replace(comparison["billing.recovery_s"], live=np.inf)
    other = comparison.live.scenario.model_copy(update={"name": "other"})
    bad = with_rows(comparison, **{"lag_s_p95": replace(row, error=-0.1), "billing.recovery_s": never})
    bad = replace(with_verdict(bad, "lost", "false"), live=replace(comparison.live, scenario=other))
    lost, lag, recovery = shown_tiles(good, bad)
    assert lost.startswith("is-false: Lost ✗ 7 of")
    assert lag.startswith(
        "is-false: Error of the simulated p95 lag ✗ \N{MINUS SIGN}38 % Outside the tolerance of 10 % in other."
    )
    assert "live in shop." in lag
    assert recovery.startswith(
        "is-false: Recovery ✗ not recovered until the backlog of billing was back, live in other."
    )


@pytest.mark.usefixtures("without_figures")
def test_without_a_fault_there_is_nothing_to_recover_from(simulated: History, live: History) -> None:
    quiet = simulated.scenario.model_copy(update={"faults": ()})
    calm = sim.compare(*(replace(history, scenario=quiet) for history in (simulated, live)))
    assert shown_tiles(calm)[2] == "is-unknown: Recovery ? no fault Nothing was made to go wrong."


@pytest.mark.usefixtures("without_figures")
def test_green_at_the_top_means_that_the_lag_is_within(comparison: Comparison) -> None:
    for error, noise in ((0.0, 0.001), (0.1, 0.001), (0.01, 0.1), (0.02, np.nan)):
        row = replace(comparison["lag_s_p95"], simulated=0.26 + error, live=0.26, error=error, noise=noise)
        source = render([with_rows(comparison, lag_s_p95=row)], CLAIMS, command="x")
        green = [text for text in marks(source) if text.startswith("✓ Every check and claim holds")]
        assert bool(green) == (row.verdict == "within") == ("is within 10 %" in Page(source).said("h1")[0])


def test_the_claims_come_before_the_scenario_and_charts_before_its_tables(page: Page) -> None:
    found = [element.attributes.get("id") or element.tag for element in page.elements]
    of_scenario = found[found.index("scenario-1") :]
    assert found.index("claims") < found.index("scenario-1")
    assert of_scenario.index("svg") < of_scenario.index("table")


def test_few_words_are_heavy(source: str) -> None:
    """Headings, the three values and the names of groups: bold words everywhere say that nothing matters."""
    assert not {element.tag for element in Page(source).elements} & {"b", "strong"}


def columns(table: Element, source: str) -> list[str]:
    inside = source[source.index(f'aria-label="{table.attributes["aria-label"]}"') :].partition("</table>")[0]
    return re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', inside)


@pytest.mark.usefixtures("without_figures")
def test_tables_have_no_repeated_and_no_empty_columns(comparison: Comparison) -> None:
    source = render([comparison], [], command="x")
    page = Page(source)
    services = next(one for one in page.elements if one.attributes.get("aria-label") == "Services of shop")
    assert columns(services, source) == [
        "service", "consumes", "emits", "consumers", "at once each", "one message takes", "fails", "tries",
    ]  # fmt: skip
    assert "Of all services: messages come by a stream, in order; lease 500 ms." in page.said("caption")
    unknown = [replace(row, noise=np.nan) for row in comparison.rows]
    source = render([replace(comparison, rows=tuple(unknown))], [], command="x")
    metrics = next(one for one in Page(source).elements if one.attributes.get("aria-label") == "Metrics of shop")
    assert columns(metrics, source) == ["Metric", "Error", "Simulated", "Live", "M/M/c", "last run", "Within 10 %?"]


def test_on_a_phone_every_cell_says_what_it_is(page: Page) -> None:
    assert all(cell.attributes.get("data-label") for cell in page.all("td"))
    assert not re.search(r"overflow-x: *(auto|scroll)|min-width: *[1-9]", page.one("style").text)


def marks(source: str) -> list[str]:
    """All marks but those of the tiles, which are signs alone."""
    found = [element for element in Page(source).elements if "mark" in element.attributes.get("class", "")]
    return [text for element in found if len(text := element.text.strip()) > 1]


@pytest.mark.usefixtures("without_figures")
def test_a_false_claim_or_check_is_marked_at_the_top(comparison: Comparison) -> None:
    slow = claim_of("Bursts are fast", "41/s", "false", "timed")
    comparison = with_rows(comparison, lag_s_p95=replace(comparison["lag_s_p95"], error=0.0, noise=0.0))
    assert marks(render([comparison], CLAIMS, command="x"))[0] == "✓ Every check and claim holds."
    assert marks(render([comparison], [CLAIMS[0], slow], command="x"))[0] == "✗ One claim found false."
    assert marks(render([with_verdict(comparison, "lost", "false")], [], command="x"))[0] == "✗ One check found false."
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
    assert [tile.split()[0] for tile in shown_tiles(late)] == ["is-true:", "is-invalid:", "is-invalid:"]
    assert marks(source)[0] == "✗ Invalid run."
    assert "✗ Invalid run. The load was sent too late" in " ".join(Page(source).said("p"))
    assert "tolerance" not in " ".join(Page(source).said("li"))


def test_every_metric_check_and_claim_is_there(page: Page, comparison: Comparison) -> None:
    codes, cells = page.said("code"), page.said("td") + page.said("th")
    metrics = {row.metric for row in comparison.rows}
    shown = [code for code in codes if code in metrics]
    left_out = metrics - set(shown)
    assert len(shown) == len(set(shown))
    again = {f"shipping.{name}" for name in ("throughput_per_s", "lag_s_p50", "lag_s_p95", "lag_s_p99", "unhandled")}
    assert again <= left_out, "they are the system's"
    for metric in left_out - again:  # quality, and what neither world has anything of, are said beside the table
        row = comparison[metric]
        of_quality = "little" in metric or metric.startswith(("lateness", "oversleep", "sent_late", "skipped"))
        assert of_quality or row.simulated == row.live == 0, metric
    assert {check.name for check in comparison.checks} <= set(codes)
    assert {check.detail for check in comparison.checks} <= set(cells)
    assert {f"{row.sentence}{row.id}" for row in CLAIMS} <= set(cells)
    assert {row.finding.measured for row in CLAIMS} <= set(page.said("span"))
    assert {CLAIMS[0].how, "To hold: it does."} <= set(page.said("p"))
    assert "1.5 \N{MULTIPLICATION SIGN} the threshold" in page.said("span")


def test_the_scenario_is_described_in_words(page: Page, comparison: Comparison) -> None:
    items = page.said("li")
    assert "At 1 s, consumer 0 of billing is killed without warning and is replaced 0.5 s later." in items
    assert "From 2 s to 2.5 s, 60 % of the attempts at shipping fail instead of 0 %." in items
    assert any(said.startswith("The load: order.placed: 60 a second for 3 s, at random") for said in page.said("p"))
    assert comparison.live.scenario.description in page.said("p")
    assert "20 ms on average, lognormal, CV 0.5" in page.said("td")


def test_conditions_and_command_are_there(page: Page) -> None:
    facts = page.said("dd")
    assert "1 replications of seeds 0, 1" in facts
    assert any(re.fullmatch(r"made 20\S+, SHA-256 [0-9a-f]{64}", fact) for fact in facts)
    assert "4 runs (seeds 0, 1 x 2 repeats) on Redis 8.2.3" in facts
    assert "workbench report" in page.said("pre")
    assert "Note: on a sample" in page.said("li")


def test_environment_names_server_and_versions() -> None:
    found = environment("Valkey 9.1.0")
    assert found["server"] == "Valkey 9.1.0"
    assert {"Python", "platform", "CPUs", "redis-py", "simpy", "numpy", "pydantic", "event-workbench"} <= set(found)
    assert all(found.values())


def test_the_origin_is_there(tmp_path: Path) -> None:
    made = provenance()
    assert list(made) == ["date", "host", "commit"] and all(made.values())
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d \S+", made["date"])
    assert commit(tmp_path) == "unknown: not a clone"
    for arguments in (
        ["init", "-q"],
        ["-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "x", "--allow-empty"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    assert re.fullmatch(r"[0-9a-f]{12}", commit(tmp_path))


def test_the_command_can_be_typed_again_and_has_no_password() -> None:
    typed = exact_command(["report", "my file.yaml", "--url", "redis://me:secret@host:6379/0"])
    assert shlex.split(typed) == ["workbench", "report", "my file.yaml", "--url", "redis://me:PASSWORD@host:6379/0"]


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
    assert all(re.match(r"\s*[✓✗?]( \w+|$)", text) for text in said)


@pytest.mark.usefixtures("without_figures")
def test_names_are_escaped(simulated: History, live: History) -> None:
    hostile = simulated.scenario.model_copy(update={"name": "<script>alert(1)</script>", "description": "a & <b>b</b>"})
    histories = (replace(history, scenario=hostile) for history in (simulated, live))
    claim = claim_of("<script>", "<i>", "true", '"><script>')
    source = render([sim.compare(*histories)], [claim], command="<script>", notes=["<script>"])
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in source
    assert not Page(source).all("script")
    assert not Page(source).all("i")


def test_there_is_a_table_of_contents_for_two_scenarios(
    comparison: Comparison, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All ids of a figure begin with its name, as `test_plots.py` says."""
    monkeypatch.setattr(plots, "svg", lambda figure, *, name, label: f'<svg id="{name}-axes"></svg>')
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
    assert found[3] == "\N{EN DASH}"
    assert '<span title="there is no such number">' in html
    assert found[-1] == "– unknown"  # noqa: RUF001
    assert "nan" not in html


@pytest.mark.usefixtures("without_figures")
def test_what_was_never_handled_is_shown(comparison: Comparison) -> None:
    row = comparison["lag_s_p95"]
    bound = replace(row.live_interval, unhandled=0.97)
    changed = with_rows(comparison, lag_s_p95=replace(row, live=30.0, simulated=29.0, error=-1.0, live_interval=bound))
    found, _ = cells(changed, "lag_s_p95")
    assert found[3] == ">= 30 97 % unhandled"
    assert "29 s simulated, >= 30 s, 97 % unhandled live." in shown_tiles(changed)[1]


@pytest.mark.usefixtures("without_figures")
def test_an_endless_recovery_is_described_in_words(comparison: Comparison) -> None:
    name = "billing.recovery_s"
    row = replace(comparison[name], live=np.inf, error=-np.inf)
    found, html = cells(with_rows(comparison, **{name: row}), name)
    assert found[3].startswith("not recovered")
    assert "inf" not in html


@pytest.mark.usefixtures("without_figures")
def test_small_times_are_milliseconds(comparison: Comparison) -> None:
    row = replace(comparison["lag_s_p95"], simulated=0.0271, live=0.0262, error=0.0009)
    assert "lag, p95 (ms)" in " ".join(Page(cells(with_rows(comparison, lag_s_p95=row), "lag_s_p95")[1]).said("th"))
    row = replace(row, simulated=2.71, live=2.62, error=0.09)
    found, html = cells(with_rows(comparison, lag_s_p95=row), "lag_s_p95")
    assert "lag, p95 (s)" in " ".join(Page(html).said("th"))
    assert found[0] == "+3.4 % +0.09", "the share first: it is judged"


@pytest.mark.usefixtures("without_figures")
def test_only_predictions_are_judged(comparison: Comparison) -> None:
    page = Page(render([comparison], [], command="x"))
    assert "lateness_s_p99" not in page.said("code") and "lateness of the load, p99" in page.said("dt")
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


def test_a_name_of_any_characters_is_text_in_the_page(comparison: Comparison) -> None:
    name = (
        '<b>{{ 7*7 }}</b> {% raw %} &amp; "quoted" \'x\' $x$ [red] %s 日本語 עברית 🙂 id="a" url(#b) --> ' + "語" * 200
    )
    scenario = comparison.live.scenario.model_copy(update={"name": name, "description": name})
    renamed = replace(comparison, live=replace(comparison.live, scenario=scenario))
    claim = claim_of(name, name, "true", name)
    page = Page(render([renamed], [claim], command=name, notes=[name], environment={name: name}))
    assert name in page.said("h2") and name in page.said("p") and f"Validation: {name}" in page.said("title")
    assert f"Note: {name}" in page.said("li") and name in page.said("code")
    assert page.said("dt").count(name) == page.said("dd").count(name) == 1
    assert all(f" of {name}, " in element.attributes["aria-label"] for element in page.all("svg"))
    assert not page.all("b")[len(page.all("figcaption")) :]  # each caption has one of its own
