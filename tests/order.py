"""The order of events of one key: `faults` finds where a history of handlers breaks it."""

from collections.abc import Iterable
from typing import Literal, NamedTuple


class Note(NamedTuple):
    """One line of a history. Steps of a key count from 0, as they were published."""

    what: Literal["began", "failed", "done", "killed"]
    who: str
    key: str = ""
    step: int = 0


def faults(notes: Iterable[Note]) -> list[str]:
    """Where the history breaks the order of a key: two at a time, a step left out, or one after a later one.

    A step may be begun again as long as the next one was not. Each fault is told once.
    """
    found: list[str] = []
    busy: dict[str, str] = {}  # key: which consumer handles it
    last: dict[str, int] = {}  # key: the last step begun
    done: set[tuple[str, int]] = set()
    for note in notes:
        key, step = note.key, note.step
        if note.what == "killed":
            busy = {key: who for key, who in busy.items() if who != note.who}
        elif note.what == "began":
            if key in busy:
                found.append(f"{note} while {busy[key]} was at work on the key")
            elif step != last.get(key, 0) and not (step == last.get(key, -1) + 1 and (key, step - 1) in done):
                found.append(f"{note} after step {last.get(key)}")
            busy[key], last[key] = note.who, max(step, last.get(key, 0))
        else:
            busy.pop(key, None)
            if note.what == "done":
                done.add((key, step))
    return found
