"""Rows of claims in a terminal, in Markdown and in JUnit XML."""

from typing import Literal

from eventlib.cli.terminal import out
from sim.evidence.claims import Measured, Row
from sim.show.console import tell_verdict
from sim.show.verdicts_for_ci import MARKS, Case, cell_of, junit_cases, table_of
from sim.wording import digits


def print_claim_rows(measured: Measured) -> None:
    """Each theme with its claims: the verdict, the sentence and what was measured."""
    for heading, rows in measured.themes().items():
        out.tell((heading, "bold"))
        for row in rows:
            tell_verdict(row.verdict, f"{row.id} {row.sentence}: {row.finding.measured}{_times(row)}")


def claims_markdown(measured: Measured) -> str:
    """The rows as Markdown: a table for each theme, the verdict first."""
    parts = [f"## {cell_of(measured.in_words)}", f"Measured on {cell_of(measured.server)}."]
    for heading, rows in measured.themes().items():
        lines = [
            (
                row.id,
                f"{MARKS[row.verdict]} {row.verdict}",
                row.sentence,
                f"{row.finding.measured}{_times(row)}",
                row.how,
            )
            for row in rows
        ]
        parts += [f"### {heading}", table_of(("", "verdict", "claim", "measured", "how"), lines)]
    return "\n\n".join(parts) + "\n"


def claims_junit(measured: Measured) -> str:
    """The rows as JUnit XML: what is false fails, what is unknown or not built is skipped."""
    cases = [
        Case(row.theme, f"{row.id} {row.sentence}", _end(row), row.finding.measured, row.seconds)
        for row in measured.rows
    ]
    return junit_cases("claims", cases)


def _end(row: Row) -> Literal["failure", "skipped"] | None:
    if row.verdict == "true":
        return None
    return "failure" if row.verdict == "false" else "skipped"


def _times(row: Row) -> str:
    """How far from the threshold."""
    distance = row.finding.distance
    if distance is None:
        return ""
    return " (at the threshold)" if distance == 1.0 else f" ({digits(distance)} times the threshold)"
