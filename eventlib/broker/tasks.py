"""The commands of task queues: those who enqueue, wait and cancel, and one worker of one queue."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from eventlib.broker import scripts
from eventlib.broker.connections import Broker, milliseconds
from eventlib.broker.consuming import ATTEMPTS_MAX, ConsumerCommands, Promoted, TakenOver, expected_arguments
from eventlib.broker.notices import Watch
from eventlib.broker.pipelined import Argument
from eventlib.broker.publishing import BATCH_BYTES
from eventlib.broker.reading import Reader, Sink, entry_of
from eventlib.broker.requests import ScriptCall
from eventlib.broker.scripts import Script
from eventlib.finishing import finished
from eventlib.queueing import PRIORITIES
from eventlib.records import EnqueuedTask, Entry, ExpectedTime, Place, QueueHealth, UniqueKeyHolder, queue_stream

log = logging.getLogger("eventlib")

WORKERS = "workers"  # the group of each queue
_LIMITS_MAX = 100  # that are looked at for a queue's health
_LOOKED_AT = 100  # slots, and limits, in one call
_NO_OUTCOME = ("succeeded", b"")  # of a task whose outcome was not noted


class TaskRecord(NamedTuple):
    """All that is known of a task: its record, its progress, its result as JSON, and who runs it."""

    record: Mapping[str, Any]
    progress: Mapping[str, Any] | None
    result: bytes
    worker: str


class QueueCommands:
    """The commands on one queue of a program that enqueues, waits for or cancels its tasks."""

    def __init__(self, broker: Broker, queue: str) -> None:
        self.name = queue
        self._broker = broker
        self._group = broker.keys.group(queue_stream(queue), WORKERS)
        self._own = broker.keys.queue(queue_stream(queue))
        self.keys = (self._group.retry, self._group.dead_letters, self._group.sweep, *self._own)

    def _run(self, script: Script, *args: Argument, bulk: bool = False, size_bytes: int = 0) -> ScriptCall:
        return self._broker.run(script, self.keys, *args, bulk=bulk, size_bytes=size_bytes)

    async def enqueue(self, tasks: Sequence[EnqueuedTask]) -> UniqueKeyHolder | None:
        """Enqueue all tasks, or none if a unique key is in use: then say which. Safe to repeat.

        A task whose id is known stays as it is.
        """
        args: list[Argument] = [part for task in tasks for part in task]
        size_bytes = sum(len(task.event) for task in tasks)
        reply = await self._run(scripts.TASK_ENQUEUE, *args, bulk=True, size_bytes=size_bytes)
        return None if len(reply) == 1 else UniqueKeyHolder(tasks[reply[0] - 1], reply[1].decode())

    async def exists(self) -> bool:
        """Whether a task was ever enqueued here, a worker has run, or a schedule is there."""
        schedules = self._broker.keys.schedule(queue_stream(self.name), "").schedules
        return cast(int, await self._broker.ask("EXISTS", *self.keys, schedules)) > 0

    async def look(self, task_id: str, *, with_result: bool = False) -> TaskRecord | None:
        """All that is known of a task. None if it is not known."""
        record, progress, result, worker = await self._run(
            scripts.TASK_LOOK, WORKERS, task_id, int(with_result), bulk=with_result
        )
        if not record:
            return None
        return TaskRecord(json.loads(record), json.loads(progress) if progress else None, result, worker.decode())

    async def cancel(self, task_id: str) -> tuple[str, bool]:
        """Cancel a task. Returns its state, '' if it is not known, and whether it had ended before."""
        state, ended = await self._run(scripts.TASK_CANCEL, task_id)
        return state.decode(), bool(ended)

    async def health(self, silent_s: float) -> QueueHealth:
        """How the queue stands. A worker that was silent for over `silent_s` seconds is not alive."""
        args = (WORKERS, _LIMITS_MAX, milliseconds(silent_s))
        depths, ages, running, delayed, blocked, dead, alive, rates, now_ms, limits, paused = await self._run(
            scripts.TASK_HEALTH, *args
        )
        counts = _last_minute(dict(zip(rates[::2], rates[1::2], strict=True)), now_ms)
        return QueueHealth(
            waiting=dict(zip(PRIORITIES, depths, strict=True)),
            oldest_age_s={p: None if ms < 0 else ms / 1000.0 for p, ms in zip(PRIORITIES, ages, strict=True)},
            running=running,
            delayed=delayed,
            blocked=blocked,
            dead=dead,
            workers=alive,
            enqueued_per_s=counts["enqueued"],
            started_per_s=counts["started"],
            ended_per_s=counts["ended"],
            slots={name.decode(): used for name, used, _ in limits if used},
            blocked_by={name.decode(): waiting for name, _, waiting in limits if waiting},
            paused=bool(paused),
        )

    async def page(self, cursor: int, count: int) -> tuple[int, list[tuple[str, Mapping[str, Any]]]]:
        """About `count` records of tasks with their ids, in no order, and the next cursor; 0 at the end."""
        following, found = await self._broker.ask("HSCAN", self._own.records, cursor, "COUNT", count)
        pairs = zip(found[::2], found[1::2], strict=True)
        return int(following), [(id_.decode(), json.loads(record)) for id_, record in pairs if record]

    async def run_now(self, task_id: str) -> str:
        """Let a delayed task start now. Returns its state; '' if it is not known."""
        return cast(bytes, await self._run(scripts.TASK_RUN_NOW, task_id)).decode()

    def watch_finished(self) -> Watch:
        """A watch on the ids of the queue's tasks that end."""
        return Watch(self._broker, self._own.finished, b"ids")

    def watch_cancels(self) -> Watch:
        """A watch on the ids of the queue's running tasks that are to end."""
        return Watch(self._broker, self._own.cancels, b"id")

    async def cancelling(self, task_ids: Sequence[str]) -> list[str]:
        """Those of the tasks that are to end."""
        flags = await self._broker.ask("SMISMEMBER", self._own.cancelling, *task_ids)
        return [id_ for id_, flag in zip(task_ids, flags, strict=True) if flag]


