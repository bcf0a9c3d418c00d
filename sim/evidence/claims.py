"""What was found of each claim of the reference document: the rows of a report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ClaimVerdict = Literal["true", "false", "unknown", "not built"]
VERDICTS: tuple[ClaimVerdict, ...] = ("true", "false", "unknown", "not built")

# The parts of the reference document, in its order, and how a report heads them.
THEMES = {
    "schemas": "Event schemas",
    "bus": "Event bus",
    "tasks": "Background tasks",
    "client": "Event client",
    "documents": "Documents and tests",
    "patterns": "Patterns",
    "performance": "Performance",
    "operations": "Operations",
    "security": "Security and privacy",
    "services": "Services",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one measurement found. `numbers` are in the units of their names.

    `interval` is the 95 % interval of the number that is judged, where it was measured several times. `distance` is
    that number over the threshold: 2.0 is twice the threshold. `evidence` says what lies behind it, a line each.
    """

    verdict: ClaimVerdict
    measured: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    distance: float | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A claim with what was found. `how` says what was done to find out, `threshold` what had to come out."""

    id: str
    theme: str
    sentence: str
    how: str
    threshold: str
    finding: Finding
    seconds: float

    @property
    def verdict(self) -> ClaimVerdict:
        return self.finding.verdict


@dataclass(frozen=True, slots=True)
class Measured:
    """The rows that were measured, in the order of the claims, of `total` that were to be measured.

    `partial`: it was interrupted before the last one.
    """

    rows: tuple[Row, ...]
    total: int
    server: str
    full: bool

    @property
    def partial(self) -> bool:
        return len(self.rows) < self.total

    def of(self, verdict: ClaimVerdict) -> list[Row]:
        """The rows with this verdict."""
        return [row for row in self.rows if row.verdict == verdict]

    @property
    def in_words(self) -> str:
        """What they come to, in a sentence: "45 of 58 claims are true, 1 is false, 4 unknown, 8 not built"."""
        true, false, unknown, not_built = (len(self.of(verdict)) for verdict in VERDICTS)
        claims = "claim is" if self.total == 1 else "claims are"
        told = f"{true} of {self.total} {claims} true, {false} false, {unknown} unknown, {not_built} not built"
        return f"{told}; {self.total - len(self.rows)} were not measured" if self.partial else told

    def themes(self) -> dict[str, list[Row]]:
        """The rows of each theme, under its heading, in the order of the document."""
        grouped: dict[str, list[Row]] = {}
        for theme, heading in THEMES.items():
            if own := [row for row in self.rows if row.theme == theme]:
                grouped[heading] = own
        return grouped

    def as_json(self) -> dict[str, Any]:
        """All of it, for machines."""
        counts = {verdict: len(self.of(verdict)) for verdict in VERDICTS}
        about = {"server": self.server, "full": self.full, "partial": self.partial, "total": self.total}
        return {
            **about,
            "verdicts": counts,
            "claims": [_row_json(row) for row in sorted(self.rows, key=lambda row: int(row.id[1:]))],
        }


def _row_json(row: Row) -> dict[str, Any]:
    finding = row.finding
    low, high = finding.interval or (None, None)
    return {
        "id": row.id,
        "theme": row.theme,
        "claim": row.sentence,
        "verdict": row.verdict,
        "measured": finding.measured,
        "threshold": row.threshold,
        "how": row.how,
        "numbers": dict(finding.numbers),
        "low": low,
        "high": high,
        "distance": finding.distance,
        "evidence": list(finding.evidence),
        "seconds": round(row.seconds, 3),
    }
