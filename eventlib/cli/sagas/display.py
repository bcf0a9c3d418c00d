"""How sagas are shown in a terminal. What others wrote is shown as plain text."""

import json

from eventlib.cli.moments import clock
from eventlib.cli.terminal import out, print_facts, print_table
from eventlib.sagas.records import SagaNote, SagaRecord


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
        "updated (UTC)": [clock(record.updated_at_s)[:19] for record in page],
        "why": [_reason(record) for record in page],
    }
    print_table(columns, folded=("why",), numbers=("attempt",), spare=("updated (UTC)", "attempt"))


def show_one(record: SagaRecord, history: list[SagaNote]) -> None:
    """Print all that is known of one saga."""
    facts = {
        "status": record.status,
        "why": record.why,
        "at": f"{_place(record)}, attempt {record.attempt}" if _place(record) else "",
        "error": record.error,
        "waits for": record.waits_for,
        "version": str(record.version),
        "input": json.dumps(record.input),
        "started": clock(record.started_at_s),
        "updated": clock(record.updated_at_s),
        "deadline": clock(record.deadline_s, unknown=""),
    }
    print_facts(facts)
    steps: dict[str, list[str]] = {
        "step": [step.name for step in record.steps],
        "status": [step.status for step in record.steps],
        "result": ["" if step.result is None else json.dumps(step.result) for step in record.steps],
    }
    print_table(steps, folded=("result",))
    columns = {
        "at (UTC)": [clock(note.at_s) for note in history],
        "what": [note.what for note in history],
        "step": [note.step for note in history],
        "worker": [note.worker for note in history],
        "why": [note.why for note in history],
    }
    print_table(columns, folded=("why",), spare=("worker",))


def _place(record: SagaRecord) -> str:
    """What it does, or where it stopped."""
    if record.status in ("completed", "compensated"):
        return ""
    return record.step if record.act == "do" else f"undo of {record.step}"


def _reason(record: SagaRecord) -> str:
    if record.waits_for:
        return f"waits for {record.waits_for}"
    return record.why or (record.error if record.status in ("running", "cancelling") else "")
