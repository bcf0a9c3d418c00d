"""Planted regressions: each breaks the library in one place, and one row of the claims must turn false by it.

`python -m tests.claims.mutations [ROW ...]` measures all rows that run in this process under every mutation, or under
those of the named rows. It writes their lines of the table in docs/claims.md, and takes some minutes.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eventlib import saga_policy
from eventlib.broker import streams
from eventlib.broker.publishing import PublishCommands
from eventlib.client.catalog_methods import CatalogMethods
from eventlib.declare import tasks
from eventlib.events import envelope
from eventlib.events.schema import Event, spec_of
from eventlib.health.verdicts import Verdict
from eventlib.operate.dead_letters import DeadLetters
from eventlib.policy import Retry
from eventlib.publish import publisher
from eventlib.replies.requesting import Requesting
from eventlib.retention import Retention
from eventlib.tasks import queues
from eventlib.testing import private_server
from sim.claims.registry import all_claims
from sim.claims.runner import measure_one

Patch = pytest.MonkeyPatch


class Mutation(NamedTuple):
    """What is broken, which row has to notice, and how to break it."""

    row: str
    what: str
    plant: Callable[[Patch], None]


def _accept_anything(patch: Patch) -> None:
    def unchecked(self: Event, /, **data: Any) -> None:
        made = type(self).model_construct(**data)
        for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
            object.__setattr__(self, name, getattr(made, name))

    patch.setattr(Event, "__init__", unchecked)


def _forget_correlation_at_the_second_hop(patch: Patch) -> None:
    def forgetful(event: Event, source: str, correlation_id: str | None = None, *rest: Any) -> tuple[str, bytes]:
        cause = envelope.current.get()
        if cause is not None and cause.causation_id is not None:
            correlation_id = cause.id
        return envelope.write(event, source, correlation_id, *rest)

    patch.setattr(publisher, "write", forgetful)


def _read_newer_versions(patch: Patch) -> None:
    original = envelope._reader
    patch.setattr(envelope, "_reader", lambda of, version: original(of, min(version, spec_of(of).version)))


def _replay_nothing(patch: Patch) -> None:
    async def replay(self: DeadLetters, which: Any, **options: Any) -> None: ...

    patch.setattr(DeadLetters, "replay", replay)


def _ignore_priorities(patch: Patch) -> None:
    original = queues.TaskQueues.enqueue_many

    async def enqueue_many(self: queues.TaskQueues, calls: Any, **options: Any) -> Any:
        return await original(self, calls, **options | {"priority": "normal"})

    patch.setattr(queues.TaskQueues, "enqueue_many", enqueue_many)


def _wait_always_as_long(patch: Patch) -> None:
    patch.setattr(Retry, "delay_s", lambda self, attempt, rng: self.wait_s)


def _forget_task_limits(patch: Patch) -> None:
    original = tasks.TaskSettings
    patch.setattr(tasks, "TaskSettings", lambda *settings: replace(original(*settings), limit=None))


def _start_at_once(patch: Patch) -> None:
    original = queues.due_text
    patch.setattr(queues, "due_text", lambda delay_s, at: "" if at is not None else original(delay_s, at))


def _lose_a_method(patch: Patch) -> None:
    patch.delattr(CatalogMethods, "publish_alert_resolved")


def _wait_too_long(patch: Patch) -> None:
    original = Requesting.waiting_for

    def waiting_for(self: Requesting, reply: Any, *, correlation_id: str, timeout_s: float) -> Any:
        return original(self, reply, correlation_id=correlation_id, timeout_s=10 * timeout_s)

    patch.setattr(Requesting, "waiting_for", waiting_for)


def _one_correlation_id_for_all(patch: Patch) -> None:
    patch.setattr("eventlib.replies.requesting.new_correlation_id", lambda: "the same")


def _stop_after_one_undo(patch: Patch) -> None:
    original = saga_policy.done

    def done(state: saga_policy.SagaState) -> saga_policy.Move:
        if state.act == "undo":
            return saga_policy._settled(replace(state, status="compensated"), "done")
        return original(state)

    patch.setattr(saga_policy, "done", done)


def _reverse_batches(patch: Patch) -> None:
    original = PublishCommands.append

    def append(self: PublishCommands, batch: Any, *args: Any, **options: Any) -> Any:
        return original(self, batch._replace(bodies=batch.bodies[::-1]), *args, **options)

    patch.setattr(PublishCommands, "append", append)


def _keep_everything(patch: Patch) -> None:
    original = streams._policy_text
    patch.setattr(streams, "_policy_text", lambda _: original(Retention(keep_entries=None)))


def _always_ready(patch: Patch) -> None:
    patch.setattr("eventlib.health.endpoints.ready", lambda *_: Verdict(()))


MUTATIONS = (
    Mutation("S2", "events are made without validation", _accept_anything),
    Mutation("S4", "the correlation id is lost at the second service", _forget_correlation_at_the_second_hop),
    Mutation("S5", "a newer version is read as if it were known", _read_newer_versions),
    Mutation("S9", "a replay of dead letters does nothing", _replay_nothing),
    Mutation("S11", "every task gets the normal priority", _ignore_priorities),
    Mutation("S12", "retries always wait as long, without jitter", _wait_always_as_long),
    Mutation("S13", "the limit of a task is forgotten", _forget_task_limits),
    Mutation("S15", "a task with a clock time starts at once", _start_at_once),
    Mutation("S17", "the client has no method for one event type", _lose_a_method),
    Mutation("S19", "a wait lasts ten times its time-out", _wait_too_long),
    Mutation("S25", "all requests have one correlation id", _one_correlation_id_for_all),
    Mutation("S27", "a rollback ends after one undo", _stop_after_one_undo),
    Mutation("S34", "a batch is appended in reverse order", _reverse_batches),
    Mutation("S35", "streams keep all their history", _keep_everything),
    Mutation("S36", "/readyz says yes without Redis", _always_ready),
)

# They measure other processes, which have the library as it is, or files, or nothing.
OUT_OF_REACH = {"S8", "S21", "S22", "S23", "S24", "S29", "S31", "S38", "S40", "S43", "S44", "S45", "S52"}
PAGE = Path(__file__).parents[2] / "docs" / "claims.md"
HEAD = "| planted regression | its row | rows that turned false | rows that stayed true |\n|---|---|---|---|\n"


def _line(mutation: Mutation, url: str) -> str:
    skipped = {one.id for one in all_claims() if one.noisy or "nothing to measure" in one.how} | OUT_OF_REACH
    with pytest.MonkeyPatch.context() as patch:
        mutation.plant(patch)
        rows = [measure_one(one, url) for one in all_claims() if one.id not in skipped]
    false, true = ([row.id for row in rows if row.verdict == verdict] for verdict in ("false", "true"))
    told = [f"    {row.id} {row.verdict}: {row.finding.measured}" for row in rows if row.verdict != "true"]
    line = f"| {mutation.what} | {mutation.row} | {', '.join(false)} | {len(true)} of {len(rows) - 1} |"
    sys.stderr.write("\n".join([line, *told, ""]))
    return line


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(HEAD)
    table, _, after = rest.partition("\n\n")
    lines = {line.split(" | ")[1]: line for line in table.splitlines()}
    with private_server() as server:
        for mutation in MUTATIONS:
            if not sys.argv[1:] or mutation.row in sys.argv[1:]:
                lines[mutation.row] = _line(mutation, server.url)
    table = "\n".join(lines[mutation.row] for mutation in MUTATIONS if mutation.row in lines)
    PAGE.write_text(f"{before}{HEAD}{table}\n\n{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
