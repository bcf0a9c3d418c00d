"""Verdicts for CI: JUnit XML, which build servers read, and a summary in Markdown, which they show."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from eventlib.cli.terminal import one_line
from sim.evidence.checks import Check
from sim.evidence.expectations import Judged
from sim.evidence.metrics import Interval, unit_of
from sim.wording import lower_bound, number, share_unhandled

ENDS: dict[str, Literal["failure", "error", "skipped"]] = {
    "fails": "failure",
    "cannot tell": "error",
    "false": "failure",
    "unknown": "skipped",
}  # JUnit's own names
MARKS = {
    "holds": "✅",
    "fails": "❌",
    "cannot tell": "❔",
    "true": "✅",
    "false": "❌",
    "unknown": "❔",
    "not built": "⬜",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One verdict as a test case. `end` is what JUnit calls an end that is no success; None is a success."""

    group: str
    name: str
    end: Literal["failure", "error", "skipped"] | None
    found: str
    seconds: float | None = None


def junit_of(title: str, judged: Sequence[Judged], checks: Sequence[Check], places: Sequence[str] = ()) -> str:
    """The verdicts as JUnit XML: a test case for each expectation and each check.

    What fails is a failure. What so few runs cannot tell is an error, so that it fails a build; a check without a case
    is skipped. `places` says where each expectation was judged.
    """
    cases = [
        Case("expectations", f"{place}{one.expected}", ENDS.get(one.outcome), f"{one.verdict}: {one.found}")
        for one, place in zip(judged, _at(places, judged), strict=True)
    ]
    return junit_cases(
        title, [*cases, *(Case("checks", one.claim, ENDS.get(one.verdict), one.detail) for one in checks)]
    )


def junit_cases(title: str, cases: Sequence[Case]) -> str:
    """Test cases as JUnit XML."""
    ends = [case.end for case in cases]
    counts = {"tests": len(cases), "failures": ends.count("failure"), "errors": ends.count("error")}
    about = {"name": one_line(title)} | {name: str(count) for name, count in counts.items()}
    suites = ElementTree.Element("testsuites", about)
    suite = ElementTree.SubElement(suites, "testsuite", about | {"skipped": str(ends.count("skipped"))})
    for one in cases:
        time = {} if one.seconds is None else {"time": f"{one.seconds:.3f}"}
        case = ElementTree.SubElement(suite, "testcase", {"classname": one.group, "name": one_line(one.name)} | time)
        if one.end is not None:
            ElementTree.SubElement(case, one.end, {"message": one_line(one.found)})
        else:
            ElementTree.SubElement(case, "system-out").text = one_line(one.found)
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
    parts = [f"## {cell_of(title)}"]
    if judged:
        expected = [
            (f"{MARKS[one.outcome]} {one.verdict}", f"{place}{one.expected}", one.found)
            for one, place in zip(judged, _at(places, judged), strict=True)
        ]
        parts.append(table_of(("", "expected", "found"), expected))
    if checks:
        found = [(f"{MARKS[check.verdict]} {check.verdict}", check.claim, check.detail) for check in checks]
        parts.append(table_of(("", "check", "found"), found))
    if metrics:
        rows = [(name, *_numbers(one), unit_of(name)) for name, one in metrics.items()]
        parts.append(table_of(("metric", "mean", "95 % interval", "unit"), rows))
    return "\n\n".join(parts) + "\n"


def _at(places: Sequence[str], judged: Sequence[Judged]) -> list[str]:
    return [f"{place}: " for place in places] or [""] * len(judged)


def _numbers(found: Interval) -> tuple[str, str]:
    mean = lower_bound(number(found.mean), found.unhandled)
    if found.unhandled:
        return mean, share_unhandled(found.unhandled)
    return mean, "" if found.low != found.low else f"{number(found.low)} to {number(found.high)}"


def table_of(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(cell_of, line))} |" for line in lines)


def cell_of(text: str) -> str:
    """A text that Markdown shows as it is, in one cell."""
    text = one_line(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "|*_`[]#~":
        text = text.replace(sign, f"\\{sign}")
    return text
