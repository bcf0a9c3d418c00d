"""Claims, and a whole report, in a terminal, in Markdown and in JUnit XML."""

from collections.abc import Sequence
from typing import Literal

from eventlib.cli.terminal import out
from sim.evidence.claims import Measured, Row
from sim.infer.compare import Comparison
from sim.show.console import tell_verdict
from sim.show.verdict import verdict
from sim.show.verdicts_for_ci import ENDS, MARKS, Case, cell_of, junit_cases, table_of
from sim.wording import digits, quantity

_PREDICTED: dict[str, Literal["failure", "skipped"] | None] = {"within": None, "outside": "failure"}


def print_claim_rows(measured: Measured) -> None:
    """Each theme with its claims: the verdict, the sentence and what was measured."""
    for heading, rows in measured.themes().items():
        out.tell((heading, "bold"))
        for row in rows:
            tell_verdict(row.verdict, f"{row.id} {row.sentence}: {row.finding.measured}{times(row)}")


def report_markdown(comparisons: Sequence[Comparison], measured: Measured | None, notes: Sequence[str]) -> str:
    """The report as Markdown: the verdict, how the worlds compare, and every claim."""
    rows = measured.rows if measured is not None else ()
    sentence = verdict(comparisons, rows)
    parts = [f"# {cell_of(sentence.text)}", f"{cell_of(sentence.mark)}."]
    parts += [f"Note: {cell_of(note)}." for note in notes]
    lines = [
        (one.live.scenario.name, row.metric, *(quantity(of, row.unit) for of in (row.simulated, row.live)), row.verdict)
        for one in comparisons
        for row in one.predictions
    ]
    parts.append(table_of(("scenario", "metric", "simulated", "live", "within the tolerance?"), lines))
    checks = [
        (one.live.scenario.name, f"{MARKS[check.verdict]} {check.verdict}", check.claim, check.detail)
        for one in comparisons
        for check in one.checks
    ]
    parts.append(table_of(("scenario", "verdict", "check", "found"), checks))
    return "\n\n".join(parts) + "\n" + (f"\n{claims_markdown(measured)}" if measured is not None else "")


def report_junit(comparisons: Sequence[Comparison], measured: Measured | None) -> str:
    """The report as JUnit XML: a case for each check of each scenario, for each predicted lag, and for each claim."""
    cases = [
        Case(one.live.scenario.name, check.claim, ENDS.get(check.verdict), check.detail)
        for one in comparisons
        for check in one.checks
    ]
    for one in comparisons:
        row = one.headline
        name, found = f"{row.metric} is predicted within the tolerance", f"{quantity(row.relative_error, 'share')} off"
        cases.append(Case(one.live.scenario.name, name, _PREDICTED.get(row.verdict, "skipped"), found))
    return junit_cases("report", [*cases, *(_cases(measured.rows) if measured is not None else ())])


def claims_markdown(measured: Measured) -> str:
    """The rows as Markdown: a table for each theme, the verdict first."""
    parts = [f"## {cell_of(measured.in_words)}", f"Measured on {cell_of(measured.server)}."]
    for heading, rows in measured.themes().items():
        lines = [
            (
                row.id,
                f"{MARKS[row.verdict]} {row.verdict}",
                row.sentence,
                f"{row.finding.measured}{times(row)}",
                row.how,
            )
            for row in rows
        ]
        parts += [f"### {heading}", table_of(("", "verdict", "claim", "measured", "how"), lines)]
    return "\n\n".join(parts) + "\n"


def claims_junit(measured: Measured) -> str:
    """The rows as JUnit XML: what is false fails, what is unknown or not built is skipped."""
    return junit_cases("claims", _cases(measured.rows))


def _cases(rows: Sequence[Row]) -> list[Case]:
    return [Case(row.theme, f"{row.id} {row.sentence}", _end(row), row.finding.measured, row.seconds) for row in rows]


def _end(row: Row) -> Literal["failure", "skipped"] | None:
    if row.verdict == "true":
        return None
    return "failure" if row.verdict == "false" else "skipped"


def times(row: Row) -> str:
    """How far from the threshold."""
    distance = row.finding.distance
    if distance is None:
        return ""
    return " (at the threshold)" if distance == 1.0 else f" ({digits(distance)} times the threshold)"
