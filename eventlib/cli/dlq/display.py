"""How dead letters are shown in a terminal, and written as JSON.

Other programs wrote what is in a dead letter. So everything is shown as plain text: it cannot steer the terminal.
"""

import base64
from collections import Counter
from typing import Any

from eventlib import DeadLetter
from eventlib.cli.moments import age, clock
from eventlib.cli.terminal import out, print_facts, print_table

_NARROW = 110  # a terminal of fewer columns gets the short form of the list


def show_list(place: str, size: int, fitting: int, oldest_age_s: float | None, page: list[DeadLetter]) -> None:
    """Print how many there are, or how many of them fit, and one page of them."""
    if fitting != size:
        out.tell(f"{place}: {number_of(fitting)} fit{'s' if fitting == 1 else ''}, of {size:,}")
    else:
        ago = "" if oldest_age_s is None else f", the oldest died {age(oldest_age_s)} ago"
        out.tell(f"{place}: {number_of(size)}{ago}")
    if page:
        _show_page(page)
    elif size:
        out.tell("None of them fits.")


def show_counts(reasons: Counter[str]) -> None:
    """Print how many died of each reason."""
    rows = [*((name, f"{number:,}") for name, number in reasons.most_common()), ("all", f"{reasons.total():,}")]
    names, numbers = zip(*rows, strict=True)
    print_table({"reason": names, "dead letters": numbers}, folded=["reason"], numbers=["dead letters"])


def show_one(dead: DeadLetter) -> None:
    """Print all that is known of one dead letter."""
    facts = {
        "died": f"{clock(dead.died_at_s)}, first failed {clock(dead.failed_at_s)}",
        "reason": dead.reason,
        "error": dead.error,
        "attempts": f"{dead.attempts}, replayed before: {dead.replays}",
        "handler": dead.handler,
        "consumer": dead.consumer,
        "origin": dead.origin,
        "event": f"{dead.event_type or '(type unknown)'}, id {dead.event_id or '(unknown)'}",
        "correlation": dead.correlation_id or "",
        "edited": "" if dead.edited_at_s is None else clock(dead.edited_at_s),
        "replay": f"no: {dead.obstacle}; edit it first" if dead.obstacle else "possible",
    }
    print_facts(facts)
    parts = {"traceback": dead.traceback}
    parts |= {f"field {text_of(name)} when it died": text_of(value) for name, value in dead.raw.items()}
    parts |= {"edited event": text_of(dead.edited)} if dead.edited is not None else {}
    for name, value in parts.items():
        if value:
            out.tell((f"\n{name}\n", "bold"), value)


def as_json(dead: DeadLetter) -> dict[str, Any]:
    """The dead letter for machines; bytes that are no text in base64."""
    names = ["id", "origin", "reason", "error", "traceback", "attempts", "handler", "consumer", "replays", "died_at_s"]
    names += ["failed_at_s", "edited_at_s", "event_type", "event_id", "correlation_id", "obstacle"]
    return {name: getattr(dead, name) for name in names} | {
        "raw": {text_of(name): _bytes_json(value) for name, value in dead.raw.items()},
        "edited": None if dead.edited is None else _bytes_json(dead.edited),
    }


def number_of(count: int) -> str:
    return f"{count:,} dead letter{'' if count == 1 else 's'}"


def text_of(value: bytes) -> str:
    """Bytes as text; those that are no text as escapes."""
    return value.decode(errors="backslashreplace")


def _show_page(page: list[DeadLetter]) -> None:
    """One line for each. The id is never cut: it is copied from here. The error is cut to what the others leave."""
    narrow, any_past = out.width < _NARROW, any(map(_past, page))
    died, type_length = (slice(5, 16), 8 if any_past else 12) if narrow else (slice(0, 19), 32)
    columns = {
        "id": [dead.id for dead in page],
        "died (UTC)": [clock(dead.died_at_s)[died] for dead in page],
        "reason": [dead.reason for dead in page],
        "past": [_past(dead, short=narrow) for dead in page],
        "type": [_cut(dead.event_type or "-", type_length) for dead in page],
    }
    if not any_past:
        del columns["past"]
    taken = sum(2 + max(map(len, (name, *cells))) for name, cells in columns.items())
    columns["error"] = [_cut(dead.error.partition("\n")[0], max(8, out.width - taken - 4)) for dead in page]
    print_table(columns, folded=(), spare=("type", "past", "died (UTC)"))


def _past(dead: DeadLetter, short: bool = False) -> str:
    """What was done to it before, if anything."""
    past = []
    if dead.edited_at_s is not None:
        past.append("e" if short else "edited")
    if dead.replays:
        past.append(f"{dead.replays}x" if short else f"replayed {dead.replays}x")
    return " ".join(past) if short else ", ".join(past)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}\u2026"


def _bytes_json(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