def _last_minute(counts: Mapping[bytes, bytes], now_ms: int) -> Mapping[str, float]:
    """Numbers a second over the last minute. Its last five seconds count for as long as they have taken."""
    begun, rates = now_ms // 5000, dict.fromkeys(("enqueued", "started", "ended"), 0.0)
    over_s = 55.0 + now_ms % 5000 / 1000.0
    for field, number in counts.items():
        kind, _, at = field.decode().partition(" ")
        if begun - 11 <= int(at) <= begun:
            rates[kind] += int(number) / over_s
    return rates


class Clock(NamedTuple):
    """What a worker knows of its group's time."""

    known: bool
    expected: ExpectedTime | None


class TaskCommands(ConsumerCommands):
    """The commands of one worker of one queue. `pattern` and `fair_weights` say whose turn it is."""

    def __init__(
        self, broker: Broker, queue: str, consumer: str, pattern: Sequence[int], fair_weights: Mapping[str, float]
    ) -> None:
        super().__init__(broker, broker.keys.group(queue_stream(queue), WORKERS), consumer)
        self.queue = QueueCommands(broker, queue)
        self.clock: Callable[[], Clock] = lambda: Clock(False, None)
        self.attempts_max = 0  # that some task of the queue is allowed
        self._turns = ("".join(str(priority + 1) for priority in pattern), json.dumps(dict(fair_weights)))
        self._outcomes: dict[Place, tuple[str, bytes]] = {}

    def _call(self, script: Script, *args: Argument, bulk: bool = False, size_bytes: int = 0) -> ScriptCall:
        keys = self.queue.keys
        return self._broker.run(script, keys, WORKERS, self._consumer, *args, bulk=bulk, size_bytes=size_bytes)

    def reader(self, block_s: float, ordered_by: str | None = None) -> Reader:
        """A reader for this worker, with its own connection. A read blocks for `block_s` seconds at most."""
        return TaskReader(self._broker, self, block_s)

    async def dispatch(self, count: int, bytes_max: int | None) -> "Dispatched":
        """Up to `count` of the tasks that start next. They are this worker's."""
        clock = self.clock()
        more, bell_id, next_ms, found = await self._call(
            scripts.TASK_DISPATCH,
            *(count, "" if bytes_max is None else bytes_max, *self._turns, int(clock.known)),
            *expected_arguments(clock.expected),
            bulk=True,
        )
        next_s = None if next_ms < 0 else next_ms / 1000.0
        return Dispatched([entry_of(True, *each) for each in found], None if more else bell_id, next_s)

    def note(self, place: Place, state: str, result: bytes) -> None:
        """How a task ended, for when it is acknowledged. `result` is JSON, or empty."""
        self._outcomes[place] = state, result

    async def ack(self, entries: Sequence[Entry]) -> set[Place]:
        """As `ConsumerCommands.ack`, with the outcome of each task. Sent in parts if the results are large."""
        lost: set[Place] = set()
        part: list[Entry] = []
        size_bytes = 0
        for entry in entries:
            part.append(entry)
            size_bytes += len(self._outcomes.get(entry.place, _NO_OUTCOME)[1])
            if size_bytes >= BATCH_BYTES:
                lost |= await self._ack(part, size_bytes)
                part, size_bytes = [], 0
        return lost | await self._ack(part, size_bytes) if part else lost

    async def _ack(self, entries: Sequence[Entry], size_bytes: int) -> set[Place]:
        args: list[Argument] = []
        for entry in entries:
            args += (entry.id, entry.origin, *self._outcomes.get(entry.place, _NO_OUTCOME))
        reply = await self._call(scripts.TASK_ACK, *args, bulk=size_bytes > 0, size_bytes=size_bytes)
        for entry in entries:
            self._outcomes.pop(entry.place, None)
        return {(True, id_.decode()) for id_ in reply}

    async def retry(
        self, entry: Entry, delay_s: float, *, counts: bool = True, expected: ExpectedTime | None = None
    ) -> bool:
        """As `ConsumerCommands.retry`. A task that is to be cancelled ends."""
        delay_ms = round(delay_s * 1000.0, 3)
        args = entry.id, entry.origin, int(counts), delay_ms, *expected_arguments(expected)
        return cast(int, await self._call(scripts.TASK_RETRY, *args)) != 0

    async def to_dead_letters(self, entry: Entry, why: Mapping[str, str], *, counts: bool = True) -> bool:
        """As `ConsumerCommands.to_dead_letters`. A task that is to be cancelled ends so, without a dead letter."""
        args: list[Argument] = [entry.id, int(counts), "origin", entry.origin]
        args += [part for field in why.items() for part in field]
        return self._noticed(await self._call(scripts.TASK_DEAD, *args))

    async def sweep(
        self,
        lease_s: float,
        count: int,
        every_s: float,
        *,
        attempts: int = ATTEMPTS_MAX,
        may_take_suspect: bool = True,
        expected: ExpectedTime | None = None,
    ) -> TakenOver:
        """As `ConsumerCommands.sweep`. `dispatch` hands out suspects, to workers that may have them."""
        more, taken = await self._call(
            scripts.TASK_SWEEP,
            *(milliseconds(lease_s), count, milliseconds(every_s), *expected_arguments(expected)),
            *(attempts, max(attempts, self.attempts_max)),
            bulk=True,
        )
        return TakenOver(bool(more), [entry_of(True, *found) for found in taken])

    async def promote(self, limit: int, expected: ExpectedTime | None = None) -> Promoted:
        """As `ConsumerCommands.promote`. Tasks that ended long ago are forgotten."""
        reply = await self._broker.run(scripts.TASK_PROMOTE, self.queue.keys, limit, *expected_arguments(expected))
        return Promoted.of(reply)

    async def leave(self) -> int:
        """As `ConsumerCommands.leave`. Tasks go back to the places that they had."""
        return cast(int, await self._call(scripts.TASK_LEAVE))

    async def free_stuck(self) -> int:
        """Give back slots of tasks that do not run, and let tasks go whose limit has room. Each looks at a part."""
        freed = cast(int, await self._broker.run(scripts.TASK_REPAIR, self.queue.keys, _LOOKED_AT))
        if freed:
            log.warning("%s: %d slots of limits were held by tasks that do not run", self._group.stream, freed)
        return freed

    async def progress(self, entry: Entry, progress: Mapping[str, object]) -> bool:
        """Keep how far a task is. False if this delivery does not run it any more."""
        text = json.dumps(progress, ensure_ascii=False)
        return bool(await self._broker.run(scripts.TASK_PROGRESS, self.queue.keys, entry.origin, entry.id, text))


