"""A deployment whose truth is known, in virtual time: consumers that read from a stream, and one who looks at them."""

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from eventlib.broker.replies import ConsumerState
from eventlib.broker.watching import EntryId, GroupState, Held, Look
from sim.declare.declared import Floats
from sim.learn.recording import Changes, Collector, Ints, Recording, Streams

BEGAN_MS = 1_700_000_000_000.0
_LISTED_EVERY = 7  # looks


@dataclass(slots=True)
class Entry:
    id: EntryId
    service_ms: float
    fails: int = 0  # so many deliveries are never acknowledged
    deliveries: int = 0
    consumer: str = ""
    delivered_ms: float = 0.0


@dataclass(slots=True)
class Worker:
    """A consumer that works on `at_once` entries and reads up to `count`, when it has room or when it is empty."""

    name: str
    at_once: int
    count: int
    reads_when_empty: bool
    queue: deque[Entry] = field(default_factory=deque)
    busy: int = 0

    def room(self) -> int:
        held = self.busy + len(self.queue)
        return (0 if held else self.count) if self.reads_when_empty else self.count - held


def deploy(
    *,
    rate_per_s: float,
    service_ms: Callable[[np.random.Generator, int], Floats],
    seconds: float = 60.0,
    consumers: int = 1,
    at_once: int = 1,
    count: int = 1,
    reads_when_empty: bool = True,
    look_every_ms: float = 36.0,
    error_rate: float = 0.0,
    claim_after_ms: float = 500.0,
    seed: int = 1,
) -> tuple[Recording, Floats]:
    """What is seen of such consumers, and the true lag of each entry in seconds."""
    rng = np.random.default_rng(seed)
    n = int(rate_per_s * seconds * 1.2) + 10
    at_ms = BEGAN_MS + np.cumsum(rng.exponential(1e3 / rate_per_s, n)) - 2000.0
    at_ms = at_ms[at_ms < BEGAN_MS + seconds * 1e3]
    services = service_ms(rng, at_ms.size)
    fails = (rng.random(at_ms.size) < error_rate).astype(int)
    looks = np.cumsum(look_every_ms * rng.uniform(0.5, 1.5, int(1.1 * seconds * 1e3 / look_every_ms))) + BEGAN_MS
    looks = looks[looks < BEGAN_MS + seconds * 1e3]
    return _Deployment(at_ms, services, fails, looks, claim_after_ms, [
        Worker(f"c{k}", at_once, max(count, at_once), reads_when_empty) for k in range(consumers)
    ]).run()  # fmt: skip


class _Deployment:
    def __init__(
        self,
        at_ms: Floats,
        services: Floats,
        fails: Ints,
        looks: Floats,
        claim_after_ms: float,
        workers: list[Worker],
    ) -> None:
        self._events: list[tuple[float, int, int, Callable[[float], None]]] = []
        self._number = 0
        numbers: dict[int, int] = {}
        for at, service, fail in zip(at_ms, services, fails, strict=True):
            ms = int(at)
            numbers[ms] = numbers.get(ms, -1) + 1
            self._later(float(at), 0, partial(self._arrive, Entry(EntryId(ms, numbers[ms]), float(service), int(fail))))
        for at in looks:
            self._later(float(at), 1, self._look)
        self._stream: deque[Entry] = deque()
        self._held: dict[EntryId, Entry] = {}
        self._workers = workers
        self._claim_after_ms = claim_after_ms
        self._reads = 0
        self._last = EntryId(0, 0)
        self._arrived: list[EntryId] = []
        self._at: dict[EntryId, float] = {}
        self._lags: list[float] = []
        self._collector = Collector()

    def _later(self, at_ms: float, order: int, action: Callable[[float], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (at_ms, order, self._number, action))

    def run(self) -> tuple[Recording, Floats]:
        while self._events:
            at_ms, _, _, action = heapq.heappop(self._events)
            action(at_ms)
        return self._recording(), np.array(self._lags)

    def _arrive(self, entry: Entry, now: float) -> None:
        self._stream.append(entry)
        self._arrived.append(entry.id)
        self._at[entry.id] = now
        self._read(now)

    def _read(self, now: float) -> None:
        for worker in sorted(self._workers, key=lambda each: each.busy + len(each.queue)):
            for _ in range(min(worker.room(), len(self._stream))):
                entry = self._stream.popleft()
                self._reads += 1
                self._last = entry.id
                self._deliver(now, worker, entry)
            self._start(now, worker)

    def _deliver(self, now: float, worker: Worker, entry: Entry) -> None:
        entry.consumer, entry.delivered_ms = worker.name, now
        entry.deliveries += 1
        self._held[entry.id] = entry
        worker.queue.append(entry)

    def _start(self, now: float, worker: Worker) -> None:
        while worker.queue and worker.busy < worker.at_once:
            worker.busy += 1
            entry = worker.queue.popleft()
            self._later(now + entry.service_ms, 0, partial(self._end, worker, entry))

    def _end(self, worker: Worker, entry: Entry, now: float) -> None:
        worker.busy -= 1
        if entry.deliveries <= entry.fails:
            self._later(now + self._claim_after_ms, 0, partial(self._claim, worker, entry))
        else:
            del self._held[entry.id]
            if self._at[entry.id] >= BEGAN_MS:
                self._lags.append((now - self._at[entry.id]) / 1e3)
        self._start(now, worker)
        self._read(now)

    def _claim(self, worker: Worker, entry: Entry, now: float) -> None:
        self._deliver(now, worker, entry)
        self._start(now, worker)

    def _look(self, now: float) -> None:
        held = [
            Held(each.id, each.consumer, int(now) - int(each.delivered_ms), each.deliveries)
            for each in sorted(self._held.values(), key=lambda each: each.id)
        ]
        state = GroupState(self._last, len(held), len(self._workers), self._reads, len(self._stream))
        self._collector.add(Look(now, state, held, []), complete=True)

    def _recording(self) -> Recording:
        collector = self._collector
        looks = [at_ms for at_ms, _ in collector.looks]
        listed = [*looks[_LISTED_EVERY::_LISTED_EVERY], looks[-1]]
        arrivals = [id_ for id_ in self._arrived if id_.ms >= BEGAN_MS and self._at[id_] <= looks[-1]]
        backlog = [id_ for id_ in self._arrived if collector.looks[0][1].last_delivered < id_ and id_.ms < BEGAN_MS]
        states = [ConsumerState(each.name, 0, 0) for each in self._workers]
        counted = [(0, Streams(0, 1)), (len(looks), Streams(len(arrivals), 1))]
        return Recording(
            "orders", "billing", "none", "", collector.looks, collector.deliveries, arrivals,
            [listed[bisect_left(listed, self._at[id_])] for id_ in arrivals], states, states,
            counted, backlog=backlog, changes=Changes([], "", 0, False),
        )  # fmt: skip
