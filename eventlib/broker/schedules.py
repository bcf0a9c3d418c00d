"""The commands on the schedules of one queue."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from eventlib.broker import scripts
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import expected_arguments
from eventlib.broker.keys import ScheduleKeys
from eventlib.broker.pipelined import Argument
from eventlib.broker.requests import ScriptCall
from eventlib.broker.scripts import Script
from eventlib.broker.tasks import QueueCommands
from eventlib.records import EnqueuedTask, ExpectedTime, SlotRecord, queue_stream
from eventlib.scheduling import WAITING_MAX, Overlap, Skip


class StoredSchedule(NamedTuple):
    """A schedule as the server keeps it. `next_s` is its first slot that nothing is decided about; None: there is none.

    `spec` is JSON, and `revision` another one after each change. `fields` has the rest: see `schedule_slots.lua`.
    """

    name: str
    revision: str
    spec: str
    next_s: float | None
    waiting: int
    first_waiting_s: float | None
    fields: Mapping[str, str]


class Look(NamedTuple):
    """Which schedules of a queue are due, by their names, and which slots need not wait any more.

    `group_ms` is the group's time. If it is not as expected, by `unexpected_ms`, nothing is told. `next_s` is for how
    many seconds no other slot is due (None: there is none), `waiting` how many schedules have slots that wait.
    """

    group_ms: float
    unexpected_ms: float
    next_s: float | None
    waiting: int
    due: Mapping[str, float]
    ready: Sequence[str]


class Fired(NamedTuple):
    """What `fire` did: whether all was done, or nothing, because others were faster or the time is not as expected.

    `forbidden_by` is the id of the task whose unique key forbids what an operator asks for; '' if nothing does.
    """

    done: bool
    unexpected: bool
    forbidden_by: str


QueuedSlot = tuple[float, EnqueuedTask]


class ScheduleCommands:
    """The commands on the schedules of one queue. All are safe to repeat."""

    def __init__(self, broker: Broker, queue: str) -> None:
        self._broker = broker
        self._stream = queue_stream(queue)
        self._queue_keys = QueueCommands(broker, queue).keys

    def _run(self, script: Script, name: str, *args: Argument, size_bytes: int = 0) -> ScriptCall:
        at = self._at(name)
        keys = (*self._queue_keys, at.schedules, at.held_back, at.schedule, at.queued, at.history)
        return self._broker.run(script, keys, name, *args, bulk=size_bytes > 0, size_bytes=size_bytes)

    def _at(self, name: str) -> ScheduleKeys:
        return self._broker.keys.schedule(self._stream, name)

    async def look(self, limit: int, expected: ExpectedTime | None) -> Look:
        """Up to `limit` schedules that are due, and as many whose slots need not wait any more."""
        at = self._at("")
        keys = (*self._queue_keys, at.schedules, at.held_back)
        group_ms, unexpected_ms, next_ms, waiting, due, ready = await self._broker.run(
            scripts.SCHEDULE_LOOK, keys, limit, *expected_arguments(expected)
        )
        slots = {name.decode(): float(slot) / 1000.0 for name, slot in zip(due[::2], due[1::2], strict=True)}
        next_s = None if next_ms < 0 else next_ms / 1000.0
        names = [name.decode() for name in ready]
        return Look(float(group_ms), float(unexpected_ms), next_s, waiting, slots, names)

    async def names(self) -> list[str]:
        """The names of all schedules, by their next slots."""
        return [name.decode() for name in await self._broker.ask("ZRANGE", self._at("").schedules, 0, -1)]

    async def read(self, name: str) -> StoredSchedule | None:
        """A schedule. None if there is none of this name."""
        flat, next_slot, waiting, first = await self._run(scripts.SCHEDULE_READ, name)
        fields = {field.decode(): value.decode() for field, value in zip(flat[::2], flat[1::2], strict=True)}
        if not fields:
            return None
        next_s = float(next_slot) / 1000.0
        return StoredSchedule(
            *(name, fields.pop("revision", ""), fields.pop("spec", ""), None if math.isinf(next_s) else next_s),
            *(waiting, float(first) / 1000.0 if first else None, fields),
        )

    async def put(
        self, name: str, seen: str, new: str, spec: str, next_s: float | None, *, keep: bool = False, drop: bool = False
    ) -> bool:
        """Add a schedule, or change the one whose revision was `seen`. False if the caller has to look again.

        Another caller was faster then, or slots are due that have to be decided about before; with `drop` they are
        dropped. The next slot is `next_s`, or with `keep`, the one that it has.
        """
        args = (seen, new, spec, "=" if keep else _slot(next_s), int(drop))
        return bool(await self._run(scripts.SCHEDULE_PUT, name, *args, size_bytes=len(spec)))

    async def halt(self, name: str, new: str, why: str, *, on: bool) -> bool | None:
        """Set or take away that a schedule is `paused` or `orphaned`. None if there is no such schedule.

        False if slots are due that have to be decided about before it goes on.
        """
        done = await self._run(scripts.SCHEDULE_HALT, name, new, why, int(on))
        return None if done < 0 else bool(done)

    async def remove(self, name: str) -> bool:
        """Remove a schedule, its slots that wait and its history. False if there is none of this name."""
        return bool(await self._run(scripts.SCHEDULE_REMOVE, name))

    async def fire(
        self,
        stored: StoredSchedule,
        overlap: Overlap,
        steps: Iterable[QueuedSlot | Skip],
        following_s: float | None,
        expected: ExpectedTime | None,
    ) -> Fired:
        """Carry out what was decided about slots from `stored.next_s` on, after which `following_s` is the next one."""
        args: list[Argument] = []
        for step in steps:
            if isinstance(step, Skip):
                args += ("skip", _slot(step.first_s), _slot(step.last_s), step.count, step.reason)
            else:
                args += ("run", _slot(step[0]), *step[1])
        return await self._fire(stored, overlap, _slot(stored.next_s), _slot(following_s), expected, args)

    async def start_queued(
        self, stored: StoredSchedule, overlap: Overlap, slot: QueuedSlot, expected: ExpectedTime | None
    ) -> Fired:
        """Run the first slot that waits, if the task before it has ended."""
        return await self._fire(stored, overlap, "", "", expected, ["queued", _slot(slot[0]), *slot[1]])

    async def run_now(self, stored: StoredSchedule, overlap: Overlap, task: EnqueuedTask) -> Fired:
        """Enqueue a task that belongs to no slot."""
        return await self._fire(stored, overlap, "", "", None, ["now", "", *task])

    async def _fire(
        self,
        stored: StoredSchedule,
        overlap: Overlap,
        next_slot: str,
        following: str,
        expected: ExpectedTime | None,
        steps: Sequence[Argument],
    ) -> Fired:
        size_bytes = sum(len(part) for part in steps if isinstance(part, bytes))
        args = (stored.revision, overlap, WAITING_MAX, next_slot, following, *expected_arguments(expected), *steps)
        done, forbidden_by = await self._run(scripts.SCHEDULE_FIRE, stored.name, *args, size_bytes=size_bytes)
        return Fired(done == 1, done < 0, forbidden_by.decode())

    async def history(self, name: str, limit: int) -> list[SlotRecord]:
        """The newest records of a schedule's slots, newest first."""
        entries = await self._broker.ask("XREVRANGE", self._at(name).history, "+", "-", "COUNT", limit)
        return [_slot_record(id_, flat) for id_, flat in entries]


def _slot(slot_s: float | None) -> str:
    return "" if slot_s is None else str(round(slot_s * 1000.0))


def _slot_record(id_: bytes, flat: Sequence[bytes]) -> SlotRecord:
    fields = {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}
    slot_s = float(fields["slot"]) / 1000.0
    return SlotRecord(
        slot_s,
        float(fields["last"]) / 1000.0 if "last" in fields else slot_s,
        int(fields.get("count", "1")),
        cast(Any, fields["outcome"]),
        fields.get("reason"),
        fields.get("task"),
        float(fields["late"]) / 1000.0 if "late" in fields else None,
        int(id_.split(b"-")[0]) / 1000.0,
    )
