"""Verdicts for CI: JUnit XML, which build servers read, and a summary in Markdown, which they show."""

from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree

from eventlib.cli.terminal import one_line
from sim.evidence.checks import Check
from sim.evidence.expectations import Judged
from sim.evidence.metrics import Interval, unit_of
from sim.wording import lower_bound, number, share_unhandled

_ENDS = {"fails": "failure", "cannot tell": "error", "false": "failure", "unknown": "skipped"}  # JUnit's own names
_MARKS = {"holds": "✅", "fails": "❌", "cannot tell": "❔", "true": "✅", "false": "❌", "unknown": "❔"}


def junit_of(title: str, judged: Sequence[Judged], checks: Sequence[Check], places: Sequence[str] = ()) -> str:
    """The verdicts as JUnit XML: a test case for each expectation and each check.

    What fails is a failure. What so few runs cannot tell is an error, so that it fails a build; a check without a case
    is skipped. `places` says where each expectation was judged.
    """
    cases: list[tuple[str, str, str, str]] = [
        ("expectations", f"{place}{one.expected}", one.outcome, f"{one.verdict}: {one.found}")
        for one, place in zip(judged, _at(places, judged), strict=True)
    ]
    cases += [("checks", check.claim, check.verdict, check.detail) for check in checks]
    ends = [_ENDS.get(outcome) for _, _, outcome, _ in cases]
    counts = {"tests": len(cases), "failures": ends.count("failure"), "errors": ends.count("error")}
    about = {"name": one_line(title)} | {name: str(count) for name, count in counts.items()}
    suites = ElementTree.Element("testsuites", about)
    suite = ElementTree.SubElement(suites, "testsuite", about | {"skipped": str(ends.count("skipped"))})
    for (group, name, _, found), end in zip(cases, ends, strict=True):
        case = ElementTree.SubElement(suite, "testcase", {"classname": group, "name": one_line(name)})
        if end is not None:
            ElementTree.SubElement(case, end, {"message": one_line(found)})
        else:
            ElementTree.SubElement(case, "system-out").text = one_line(found)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def markdown_of(
    title: str,
    judged: Sequence[Judged],
    checks: Sequence[Check],
    metrics: Mapping[str, Interval],
    places: Sequence[str] = (),
) -> str:
    """The verdicts and the metrics as tables in Markdown."""
    parts = [f"## {_cell(title)}"]
    if judged:
        expected = [
            (f"{_MARKS[one.outcome]} {one.verdict}", f"{place}{one.expected}", one.found)
            for one, place in zip(judged, _at(places, judged), strict=True)
        ]
        parts.append(_table(("", "expected", "found"), expected))
    if checks:
        found = [(f"{_MARKS[check.verdict]} {check.verdict}", check.claim, check.detail) for check in checks]
        parts.append(_table(("", "check", "found"), found))
    if metrics:
        rows = [(name, *_numbers(one), unit_of(name)) for name, one in metrics.items()]
        parts.append(_table(("metric", "mean", "95 % interval", "unit"), rows))
    return "\n\n".join(parts) + "\n"


def _at(places: Sequence[str], judged: Sequence[Judged]) -> list[str]:
    return [f"{place}: " for place in places] or [""] * len(judged)


def _numbers(found: Interval) -> tuple[str, str]:
    mean = lower_bound(number(found.mean), found.unhandled)
    if found.unhandled:
        return mean, share_unhandled(found.unhandled)
    return mean, "" if found.low != found.low else f"{number(found.low)} to {number(found.high)}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """A text that Markdown shows as it is, in one cell."""
    text = one_line(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "|*_`[]#~":
        text = text.replace(sign, f"\\{sign}")
    return text
