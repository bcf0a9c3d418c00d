"""workbench doctor: one page about a server, with the mend of whatever is wrong."""

import asyncio
from contextlib import nullcontext
from dataclasses import asdict
from typing import Annotated, Any

import typer

from eventlib.broker.examining import Examination, Examiner
from eventlib.broker.surveying import Survey, SurveyLimits, Surveyor
from eventlib.cli.console import FAILED, WRONG, Json, ending, write_json
from eventlib.cli.looking import Rate, ServerUrl, Set, thresholds_from
from eventlib.cli.terminal import err, one_line, out
from eventlib.errors import AccessDenied
from eventlib.operate.diagnosis import Diagnosis, diagnose
from eventlib.thresholds import Thresholds

app = typer.Typer()
_STYLES = {"critical": "bold red", "warning": "bold yellow", "info": "bold"}
_SCANS_MAX = 200  # some 100,000 keys


@app.command("doctor", epilog=ending("`workbench doctor redis://localhost:6379`"))
def doctor_command(
    url: ServerUrl,
    given: Set = None,
    rate: Rate = 500.0,
    keys_max: Annotated[int, typer.Option(help="The most keys to measure.", min=1, max=100_000)] = 500,
    streams_max: Annotated[int, typer.Option(help="The most streams to look at.", min=1, max=10_000)] = 200,
    json_file: Json = None,
) -> None:
    """Examine a server, read-only: what is wrong with it and its streams, and the mend.

    It looks at persistence, memory, version and known defects, users, clock, latency, slow log, big keys, dead
    consumers, groups without readers and unread entries near loss. What its user may not see is named. The exit
    status is 1 where something is critical or a warning, and 2 where nothing could be seen.
    """
    thresholds = thresholds_from(given)
    limits = SurveyLimits(rate, streams_max, thresholds.idle_s, scans_max=_SCANS_MAX)
    waiting = err.status("Examining the server ...") if err.is_terminal else nullcontext()
    with waiting:
        seen, survey, problem = asyncio.run(_look(url, rate, keys_max, thresholds, limits))
    found = diagnose(seen, survey, thresholds)
    write_json(json_file, _document(seen, survey, found, problem))
    _show(seen, survey, found, problem)
    if found.blind:
        err.tell(("error:", "bold red"), f" user {seen.user} may see nothing here; `workbench acl admin` has the rules")
        raise typer.Exit(WRONG)
    if not found.healthy:
        raise typer.Exit(FAILED)


async def _look(
    url: str, rate: float, keys_max: int, thresholds: Thresholds, limits: SurveyLimits
) -> tuple[Examination, Survey | None, str | None]:
    """What the server tells of itself, and its streams; or why those cannot be seen."""
    examiner = Examiner(url, rate, keys_max, thresholds.big_key_bytes)
    surveyor = Surveyor(url, limits)
    try:
        seen = await examiner.examine()
        try:
            return seen, await surveyor.survey(), None
        except AccessDenied as error:
            return seen, None, error.problem
    finally:
        await examiner.close()
        await surveyor.close()


def _show(seen: Examination, survey: Survey | None, found: Diagnosis, problem: str | None) -> None:
    streams = "" if survey is None else f", {len(survey.streams)} streams"
    out.tell((f"{seen.product} {seen.version}", "bold"), f" at {one_line(seen.where)}, user {seen.user}{streams}")
    for finding in found.findings:
        out.tell("")
        head = f"{finding.severity:9}"
        out.tell((head, _STYLES[finding.severity]), f"{finding.name} ({one_line(finding.where)})")
        out.tell(f"{'':9}{one_line(finding.problem)}")
        out.tell(f"{'':9}Mend: {one_line(finding.mend)}")
    out.tell("")
    if found.in_order:
        out.tell(("In order: ", "bold"), ", ".join(found.in_order))
    for line in _unseen(seen, survey, found, problem):
        out.tell(("Not seen: ", "bold"), one_line(line))


def _unseen(seen: Examination, survey: Survey | None, found: Diagnosis, problem: str | None) -> list[str]:
    lines = []
    if seen.unseen:
        rules = " ".join(f"+{name.lower().replace(' ', '|')}" for name in seen.unseen)
        lines.append(f"{', '.join(found.unseen) or 'some details'}, because user {seen.user} lacks {rules}")
    if problem is not None:
        lines.append(f"streams and groups: {problem}")
    if seen.keys is not None and seen.keys > seen.keys_looked_at:
        lines.append(f"{seen.keys - seen.keys_looked_at:,} of {seen.keys:,} keys were not measured (--keys-max)")
    if survey is not None and (survey.skipped or not survey.searched_all):
        lines.append(f"{survey.skipped or 'some'} streams were not looked at (--streams-max, or out of reach)")
    return lines


def _document(seen: Examination, survey: Survey | None, found: Diagnosis, problem: str | None) -> dict[str, Any]:
    return {
        "server": {"where": seen.where, "product": seen.product, "version": seen.version, "user": seen.user},
        "healthy": found.healthy,
        "findings": [asdict(finding) for finding in found.findings],
        "in_order": list(found.in_order),
        "unseen": _unseen(seen, survey, found, problem),
        "round_trips_s": list(seen.round_trips_s),
        "clock_ahead_s": seen.ahead_s,
        "keys": {"all": seen.keys, "measured": seen.keys_looked_at},
        "streams": None if survey is None else len(survey.streams),
    }
