"""Everyone can read the pages: with a screen reader, a keyboard, a phone, in the dark, on paper.

A browser and axe-core judge them where Chromium and Node are installed. The same rules, as far as they can be told from
the source, are tested everywhere.
"""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.evidence.checks import check
from sim.evidence.claims import THEMES, VERDICTS, Finding
from sim.evidence.claims import Row as ClaimRow
from sim.evidence.metrics import summaries
from sim.infer.compare import Comparison
from sim.infer.trends import Number, Trend
from sim.show import report
from sim.show.run_page import render_run
from sim.show.style import ROLES
from sim.worlds.simulated import simulate
from tests.model.small import constant, scenario, service, steady
from tests.node.conftest import installed
from tests.node.judging import Judge, judge, wrong
from tests.presentation.test_report import Page

__all__ = ["installed", "judge"]  # fixtures

A4_PT = (595, 842)
LOOKS: list[dict[str, Any]] = [
    *(
        {"media": "screen", "scheme": scheme, "width": width, "height": height}
        for scheme in ("light", "dark")
        for width, height in ((1280, 900), (390, 844))
    ),
    # As wide as the page without its margins. Paper stays light, whatever the screen is.
    {"media": "print", "scheme": "dark", "width": 688, "height": 971},
]
LONG = "https_proxy=" + 60 * "0123456789"  # as a user's text may be


def _report(comparison: Comparison) -> str:
    """A page that has every part, of every verdict, and texts that are long."""
    claims = [
        ClaimRow(f"S{number}", theme, f"{heading}: {verdict}", "counted", "0 lost", Finding(verdict, LONG), 1.0)
        for number, (theme, heading) in enumerate(list(THEMES.items())[:2])
        for verdict in VERDICTS
    ]
    trends = [
        Trend(Number(f"{name}, live", 5.0, "s", "lower"), np.array([1.0, 1.1, 0.9, 1.0, 5.0]), low, 1.5)
        for name, low in (("shop", 0.5), ("no noise", np.nan))
    ]
    fidelity = {
        "date": "2026-01-01",
        "scenarios": {"shop": {"prediction": {"made": "2026-01-01", "sha256": 64 * "0"}}},
        "tables": [{"title": "Errors", "header": ["Scenario", "Error"], "rows": [["shop", "3 %"]]}],
    }
    notes = ["on a sample", LONG]
    live = replace(comparison.live, scenario=comparison.live.scenario.model_copy(update={"name": "another"}))
    both = [comparison, replace(comparison, live=live)]
    with pytest.MonkeyPatch.context() as patch:  # the figures of one are enough, and slow to judge
        figures = report._figures
        patch.setattr(report, "_figures", lambda one, anchor: figures(one, anchor) if one is comparison else ())
        return report.render(both, claims, command=LONG, notes=notes, fidelity=fidelity, trends=trends)


def _run() -> str:
    slow = simulate(scenario(steady(50.0, 2.0), drain_s=0.5, desk=service(service_time=constant(0.1))), range(3))
    return render_run(slow, summaries(slow), check(slow), (), command="workbench simulate x.yaml")


@pytest.fixture(scope="module")
def pages(comparison: Comparison) -> dict[str, str]:
    return {"report": _report(comparison), "run": _run()}


# What can be told from the source


