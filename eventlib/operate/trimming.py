"""Trims streams: drops entries that no group needs any more, warns before a loss, and watches the server.

Every program that consumes a stream offers to trim it, on a jittered timer. A due time, kept with the stream, lets only
one of them trim.
"""

import asyncio
import logging
import random
from collections.abc import Collection, Mapping
from typing import NamedTuple

from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.broker.streams import StreamCommands
from eventlib.declare.app import App
from eventlib.errors import BrokerError
from eventlib.events.schema import spec_of
from eventlib.records import Backlog, Trimmed, TrimmedGroup
from eventlib.retention import Concern, GroupHealth, Retention, StreamHealth

log = logging.getLogger("eventlib")

EVERY_S = 10.0
TRIM_LIMIT = 1000  # entries dropped in one step, which takes about a millisecond of the server's time


class Trimmer:
    """Trims one stream. `groups` are the groups that this program declares on it.

    `listening` says that this program listens to the stream without a group. Then it is trimmed even if it has none.
    """

    def __init__(
        self,
        broker: Broker,
        stream: str,
        groups: Collection[str],
        declared: Retention | None,
        *,
        listening: bool = False,
    ) -> None:
        self._broker = broker
        self._stream = stream
        self._commands = StreamCommands(broker)
        self._groups = [ConsumerCommands(broker, broker.keys.group(stream, group), "") for group in groups]
        self._declared = declared
        self._listening = listening
        self._logged: dict[str, Concern] = {}  # of each group, as it was at the last trim
        self._rng = random.Random()

    async def run(self) -> None:
        """Trim until cancelled. A failure is logged once and trimming is tried again: it must not stop the handlers."""
        problem = ""
        prepared = False
        while True:
            try:
                if not prepared:
                    await self._prepare()
                    prepared = True
                if await self.trim():
                    await self._prepare()
                    await self._broker.warn_of_eviction()
                problem = ""
            except BrokerError as error:
                if type(error).__name__ != problem:
                    log.warning("trimming of %s waits: %s", self._stream, error)
                problem = type(error).__name__
            await asyncio.sleep(EVERY_S * (0.8 + 0.4 * self._rng.random()))

    async def _prepare(self) -> None:
        """Create the groups that this program declares, so that nothing is dropped before they first read."""
        for group in self._groups:
            await group.ensure_group()

    async def trim(self) -> bool:
        """Trim step by step if it is due, and log losses and concerns. True if it was due."""
        done = False
        while step := await self._trim_some():
            done = True
            for group in step.groups:
                self._log_loss(group, step.retention)
            if not step.more:
                for health in (await _seen(self._commands, self._stream, step)).health.groups:
                    self._log_concern(health, step.retention)
                break
        return done

    async def _trim_some(self) -> Trimmed | None:
        return await self._commands.trim(self._stream, self._declared, EVERY_S, TRIM_LIMIT, listening=self._listening)

    def _log_loss(self, group: TrimmedGroup, retention: Retention) -> None:
        """Log a loss each time the sum has doubled, so that a loss of many days does not fill the log."""
        if group.dropped.bit_length() != (group.dropped - group.dropped_now).bit_length():
            why = "dead" if retention.keep_unread else "further behind than the stream keeps"
            log.error(
                "stream %s: %d entries dropped so far that group %r had not read; the group is %s",
                *(self._stream, group.dropped, group.name, why),
            )

    def _log_concern(self, health: GroupHealth, retention: Retention) -> None:
        """Log each concern once, and again if it was gone meanwhile."""
        if health.concern != self._logged.get(health.group, "none") and health.concern != "none":
            log.warning(
                "stream %s: group %r has %d entries unread, the oldest %.0f s old, and loses them in %.0f s "
                "(silent for %.0f s, %s); run its consumers, destroy the group, or declare to keep more",
                *(self._stream, health.group, health.unread, health.oldest_age_s or 0.0, health.loss_in_s or 0.0),
                *(health.absent_s, retention),
            )
        self._logged[health.group] = health.concern


def trimmer(broker: Broker, app: App, stream: str, *, listening: bool = False) -> Trimmer:
    """The trimmer of a stream for an App. It has all groups of the App on the stream, running here or not."""
    groups = sorted({s.group for s in app.subscriptions if spec_of(s.event_class).stream == stream})
    return Trimmer(broker, stream, groups, app.streams.get(stream), listening=listening)


class StreamLook(NamedTuple):
    """A stream, and the backlogs of its groups, by name, which its health is made from."""

    health: StreamHealth
    backlogs: dict[str, Backlog]


async def look_at(commands: StreamCommands, stream: str, declared: Retention | None) -> StreamLook:
    """How the stream and its groups stand. Nothing is changed."""
    look = await commands.trim(stream, declared, EVERY_S, 0)
    assert look is not None, "a look is never too early"
    return await _seen(commands, stream, look)


async def _seen(commands: StreamCommands, stream: str, look: Trimmed) -> StreamLook:
    backlogs = {seen.name: await commands.backlog(stream, seen.name) for seen in look.groups}
    return StreamLook(_health(stream, look, backlogs), backlogs)


def _health(stream: str, look: Trimmed, backlogs: Mapping[str, Backlog]) -> StreamHealth:
    groups = []
    for seen in look.groups:
        backlog = backlogs[seen.name]
        unread = backlog.waiting + backlog.pending if seen.oldest_age_s is not None else 0
        loss_in_s = look.retention.loss_in_s(seen.absent_s, seen.oldest_age_s, unread) if seen.exists else None
        groups.append(
            GroupHealth(
                *(seen.name, seen.exists, seen.live, seen.absent_s, unread, seen.oldest_age_s, loss_in_s),
                *(look.retention.concern(loss_in_s), seen.dropped),
            )
        )
    return StreamHealth(stream, look.entries, look.retention, tuple(groups))