class Dispatched(NamedTuple):
    """Tasks that were handed out. If there are no more, the place in `bell` from which to wait for others.

    `next_s` is for how many seconds no delayed task is due; None if none waits.
    """

    entries: list[Entry]
    bell_id: bytes | None
    next_s: float | None


class TaskReader(Reader):
    """Hands out tasks. A script cannot block. So when no task is left, a plain XREAD waits until one is ready."""

    def __init__(self, broker: Broker, commands: TaskCommands, block_s: float) -> None:
        stream = commands.queue
        super().__init__(broker, stream._group, "", block_s)
        self._commands = commands
        self._bell = stream._own.bell
        self._wait_from: tuple[bytes, float] | None = None  # an id and for how long, if no task was left

    async def read(self, count: int, sink: Sink) -> None:
        """As `Reader.read`."""
        if self._wait_from is not None:
            (bell_id, wait_s), self._wait_from = self._wait_from, None
            if wait_s > 0.0:
                block = ("BLOCK", milliseconds(wait_s), "STREAMS", self._bell, bell_id)
                await self._ask("XREAD", "COUNT", 1, *block)
        await self._hand_out(count, None, sink)

    async def read_at_once(self, count: int, bytes_max: int, sink: Sink) -> None:
        """As `Reader.read_at_once`."""
        await self._hand_out(count, bytes_max, sink)

    async def _hand_out(self, count: int, bytes_max: int | None, sink: Sink) -> None:
        found = await finished(self._commands.dispatch(count, bytes_max))  # as in `Reader.read_at_once`
        if found.bell_id is not None:
            wait_s = self._block_s if found.next_s is None else min(self._block_s, found.next_s)
            self._wait_from = found.bell_id, wait_s
        sink(found.entries)
