"""Looks at a task queue while its workers are killed: for how long is what held by tasks that no live worker runs?"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import redis.asyncio as redis

from campaigns.task_worker import LEASE_S
from eventlib.broker.keys import Keys
from eventlib.broker.tasks import WORKERS
from eventlib.queueing import PRIORITIES
from eventlib.records import queue_stream

HELD_S_MAX = 2.0 * LEASE_S
_LOOK_S = 0.02
WAIT = "key, until a suspect is handed out"  # it is not judged: the task waits in the queue
_SUSPECTS = "(suspects)"  # as for a limit of this name, they wait for a worker: see task_sweep.lua


class Hold(NamedTuple):
    """A slot or a unique key, and the task that has it."""

    kind: str
    name: str
    task_id: str


class Checker:
    """Looks at what tasks hold on the server, and for how long no live worker has run them."""

    def __init__(
        self,
        client: redis.Redis,
        namespace: str,
        alive: Callable[[], Collection[str]],
        killed_at_s: Mapping[str, float],
    ) -> None:
        self._client = client
        self._retry = Keys(namespace).group(queue_stream("default"), WORKERS).retry
        self._keys = Keys(namespace).queue(queue_stream("default"))
        self._alive = alive
        self._killed_at_s = killed_at_s
        self.unseen_s = 0.0  # longest time between two looks
        self.orphaned_s: dict[str, list[float]] = {}
        self.held_too_long: list[str] = []
        self.over_limit: list[str] = []
        self._since_s: dict[Hold, float] = {}
        self._held_s: dict[tuple[Hold, float], float] = {}
        self._waited_s: dict[tuple[Hold, float], float] = {}  # by suspects
        self._looked_s = time.monotonic()
        self._stopping = False

    def stop(self) -> None:
        """Look no more."""
        self._stopping = True

    async def run(self) -> None:
        """Look, again and again, until `stop` is called. A cancellation may be lost in the Redis client."""
        while not self._stopping:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Look once. A time that is too short by the length of this look is taken."""
        now_s, alive = time.monotonic(), self._alive()
        self.unseen_s = max(self.unseen_s, now_s - self._looked_s)
        self._looked_s = now_s
        since_s: dict[Hold, float] = {}
        for hold, owner in await self._held():
            if owner in alive:
                continue
            first_s = self._killed_at_s.get(owner, self._since_s.get(hold, now_s))
            since_s[hold] = first_s
            waits = owner == _SUSPECTS and hold.kind == "key"  # in the queue, as other tasks do, without a slot
            (self._waited_s if waits else self._held_s)[hold, first_s] = now_s - first_s
        self._since_s = since_s

    def judge(self) -> None:
        """Say what was held, and what was held for too long."""
        for (hold, _), held_s in self._held_s.items():
            if held_s == 0.0:  # it was seen once: it was given back while the checker looked
                continue
            self.orphaned_s.setdefault(hold.kind, []).append(held_s)
            if held_s > HELD_S_MAX:
                said = f"{hold} was held for {held_s:.3f} s by a task that had no live worker"
                self.held_too_long.append(said)
        if self._waited_s:
            self.orphaned_s[WAIT] = list(self._waited_s.values())

    async def left(self) -> list[str]:
        """The keys that should be gone when no task is left."""
        keys = self._keys
        gone = [keys.unique, keys.slots, keys.blocked, keys.due, keys.bodies, keys.cancelling]
        gone += [getattr(keys, f"{line}_{name}") for line in ("waiting", "woken") for name in PRIORITIES]
        left = [key for key in gone if await self._client.exists(key)]
        return left + [self._retry] * bool(await self._client.xlen(self._retry))

    async def _held(self) -> list[tuple[Hold, str]]:
        """What is held by a task that has begun, and its owner, '' if it has none."""
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.zrange(self._keys.slots, 0, -1)
            pipe.hgetall(self._keys.unique)
            pipe.xpending_range(self._retry, WORKERS, "-", "+", 10_000)
            slots, unique, pending = await pipe.execute()
        holds = [Hold("slot", *member.decode().split()) for member in slots]
        holds += [Hold("key", key.decode(), id_.decode()) for key, id_ in unique.items()]
        if not holds:
            return []
        owners = {entry["message_id"].decode(): entry["consumer"].decode() for entry in pending}
        texts: Any = await self._client.hmget(self._keys.records, [hold.task_id for hold in holds])
        held: list[tuple[Hold, str]] = []
        limits: dict[str, int] = {}
        for hold, text in zip(holds, texts, strict=True):
            record = json.loads(text or "{}")
            limits |= {limit["name"]: limit["at_once"] for limit in record.get("limits", ()) if "at_once" in limit}
            if record.get("blocked", "").startswith(_SUSPECTS):
                held.append((hold, _SUSPECTS))
            elif hold.kind == "slot" or record.get("state") not in ("waiting", "delayed", "blocked"):
                held.append((hold, owners.get(record.get("entry", ""), "")))
        for name, number in Counter(hold.name for hold in holds if hold.kind == "slot").items():
            if number > limits.get(name, number):
                self.over_limit.append(f"{number} slots of limit {name} were in use; it has {limits[name]}")
        return held
