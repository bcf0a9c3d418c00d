"""Watching a group of a running system: bounded in commands a second, and read-only."""

import asyncio
import contextlib
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from eventlib.broker.keys import Keys
from eventlib.broker.watching import EntryId, GroupWatcher, StreamState
from eventlib.errors import BrokerUnavailable, InvalidDeclaration, MissingGroup
from sim.declare.scenario import Progress
from sim.learn.library_group import COMMANDS, LibraryGroup, NothingToLearn
from sim.learn.pace import Pace
from sim.learn.recording import HOLE_FACTOR, LISTED_MAX, Changes, Collector, Recording, Streams

_IDS_EVERY_S = 0.25
_STATES_EVERY_S = 1.0
_AWAY_S = 30.0  # longest time that a server may not answer
_RETRY_S = 0.25
_SCANS = 40  # when a stream is missing: so many commands look for others
_NAMED = 12  # keys or groups that a message names
_BACKLOG_PAGES = 20  # of entries that wait at the start, where the server does not know how many
_EVENTLIB = re.compile(r"(?P<namespace>[^{}]+):\{(?P<stream>[^{}]+)\}:events")


async def watch(
    url: str,
    stream: str,
    group: str,
    *,
    for_s: float,
    commands_per_s: float,
    stop: asyncio.Event,
    progress: Progress = lambda share: None,
) -> Recording:
    """Watch a group for so many seconds, or until `stop` is set.

    No more than `commands_per_s` commands are sent within any second. A server that goes away is waited for.

    Raises:
        NothingToLearn: there is no such stream or group, or it was deleted while it was watched.
        BrokerError: the URL is wrong, the server does not answer, or this user may not read.
    """
    async with _watcher(url, stream, group) as watcher:
        return await _Watch(watcher, for_s, commands_per_s, stop, progress).run()


@asynccontextmanager
async def _watcher(url: str, stream: str, group: str) -> AsyncIterator[GroupWatcher]:
    watcher = GroupWatcher(url, stream, group)
    try:
        yield watcher
    finally:
        await watcher.close()


