"""What is noted of a program while it runs: that its event loop goes on, that the server answers, how all stands there.

The loop notes; the threads that answer probes read what was noted. So they answer while the loop is blocked.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, TimeoutError
from dataclasses import dataclass, field
from typing import Protocol

from eventlib.broker.connections import Broker
from eventlib.counts import ConsumerCounts
from eventlib.declare.app import App
from eventlib.errors import BrokerError, BusClosed
from eventlib.events.schema import spec_of
from eventlib.health.verdicts import Snapshot
from eventlib.operate.trimming import StreamLook
from eventlib.publish.publisher import Publisher
from eventlib.records import Backlog, QueueHealth, ServerInfo, is_queue_stream
from eventlib.replies.waiting import Waits
from eventlib.retention import StreamHealth
from eventlib.running import Running
from eventlib.tasks.queues import TaskQueues

NOTE_EVERY_S = 0.5
ASK_EVERY_S = 2.0  # a small question to the server
LOOK_AGAIN_S = 1.0  # who asks sooner gets what was seen: a look takes some calls for each stream, group and queue
LOOK_WITHIN_S = 2.0  # longest time for a look
PROVE_WITHIN_S = 0.2  # a loop that was not heard may prove that it goes on: the machine may have slept
_LOOKS_AT_ONCE = 2  # threads that wait for a look; others get the last one, so that some are left for other probes


class Looks(Protocol):
    """The looks of a bus at what is on the server."""

    async def _look_at(self, stream: str) -> StreamLook: ...
    async def backlog(self, stream: str, group: str) -> Backlog: ...
    async def queue_health(self, queue: str = "default") -> QueueHealth: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a bus that are watched."""

    app: App
    server: ServerInfo
    broker: Broker
    publisher: Publisher
    tasks: TaskQueues
    waits: Waits
    running: Running
    looks: Looks
    closed: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Look:
    """How the streams, groups and queues of a program stood on the server, at `at_s` by time.monotonic().

    `problem` says why there is no newer one.
    """

    at_s: float | None = None
    streams: tuple[StreamHealth, ...] = ()
    backlogs: Mapping[tuple[str, str], Backlog] = field(default_factory=dict)
    queues: Mapping[str, QueueHealth] = field(default_factory=dict)
    problem: str | None = None

    @property
    def age_s(self) -> float | None:
        return None if self.at_s is None else time.monotonic() - self.at_s


