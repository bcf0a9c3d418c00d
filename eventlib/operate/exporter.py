"""Serves what a server tells of the streams of any library, for Prometheus: one process for all of them.

It looks round and round, slowly; a scrape gets what was seen last. Labels are `stream` and `group`, and the three
states of consumers: consumers have names that change with every start. A stream or group that is gone has no series.
"""

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

from eventlib.broker.surveying import Survey, Surveyor
from eventlib.errors import AccessDenied, BrokerError
from eventlib.extras import needs_extra
from eventlib.operate.serving import Answer, not_found

with needs_extra("metrics", "workbench exporter"):
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector

_MEMORY = {
    "used_bytes": "Memory that Redis uses.",
    "max_bytes": "maxmemory; 0 means no limit.",
    "system_bytes": "Memory of the machine that Redis runs on.",
}
_TELL_EVERY_S = 60.0
PATHS = ("/metrics", "/healthz", "/readyz", "/livez")


class Exporter:
    """What was seen last. `run` keeps looking; `answer` may be called in any thread.

    `tell` gets a line when looking fails, once a minute and a kind of trouble, and when it succeeds again.
    """

    def __init__(self, surveyor: Surveyor, every_s: float, tell: Callable[[str], None] = lambda _: None) -> None:
        self._surveyor = surveyor
        self._every_s = every_s
        self._seen = Survey()
        self._seen_at_s: float | None = None
        self._problem: str | None = "it has not looked yet"
        self._tell = tell
        self._told_at_s: dict[type[BrokerError], float] = {}
        self._failing = False  # that it fails was told

    async def run(self) -> None:
        """Look again and again until cancelled. What goes wrong is told by `answer`.

        A user that could look, and is refused later, may be permitted again: its password or its rights are changed.

        Raises:
            AccessDenied: it is refused from the beginning, so waiting would not help.
        """
        while True:
            begun_s = time.monotonic()
            try:
                await self.look()
            except AccessDenied as error:
                if self._seen_at_s is None:
                    raise
                self._fails(error)
            except BrokerError as error:
                self._fails(error)
            await asyncio.sleep(max(0.1, self._every_s - (time.monotonic() - begun_s)))

    def _fails(self, error: BrokerError) -> None:
        self._problem = str(error)
        now_s = time.monotonic()
        if now_s - self._told_at_s.get(type(error), -math.inf) >= _TELL_EVERY_S:
            self._told_at_s[type(error)] = now_s
            self._failing = True
            self._tell(f"cannot look, and tries again every {self._every_s:g} s: {error}")

    async def look(self) -> Survey:
        """Look once. Raises what `Surveyor.survey` raises."""
        self._seen = await self._surveyor.survey()
        self._seen_at_s, self._problem = time.monotonic(), None
        if self._failing:
            self._failing = False
            self._tell("looks again.")
        return self._seen

    def answer(self, path: str, accept: str) -> Answer:
        """The answer to a request."""
        match path:
            case "/metrics":
                encode, content_type = choose_encoder(accept)
                return Answer(200, content_type, encode(self._registry()))
            case "/healthz":
                text = json.dumps(self.document(), indent=2) + "\n"
                return Answer(200 if self._problem is None else 503, "application/json", text.encode())
            case "/livez":
                return _plain(None)
            case "/readyz":
                return _plain(self._problem)
            case _:
                return not_found(PATHS)

    def metrics(self) -> str:
        """The metrics as text."""
        encode, _ = choose_encoder("")
        return encode(self._registry()).decode()

    def document(self) -> dict[str, Any]:
        """What was seen last, for machines."""
        age_s = None if self._seen_at_s is None else time.monotonic() - self._seen_at_s
        about = {"server": self._surveyor.where, "problem": self._problem, "age_s": age_s}
        return {**about, **asdict(self._seen)}

    def _registry(self) -> CollectorRegistry:
        registry = CollectorRegistry(auto_describe=False)
        age_s = time.monotonic() - (self._seen_at_s or 0.0)
        registry.register(_Metrics(self._seen if self._problem is None else None, age_s))
        return registry


