"""How a command ends: it writes its result for machines, shows the verdicts, and says by its exit status what they are.

0 it holds, 1 a promise is broken, 3 the run is invalid or shows nothing. What is wrong before that, bad input or no
server, is 2; Ctrl-C is 130 (`eventlib.cli.console`).
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import typer

from eventlib.cli.console import FAILED, INVALID, keep_and_show, write_json
from eventlib.cli.terminal import out
from eventlib.whole_files import write_whole
from sim.cli.expecting import Expected
from sim.environment import about_json
from sim.evidence.capacity import Overload, overloads
from sim.evidence.checks import Check, broken, check, invalid
from sim.evidence.claims import Row as ClaimRow
from sim.evidence.expectations import Judged, judge_history, judged_json
from sim.evidence.export import history_json
from sim.evidence.history import History
from sim.evidence.metrics import Interval, summaries
from sim.infer.compare import Comparison
from sim.infer.fidelity import Fidelity
from sim.infer.kept import KeptComparison
from sim.show.console import (
    print_checks,
    print_faults,
    print_judged,
    print_metrics,
    print_notes,
    print_overloads,
    steps,
)
from sim.show.provenance import exact_command
from sim.show.verdict import State, state_of

_STATUS: dict[State, int] = {"true": 0, "false": FAILED, "unknown": INVALID, "invalid": INVALID}


def conclude_history(
    history: History, json_file: Path | None, history_file: Path | None, page: Path | None, expected: Expected
) -> None:
    """End a command that ran one world: show its metrics, judge what is expected of them, write its history and a page.

    Raises:
        typer.Exit: as `conclude` does.
        InvalidHistory: the history could not be written.
    """
    with steps() as advance:
        advance("checking", 0.0)
        checks, found = check(history), summaries(history)
        judged = judge_history(expected.expectations, history)
    told = history_json(history, found, checks) | {"expectations": judged_json(judged)}
    keep_and_show(
        lambda: print_metrics(history, found),
        lambda: _save(history, history_file) if history_file is not None else None,
        lambda: _save_page(history, found, checks, judged, page) if page is not None else None,
        lambda: write_json(json_file, about_json() | told),
        lambda: expected.write(f"{history.scenario.name}, {history.world}", judged, checks, found),
    )
    conclude(history, checks, judged=judged)


def _save(history: History, file: Path) -> None:
    with steps() as advance:
        advance(f"writing {file}", 0.0)
        history.save(file)


def _save_page(
    history: History, found: Mapping[str, Interval], checks: Sequence[Check], judged: Sequence[Judged], file: Path
) -> None:
    from sim.show.run_page import render_run  # it brings the figures

    with steps() as advance:
        advance(f"writing {file}", 0.0)
        page = render_run(history, found, checks, judged, command=exact_command(sys.argv[1:]))
        write_whole(file, page, errors="xmlcharrefreplace")  # bytes of a path may be no text


def conclude(
    history: History,
    checks: Sequence[Check],
    comparisons: Sequence[Comparison] = (),
    judged: Sequence[Judged] = (),
    overloaded: Iterable[Overload] | None = None,
) -> None:
    """End a command that ran `history`: show its checks, what was overloaded, and what became of expectations.

    `overloaded` says what was, where the history has no rows.

    Raises:
        typer.Exit: as `end` does.
    """
    print_faults(history.scenario)
    print_checks(checks)
    print_overloads(overloads(history) if overloaded is None else overloaded)
    print_notes(history.scenario)
    print_judged(judged)
    end(checks, comparisons, judged=judged)


def conclude_kept(found: KeptComparison) -> None:
    """End a command that put two kept histories side by side.

    Raises:
        typer.Exit: something is worse, or it cannot be told, or a run is invalid.
    """
    if late := [one for history in (found.before, found.after) for one in invalid(check(history))]:
        print_checks(late)
        out.tell("Invalid run.")
        raise typer.Exit(INVALID)
    out.tell(f"{found.in_words}.")
    if found.judged("worse"):
        raise typer.Exit(FAILED)
    if found.judged("unknown"):
        out.tell("Note: it cannot be told where too few runs show the noise; give more --repeats when they are run.")
        raise typer.Exit(INVALID)


def conclude_fidelity(found: Fidelity) -> None:
    """End a command that tried many scenarios: 1 where a promise of delivery is broken, 3 where none could be judged.

    Raises:
        typer.Exit: as said.
    """
    if failed := [one for comparison in found.comparisons for one in broken(comparison.checks)]:
        print_checks(failed)
        raise typer.Exit(FAILED)
    if not found.judged:
        out.tell("No scenario could be judged: the machine is too busy, or not as it was timed.")
        raise typer.Exit(INVALID)


def end(
    checks: Sequence[Check],
    comparisons: Sequence[Comparison] = (),
    claims: Sequence[ClaimRow] = (),
    judged: Sequence[Judged] = (),
) -> None:
    """Say in a line what the verdicts come to, and end with the status for it.

    Raises:
        typer.Exit: something does not hold, or the run is invalid.
    """
    state, mark = state_of(checks, comparisons, claims, judged)
    out.tell(f"{mark}.")
    if status := _STATUS[state]:
        raise typer.Exit(status)
