"""What a command was told to expect, and the files that it writes about it, for people and for CI."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from eventlib.whole_files import write_whole
from sim.declare.expectations import Expectation
from sim.declare.scenario import Scenario
from sim.evidence.checks import Check
from sim.evidence.expectations import Judged, expectations_of
from sim.evidence.metrics import Interval
from sim.show.verdicts_for_ci import junit_of, markdown_of

_GITHUB = "GITHUB_STEP_SUMMARY"  # GitHub's own name: the file that it shows as the summary of a job


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected, and the files to write the verdicts to."""

    expectations: tuple[Expectation, ...] = ()
    junit: Path | None = None
    markdown: Path | None = None

    @classmethod
    def of(cls, scenario: Scenario, texts: Iterable[str] | None, junit: Path | None, markdown: Path | None) -> Self:
        """What a scenario and the command line expect.

        Raises:
            InvalidScenario: as `expectations_of` does.
        """
        return cls(expectations_of(scenario, texts or ()), junit, markdown)

    def write(
        self,
        title: str,
        judged: Sequence[Judged],
        checks: Sequence[Check] = (),
        metrics: Mapping[str, Interval] | None = None,
        *,
        places: Sequence[str] = (),
    ) -> None:
        """Write the verdicts where that was asked for. A GitHub job is told them too, where something is expected.

        `places` says of each expectation where it was judged, if it is judged at several points.
        """
        if self.junit is not None:
            write_whole(self.junit, junit_of(title, judged, checks, places))
        summary = markdown_of(title, judged, checks, metrics or {}, places)
        if self.markdown is not None:
            write_whole(self.markdown, summary)
        if judged:
            summary_of_job(summary)


def summary_of_job(text: str) -> None:
    """Add Markdown to the summary of the job of GitHub that this runs in, if it does."""
    if of_job := os.environ.get(_GITHUB):
        with open(of_job, "a", encoding="utf-8") as file:
            file.write(f"{text}\n")