class Watch:
    """Watches one bus from `start` until `stop`. Both, and `fresh_look`, are called in its event loop."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._noted_at_s = self._heard_at_s = self._looked_at_s = time.monotonic()
        self._look = Look()
        self._looking: asyncio.Task[Look] | None = None
        self._looks_left = threading.Semaphore(_LOOKS_AT_ONCE)
        self.snapshot = snapshot_of(self.parts, self._heard_at_s)
        self._tasks = [asyncio.create_task(each()) for each in (self._keep_noting, self._keep_asking)]

    async def stop(self) -> None:
        """Note nothing more."""
        tasks = [*self._tasks, *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    # From any thread

    def loop_silent_s(self) -> float:
        """For how many seconds the event loop has not gone on. One that seems to stand still may prove otherwise."""
        if self.in_own_thread:  # it goes on: it asks
            self._note()
            return 0.0
        silent_s = time.monotonic() - self._noted_at_s
        if silent_s > 4.0 * NOTE_EVERY_S:
            proof = threading.Event()
            try:
                self._loop.call_soon_threadsafe(self._prove, proof)
            except RuntimeError:  # the loop is closed
                return silent_s
            proof.wait(PROVE_WITHIN_S)
            silent_s = time.monotonic() - self._noted_at_s
        return silent_s

    @property
    def in_own_thread(self) -> bool:
        """Whether the caller is in the event loop's thread."""
        return threading.get_ident() == self._thread

    def look_from_thread(self) -> Look:
        """How all stands on the server, waited for. The last look, if the loop or the server gives no newer one.

        The loop's own thread cannot wait: it gets the last look, or that there is no new one.
        """
        if self.in_own_thread:
            age_s = self._look.age_s
            if age_s is None or age_s > ASK_EVERY_S:
                return _with_problem(self._look, "the event loop's own thread asks, which cannot wait")
            return self._look
        if not self._looks_left.acquire(blocking=False):
            return self._look
        try:
            looking = asyncio.run_coroutine_threadsafe(self.fresh_look(), self._loop)
            try:
                return looking.result(LOOK_WITHIN_S + PROVE_WITHIN_S)
            except (TimeoutError, CancelledError):
                looking.cancel()
                return _with_problem(self._look, "the event loop does not go on")
        finally:
            self._looks_left.release()

    def counts(self) -> dict[tuple[str, str], ConsumerCounts]:
        """What became of deliveries, by stream and group."""
        return self.parts.running.counts()

    # In the event loop

    async def fresh_look(self) -> Look:
        """How all stands on the server. It is asked at most once a second."""
        if self._looking is None or (self._looking.done() and time.monotonic() - self._looked_at_s > LOOK_AGAIN_S):
            self._looking = asyncio.create_task(self._look_once())
        return await asyncio.shield(self._looking)

    async def _look_once(self) -> Look:
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):
                self._look = await self._look_at_all()
        except TimeoutError:
            self._look = _with_problem(self._look, f"the server took longer than {LOOK_WITHIN_S:.0f} s")
        except (BrokerError, BusClosed) as error:
            self._look = _with_problem(self._look, f"{type(error).__name__}: {error}")
        self._looked_at_s = time.monotonic()
        return self._look

    async def _look_at_all(self) -> Look:
        app, looks = self.parts.app, self.parts.looks
        groups = {(spec_of(s.event_class).stream, s.group) for s in app.subscriptions}
        groups |= {place for place in self.counts() if not is_queue_stream(place[0])}  # those of sagas
        streams = {stream for stream, _ in groups} | {*app.streams, *self.parts.publisher.counts()}
        queues = {task.queue for task in app.tasks.values()}
        names = sorted(queues)
        seen, healths = await asyncio.gather(  # so that many streams take little longer than one
            asyncio.gather(*(looks._look_at(stream) for stream in sorted(streams))),
            asyncio.gather(*(looks.queue_health(queue) for queue in names)),
        )
        backlogs = {(look.health.stream, group): found for look in seen for group, found in look.backlogs.items()}
        missing = sorted(groups - set(backlogs))  # on their streams the server has no such group yet
        backlogs |= zip(missing, await asyncio.gather(*(looks.backlog(*place) for place in missing)), strict=True)
        return Look(
            time.monotonic(),
            tuple(look.health for look in seen),
            {place: backlogs[place] for place in sorted(groups)},
            dict(zip(names, healths, strict=True)),
        )

    def _prove(self, proof: threading.Event) -> None:
        self._note()
        proof.set()

    def _note(self) -> None:
        self.snapshot = snapshot_of(self.parts, self._heard_at_s)
        self._noted_at_s = time.monotonic()

    async def _keep_noting(self) -> None:
        while True:
            self._note()
            await asyncio.sleep(NOTE_EVERY_S)

    async def _keep_asking(self) -> None:
        while True:
            try:
                await self.parts.broker.answers()
                self._heard_at_s = time.monotonic()
            except BrokerError:  # the snapshot tells of it
                pass
            await asyncio.sleep(ASK_EVERY_S)


def snapshot_of(parts: Parts, heard_at_s: float) -> Snapshot:
    """How a program stands now. The server was heard last at `heard_at_s` by time.monotonic()."""
    return Snapshot(
        consumers=tuple(parts.running.health()),
        load=parts.publisher.load(),
        silent_s=max(0.0, time.monotonic() - heard_at_s),
        problem=parts.broker.problem,
        outstanding=parts.waits.outstanding,
        scheduling=parts.running.scheduling,
        left=parts.running.left,
        closed=parts.closed(),
    )


def _with_problem(look: Look, problem: str) -> Look:
    return Look(look.at_s, look.streams, look.backlogs, look.queues, problem)