class _Watch:
    """One time of watching."""

    def __init__(
        self, watcher: GroupWatcher, for_s: float, commands_per_s: float, stop: asyncio.Event, progress: Progress
    ) -> None:
        self._watcher = watcher
        self._for_s = for_s
        self._stop = stop
        self._progress = progress
        self._pace = Pace(commands_per_s, random.Random())
        self._usual_s = 3.0 / commands_per_s
        self._collector = Collector()
        self._library: LibraryGroup | None = None
        self._listed_to = EntryId(0, 0)
        self._holes: list[tuple[float, float]] = []
        self._problem = ""
        self._record = Recording(watcher.stream, watcher.group, "", "")

    async def run(self) -> Recording:
        await self._begin()
        started_s = ids_s = states_s = time.monotonic()
        while not self._stop.is_set() and (now_s := time.monotonic()) - started_s < self._for_s:
            self._progress((now_s - started_s) / self._for_s)
            try:
                await self._look()
                if now_s - ids_s >= _IDS_EVERY_S:
                    ids_s = now_s
                    await self._list_arrivals()
                if now_s - states_s >= _STATES_EVERY_S:
                    states_s = now_s
                    await self._look_at_states()
            except BrokerUnavailable as error:
                if not await self._wait_for_server(error, started_s):
                    break
            except MissingGroup:
                raise await self._gone() from None
        return await self._end()

    # Before and after

    async def _begin(self) -> None:
        record, watcher = self._record, self._watcher
        state = await self._state()
        record.stream = watcher.stream
        if watcher.group not in (groups := await watcher.groups()):
            raise NothingToLearn(watcher.group, f"{watcher.stream!r} has no such group; {_named('it has', groups)}")
        record.server = await watcher.server()
        if found := _EVENTLIB.fullmatch(watcher.stream):
            await self._know_eventlib(found["namespace"], found["stream"])
        record.consumers_before = record.consumers_after = await watcher.consumers()
        self._listed_to = state.last
        self._spent(0, 0)
        await self._pausing(4 + COMMANDS)
        before = watcher.commands
        first = await watcher.look(None, 1)
        record.counted.append((0, await self._counts(state)))
        self._spent(before, 0)
        if first.group.pending > LISTED_MAX:  # most are of dead consumers: only what comes from now on is looked at
            record.not_listed = first.group.pending
        self._after = first.group.last_delivered if record.not_listed else None
        if first.group.waiting is None:
            await self._list_backlog(first.group.last_delivered)

    async def _state(self) -> StreamState:
        """The stream. A stream of eventlib may be called by its own name."""
        watcher = self._watcher
        if (state := await watcher.stream_state()) is not None:
            return state
        with contextlib.suppress(InvalidDeclaration):
            if (state := await watcher.stream_state(key := Keys("ev").stream(watcher.stream))) is not None:
                watcher.stream = key
                return state
        raise NothingToLearn(watcher.where, f"there is no stream {watcher.stream!r}; {await self._others()}")

    async def _others(self) -> str:
        """Which streams there are, as far as some SCANs find them."""
        self._spent(0, 0)
        found: set[str] = set()
        cursor = 0
        for _ in range(_SCANS):
            if self._stop.is_set():
                break
            await self._pausing(1)
            before = self._watcher.commands
            scanned = await self._watcher.scan(cursor)
            self._spent(before, 0)
            if scanned is None:
                return "this user may not SCAN for others"
            cursor, keys = scanned
            found.update(keys)
            if cursor == 0:
                break
        return _named("there are", sorted(found))

    async def _know_eventlib(self, namespace: str, stream: str) -> None:
        """The library puts retries aside under keys of its own."""
        group = LibraryGroup(self._watcher, namespace, stream)
        await group.look_for()
        if group.found:
            self._record.library, self._library = "eventlib", group

    async def _list_backlog(self, read_to: EntryId) -> None:
        """List what waits: the server does not know how much it is."""
        record, last = self._record, read_to
        for _ in range(_BACKLOG_PAGES):
            await self._pausing(1)
            before = self._watcher.commands
            ids = await self._watcher.ids(last, LISTED_MAX)
            self._spent(before, len(ids))
            record.backlog += [id_ for id_ in ids if id_ <= self._listed_to]
            if len(ids) < LISTED_MAX or ids[-1] >= self._listed_to:
                return
            last = ids[-1]
        record.backlog_cut_off = True

    async def _end(self) -> Recording:
        record, collector, watcher = self._record, self._collector, self._watcher
        with contextlib.suppress(BrokerUnavailable, MissingGroup):
            await self._look_at_states()
            await self._list_arrivals()
            if self._library is not None and record.after.dead_added > record.before.dead_added:
                await self._pausing(1)
                before = watcher.commands
                await self._library.list_dead(record)
                self._spent(before, len(record.dead))
        record.looks, record.deliveries = collector.looks, collector.deliveries
        record.changes = Changes(self._holes, self._problem, collector.cut_off, self._stop.is_set())
        record.commands = watcher.commands
        self._progress(1.0)
        return record

    # Looking

    async def _pausing(self, commands: int) -> None:
        """Wait until so many commands may be sent: a second at most."""
        await asyncio.sleep(self._pace.wait_s(time.monotonic(), commands))

    async def _look(self) -> None:
        watcher, collector = self._watcher, self._collector
        await self._pausing(3 + (watcher.retries is not None))
        before = watcher.commands
        look = await watcher.look(self._after, LISTED_MAX)
        rows = len(look.held) + len(look.held_of_retries)
        self._spent(before, rows)
        if collector.looks and look.at_ms - collector.looks[-1][0] > 1e3 * max(1.0, HOLE_FACTOR * self._usual_s):
            start_ms = collector.looks[0][0]
            self._holes.append(((collector.looks[-1][0] - start_ms) / 1e3, (look.at_ms - start_ms) / 1e3))
        collector.add(look, complete=len(look.held) < LISTED_MAX)

    async def _list_arrivals(self) -> None:
        record, watcher = self._record, self._watcher
        while True:
            await self._pausing(1)
            before = watcher.commands
            ids = await watcher.ids(self._listed_to, LISTED_MAX)
            self._spent(before, len(ids))
            if ids:
                at_ms = self._collector.looks[-1][0] if self._collector.looks else float(ids[-1].ms)
                record.arrivals += ids
                record.listed_ms += [at_ms] * len(ids)
                self._listed_to = ids[-1]
            if len(ids) < LISTED_MAX:
                return

    async def _look_at_states(self) -> None:
        record, watcher = self._record, self._watcher
        await self._pausing(2 + COMMANDS * bool(record.library))
        before = watcher.commands
        record.consumers_after = await watcher.consumers()
        state = await watcher.stream_state()
        if state is None or state.added < record.after.added:
            raise await self._gone()
        record.counted.append((len(self._collector.looks), await self._counts(state)))
        self._spent(before, len(record.consumers_after))

    async def _counts(self, state: StreamState) -> Streams:
        if self._library is None:
            return Streams(state.added, state.length)
        return await self._library.counts(state, self._record)

    def _spent(self, before: int, rows: int) -> None:
        self._pace.spend(time.monotonic(), self._watcher.commands - before, rows)
        self._record.entries_listed += rows

    # What may go wrong

    async def _wait_for_server(self, error: BrokerUnavailable, started_s: float) -> bool:
        """Try again until it answers. False if that takes too long; raises where nothing was seen before."""
        self._problem = error.problem
        if not self._collector.looks:
            raise error
        away_s = time.monotonic()
        while not self._stop.is_set() and time.monotonic() - away_s < _AWAY_S:
            self._progress(min(1.0, (time.monotonic() - started_s) / self._for_s))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _RETRY_S)
            with contextlib.suppress(BrokerUnavailable):
                with contextlib.suppress(MissingGroup):  # the next look finds out
                    await self._watcher.groups()
                return True
        return False

    async def _gone(self) -> NothingToLearn:
        """Why the group is not there any more."""
        watcher = self._watcher
        looks = self._collector.looks
        after = f" after {(looks[-1][0] - looks[0][0]) / 1e3:.0f} s" if looks else ""
        if await watcher.stream_state() is None:
            what = f"the stream {watcher.stream!r} was deleted"
        elif watcher.group not in await watcher.groups():
            what = f"the group {watcher.group!r} was destroyed"
        else:
            what = f"the stream {watcher.stream!r} was deleted and made anew"
        return NothingToLearn(watcher.where, f"{what} while it was watched{after}; nothing was written, watch again")


def _named(there: str, names: list[str]) -> str:
    """Names for a message, but not too many of them."""
    if not names:
        return f"{there} none"
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{there} {', '.join(map(repr, names[:_NAMED]))}{more}"
