"""How sagas are shown in a terminal, and written as JSON."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from eventlib import SagaNote, SagaRecord
from eventlib.cli.terminal import out, print_table


def show_list(name: str, page: list[SagaRecord]) -> None:
    """Print one line for each saga. Ids are never cut."""
    if not page:
        out.tell(f"No sagas {name} are there.")
        return
    columns: dict[str, list[str]] = {
        "id": [record.id for record in page],
        "status": [record.status for record in page],
        "at": [_place(record) for record in page],
        "attempt": [str(record.attempt) for record in page],
        "updated (UTC)": [_clock(record.updated_s)[:19] for record in page],
        "why": [_reason(record) for record in page],
    }
    print_table(columns, folded=("why",), numbers=("attempt",), spare=("updated (UTC)", "attempt"))


def show_one(record: SagaRecord, history: list[SagaNote]) -> None:
    """Print all that is known of one saga."""
    rows = {
        "status": record.status,
        "why": record.why,
        "at": f"{_place(record)}, attempt {record.attempt}" if _place(record) else "",
        "error": record.error,
        "waits for": record.waits_for,
        "version": str(record.version),
        "input": json.dumps(record.input),
        "started": _clock(record.started_s),
        "updated": _clock(record.updated_s),
        "deadline": "" if record.deadline_s is None else _clock(record.deadline_s),
    }
    for title, value in rows.items():
        if value:
            out.tell((f"{title:12}", "bold"), value)
    steps: dict[str, list[str]] = {
        "step": [step.name for step in record.steps],
        "status": [step.status for step in record.steps],
    }
    results: dict[str, list[str]] = {
        "result": ["" if step.result is None else json.dumps(step.result) for step in record.steps]
    }
    print_table({**steps, **results}, folded=("result",))
    columns = {
        "at (UTC)": [_clock(note.at_s) for note in history],
        "what": [note.what for note in history],
        "step": [note.step for note in history],
        "worker": [note.worker for note in history],
        "why": [note.why for note in history],
    }
    print_table(columns, folded=("why",), spare=("worker",))


def as_json(record: SagaRecord) -> dict[str, Any]:
    """The saga for machines."""
    return asdict(record)


def history_json(history: list[SagaNote]) -> list[dict[str, Any]]:
    """What happened to a saga, for machines."""
    return [asdict(note) for note in history]


def _place(record: SagaRecord) -> str:
    """What it does, or where it stopped."""
    if record.status in ("completed", "compensated"):
        return ""
    return record.step if record.act == "do" else f"undo of {record.step}"


def _reason(record: SagaRecord) -> str:
    if record.waits_for:
        return f"waits for {record.waits_for}"
    return record.why or (record.error if record.status in ("running", "cancelling") else "")


def _clock(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).isoformat(" ", "milliseconds")