class _Metrics(Collector):
    """The metrics of one scrape. Without a survey, only that there is none: an old number would look like a new one."""

    def __init__(self, seen: Survey | None, age_s: float) -> None:
        self._seen = seen
        self._age_s = age_s

    def collect(self) -> Iterable[Metric]:
        """Every metric, with its samples."""
        seen = self._seen
        yield GaugeMetricFamily("workbench_up", "1 if the last look succeeded, else 0.", float(seen is not None))
        if seen is None:
            return
        yield GaugeMetricFamily("workbench_look_age_seconds", "How old all of this is.", self._age_s)
        yield GaugeMetricFamily("workbench_look_seconds", "How long the last look took.", seen.took_s)
        yield GaugeMetricFamily("workbench_look_commands", "Commands that the last look sent.", seen.commands)
        about = "Streams beyond --streams-max, which were not looked at."
        yield GaugeMetricFamily("workbench_streams_skipped", about, seen.skipped)
        about = "Streams that were named, or found, and are not there."
        yield GaugeMetricFamily("workbench_streams_missing", about, len(seen.missing))
        for name, value in seen.memory.items():
            yield GaugeMetricFamily(f"workbench_redis_memory_{name}", _MEMORY[name], value)
        if seen.eviction_policy is not None:
            about = "1 for the maxmemory-policy that is set."
            policy = GaugeMetricFamily("workbench_redis_maxmemory_policy", about, labels=["policy"])
            policy.add_metric([seen.eviction_policy], 1.0)
            yield policy
        if seen.evicted_keys is not None:
            yield CounterMetricFamily("workbench_redis_evicted_keys", "Keys that Redis evicted.", seen.evicted_keys)
        yield from _of_streams(seen)
        yield from _of_groups(seen)


def _of_streams(seen: Survey) -> Iterator[Metric]:
    length = GaugeMetricFamily("workbench_stream_entries", "Entries in the stream.", labels=["stream"])
    memory = GaugeMetricFamily("workbench_stream_memory_bytes", "Memory of the stream, estimated.", labels=["stream"])
    about = "Entries added to the stream since it began, those that are gone included."
    added = CounterMetricFamily("workbench_stream_added_entries", about, labels=["stream"])
    about = "Entries in the dead-letter queue of a group of eventlib."
    dead = GaugeMetricFamily("workbench_dead_letters", about, labels=["stream", "group"])
    for stream in seen.streams:
        length.add_metric([stream.stream], stream.entries)
        if stream.added is not None:
            added.add_metric([stream.stream], stream.added)
        if stream.dead_letters_of is not None:
            dead.add_metric(stream.dead_letters_of, stream.entries)
        if stream.memory_bytes is not None:
            memory.add_metric([stream.stream], stream.memory_bytes)
    yield from (length, memory, added, dead)


def _of_groups(seen: Survey) -> Iterator[Metric]:
    place = ["stream", "group"]
    lag = GaugeMetricFamily("workbench_group_lag_entries", "Entries that the group has not read.", labels=place)
    about = "Entries delivered and not acknowledged."
    pending = GaugeMetricFamily("workbench_group_pending_entries", about, labels=place)
    about = "Age of the oldest entry that the group has not read."
    unread = GaugeMetricFamily("workbench_group_oldest_unread_seconds", about, labels=place)
    about = "Age of the oldest entry delivered and not acknowledged."
    oldest = GaugeMetricFamily("workbench_group_oldest_pending_seconds", about, labels=place)
    about = "Entries that left the stream before the group read them, until it reads on."
    lost = GaugeMetricFamily("workbench_group_lost_entries", about, labels=place)
    about = "1 if an operator has paused this group of eventlib, else 0."
    paused = GaugeMetricFamily("workbench_group_paused", about, labels=place)
    about = "Consumers: active, idle, or dead, which is idle with entries in hand."
    consumers = GaugeMetricFamily("workbench_group_consumers", about, labels=[*place, "state"])
    for stream in seen.streams:
        for group in stream.groups:
            at = [stream.stream, group.group]
            if group.lag_entries is not None:
                lag.add_metric(at, group.lag_entries)
            pending.add_metric(at, group.pending_entries)
            unread.add_metric(at, group.oldest_unread_s or 0.0)
            oldest.add_metric(at, group.oldest_pending_s or 0.0)
            lost.add_metric(at, group.lost_entries)
            paused.add_metric(at, group.paused)
            for state in ("active", "idle", "dead"):
                consumers.add_metric([*at, state], getattr(group, f"{state}_consumers"))
    yield from (lag, pending, unread, oldest, lost, paused, consumers)


def _plain(problem: str | None) -> Answer:
    text = "ok" if problem is None else problem
    return Answer(200 if problem is None else 503, "text/plain; charset=utf-8", f"{text}\n".encode())