@pytest.mark.parametrize("name", ["report", "run"])
def test_a_screen_reader_is_told_what_everything_is(name: str, pages: dict[str, str]) -> None:
    page = Page(pages[name])
    assert page.one("html").attributes["lang"] == "en" and page.one("title").text.strip()
    assert [len(page.all(tag)) for tag in ("main", "header", "footer", "h1")] == [1, 1, 1, 1]
    levels = [int(element.tag[1]) for element in page.elements if re.fullmatch("h[1-6]", element.tag)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    for figure in page.all("svg"):
        assert figure.attributes["role"] == "img" and figure.attributes["aria-label"]
    assert all(image.attributes.get("alt") or "svg" in image.inside for image in page.all("img") + page.all("image"))
    assert all(link.text.strip() for tag in ("a", "summary") for link in page.all(tag))
    assert not [element.tag for element in page.elements if int(element.attributes.get("tabindex", "0")) > 0]


@pytest.mark.parametrize("name", ["report", "run"])
def test_what_is_named_is_there_once(name: str, pages: dict[str, str]) -> None:
    elements = Page(pages[name]).elements
    ids = [element.attributes["id"] for element in elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    named = {element.attributes.get("aria-labelledby") for element in elements}
    named |= {
        element.attributes.get("href", "").removeprefix("#") or None for element in elements if element.tag == "a"
    }
    assert named - {None} <= set(ids)
    labels = [element.attributes["aria-label"] for element in elements if element.attributes.get("role") == "region"]
    assert len(labels) == len(set(labels)), "regions of one name cannot be told apart"


def _variables(style: str) -> dict[str, dict[str, str]]:
    """The colours of the page's variables: light, dark and on paper. What dark and paper do not set is as in light."""
    paper = {f"chart-{role}": colour for role, colour in ROLES.items()}
    parts = {
        "light": style,
        "dark": style.partition("prefers-color-scheme: dark")[2],
        "print": style.partition("@media print")[2],
    }
    found = {name: dict(re.findall(r"--([\w-]+): (#\w+)", text.partition("}")[0])) for name, text in parts.items()}
    return {name: paper | found["light"] | of for name, of in found.items()}


def _luminance(colour: str) -> float:
    """Of `#rgb` or `#rrggbb`. Source: WCAG 2.2, relative luminance."""
    digits = "".join(2 * digit for digit in colour[1:]) if len(colour) == 4 else colour[1:]
    shares = np.array([int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)])
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def _contrast(one: str, other: str) -> float:
    """Between 1 and 21. Source: WCAG 2.2, contrast ratio."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_texts_and_lines_stand_out(scheme: str, pages: dict[str, str]) -> None:
    """By WCAG 2.2: 4.5 for texts (level AA), 3 for lines and points."""
    of = _variables(Page(pages["report"]).one("style").text)[scheme]
    texts = [
        (ink, ground)
        for ink in ("ink", "soft", "true", "false", "unknown", "accent")
        for ground in ("paper", "panel", "faint")
    ]
    texts += [(f"chart-{role}", "chart-paper") for role in ("ink", "grey", "simulated", "live-text")]
    lines = [(f"chart-{role}", "chart-paper") for role in ("simulated", "live", "axis")]
    weak = {
        f"{ink} on {ground}": round(_contrast(of[ink], of[ground]), 2)
        for pairs, least in ((texts, 4.5), (lines, 3.0))
        for ink, ground in pairs
        if _contrast(of[ink], of[ground]) < least
    }
    assert not weak


# What a browser says


def file_of(page: str, folder: Path) -> Path:
    (folder / "page.html").write_text(page, encoding="utf-8")
    return folder / "page.html"


@pytest.mark.parametrize("name", ["report", "run"])
def test_a_browser_and_axe_find_nothing_wrong(name: str, judge: Judge, pages: dict[str, str], tmp_path: Path) -> None:
    found = judge({name: file_of(pages[name], tmp_path)}, LOOKS)[name]
    assert wrong(found) == []
    (size,) = found["pdf"]["sizes_pt"]
    assert tuple(round(float(side)) for side in size.split(" x ")) == A4_PT
    assert max(found["pdf"]["bytes"], len(pages[name].encode())) < 3_000_000


def test_a_browser_finds_what_is_wrong(judge: Judge, tmp_path: Path) -> None:
    """Each rule of ours, and some of axe-core's, on a page that breaks it."""
    broken = """<!doctype html><html><head><title>x</title><style>a:focus { outline: none }</style></head><body>
      <h1>x</h1><h3>y</h3><img src="http://127.0.0.1:9/x.png"><p style="color: #999">faint</p>
      <a href="#x">a link</a><button tabindex="-1">no key leads here</button>
      <table style="width: 1000px"><tr><td>wide</td></tr></table>
      <div style="background: #222; color: #fff">dark</div><details><summary>s</summary><p>closed</p></details>
      <svg width="90" height="20"><text y="15" fill="#bbb">faint</text></svg></body></html>"""
    looks = [look | {"scheme": "light"} for look in LOOKS if look["media"] == "print"]
    found = judge({"broken": file_of(broken, tmp_path)}, looks)["broken"]
    told = {what: " ".join(found["looks"][0][what]) for what in ("rules", "cut", "faint", "dark", "closed")}
    for rule in ("html-has-lang", "image-alt", "color-contrast", "heading-order"):
        assert rule in told["rules"]
    assert "table" in told["cut"] and "faint" in told["faint"] and "34, 34, 34" in told["dark"]
    assert "closed" in told["closed"]
    assert any("not reached: button" in one for one in found["keys"])
    assert any("does not show: a a link" in one for one in found["keys"])
    assert found["fetched"] == ["http://127.0.0.1:9/x.png"]
