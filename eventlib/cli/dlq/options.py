"""The arguments and options of the dlq commands, and how ages, moments and reasons are read."""

import re
import time
from datetime import UTC, datetime
from typing import Annotated, get_args

import typer

from eventlib.cli.moments import UNITS_S
from eventlib.policy import DeadReason


def age_s(text: str | float) -> float:
    """Seconds of an age such as 90s, 12h or 7d."""
    if isinstance(text, float):
        return text
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no age; write a number and one of s m h d w, such as 90s, 12h or 7d")
    return float(found[1]) * UNITS_S[found[2]]


def moment_s(text: str | float) -> float:
    """Unix seconds of a moment in ISO form, in UTC where it names no zone; or of a moment that long ago, such as 2h."""
    if isinstance(text, float):
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return max(0.0, time.time() - age_s(text))
        except typer.BadParameter:
            wanted = "write it such as 2026-11-24T13:05 (UTC), or how long ago, such as 2h"
            raise typer.BadParameter(f"{text!r} is no moment; {wanted}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def known_reason(text: str | None) -> str | None:
    """Refuse a reason that does not exist."""
    if text is not None and text not in get_args(DeadReason):
        raise typer.BadParameter(f"{text!r} is none of {', '.join(get_args(DeadReason))}")
    return text


# Where

Stream = Annotated[str, typer.Argument(help="The event stream.", metavar="STREAM")]
Group = Annotated[str, typer.Argument(help="The consumer group whose dead letters they are.", metavar="GROUP")]
Id = Annotated[str, typer.Argument(help="The dead letter's id, as listed.", metavar="ID")]

# Which

Ids = Annotated[list[str] | None, typer.Option("--id", help="This dead letter; may be given again.")]
Reason = Annotated[
    str | None, typer.Option(help=f"Why they died: {', '.join(get_args(DeadReason))}.", callback=known_reason)
]
Error = Annotated[str | None, typer.Option(help="A part of the error's type or text.")]
Type = Annotated[str | None, typer.Option("--type", help="The event type.")]
Handler = Annotated[str | None, typer.Option(help="A part of the handler's name.")]
Origin = Annotated[str | None, typer.Option(help="The entry's id in the event stream.")]
EventId = Annotated[str | None, typer.Option(help="The event's id, as its publisher or a log names it.")]
Since = Annotated[
    float | None, typer.Option(help="Died at or after: 2026-11-24T13:05, or 2h ago.", parser=moment_s, metavar="WHEN")
]
Until = Annotated[
    float | None, typer.Option(help="Died before: 2026-11-24T14:00, or 30m ago.", parser=moment_s, metavar="WHEN")
]
OlderThan = Annotated[
    float | None, typer.Option(help="Died longer ago than 7d, 12h, 30m or 90s.", parser=age_s, metavar="AGE")
]
Limit = Annotated[int, typer.Option(help="How many dead letters at most.", min=1)]
After = Annotated[
    str | None, typer.Option(help="Continue after this dead letter, the last one of the page before.", metavar="ID")
]

# How

Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without this, only say what would be done.")]
KeepAttempts = Annotated[
    bool,
    typer.Option(
        "--keep-attempts",
        help="Keep the attempts already counted, instead of starting at one; a dead letter that used them up stays.",
    ),
]
