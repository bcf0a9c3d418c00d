"""Pausing: what an operator does to let a group, a queue or a saga rest, without stopping its programs."""

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

from eventlib.broker.pausing import PauseCommands
from eventlib.broker.tasks import WORKERS
from eventlib.declare.app import App
from eventlib.errors import InvalidArgument
from eventlib.events.schema import spec_of, valid_name
from eventlib.records import GroupPause, PauseAct, is_queue_stream, queue_stream

if TYPE_CHECKING:  # each of these is imported when a program first uses it
    from eventlib.broker.connections import Broker
    from eventlib.operate.dead_letters import DeadLetters
    from eventlib.patience import Patience
    from eventlib.tasks.queues import TaskQueues

_TEXT_MAX = 500
Place = tuple[str, str]


class Pausing(ABC):
    """Pauses groups, and lets them go on. It is kept on the server, so all their consumers obey, later ones too."""

    app: App
    tasks: "TaskQueues"
    _broker: "Broker"
    _patience: "Patience"

    @abstractmethod
    def dead_letters(self, stream: str, group: str) -> "DeadLetters": ...

    async def pause(
        self,
        group: str | None = None,
        *,
        stream: str | None = None,
        queue: str | None = None,
        saga: str | None = None,
        reason: str = "",
        by: str | None = None,
    ) -> list[GroupPause]:
        """Let no consumer of a group read until `resume`: `await bus.pause("billing", reason="the bank is down")`.

        Give a group, a queue or a saga. A group is paused on all streams on which the App has handlers for it, or on
        the one `stream`, which an App that does not declare the group has to name. Its consumers hear of it within half
        a second and end a read within one more. Handlers that run, and what was read before, are finished; leases go
        on. No attempt is used up, entries wait in the stream, and publishes, schedules and retention go on. Consumers
        that start later read nothing either. Health stays good and says `paused`.

        `by` says who does it, by default the user and the host of this process. With `reason` it is kept: `pauses`
        tells of the last 100 times. Returns how the group stands now; pausing it again changes nothing.

        Raises:
            InvalidArgument: not one of group, queue and saga is given, or the App does not declare it and no stream is.
            MissingGroup, MissingQueue: there is no such group or queue on the server, and the App does not declare it.
            BrokerUnavailable: no answer for as long as the outage policy waits. It may have been paused.
        """
        return await self._put("pause", await self._places("pause", group, stream, queue, saga), by, reason)

    async def resume(
        self,
        group: str | None = None,
        *,
        stream: str | None = None,
        queue: str | None = None,
        saga: str | None = None,
        reason: str = "",
        by: str | None = None,
    ) -> list[GroupPause]:
        """Let the consumers of a paused group go on. They do within half a second. Arguments are those of `pause`.

        Raises:
            What `pause` raises.
        """
        return await self._put("resume", await self._places("resume", group, stream, queue, saga), by, reason)

    async def pauses(
        self,
        group: str | None = None,
        *,
        stream: str | None = None,
        queue: str | None = None,
        saga: str | None = None,
    ) -> list[GroupPause]:
        """Whether a group is paused, and who paused it and let it go on. Arguments are those of `pause`.

        Raises:
            What `pause` raises.
        """
        return await self._look(await self._places("pauses", group, stream, queue, saga))

    async def _put(self, act: PauseAct, places: list[Place], by: str | None, reason: str) -> list[GroupPause]:
        who = _oneself() if by is None else by
        texts: dict[str, Any] = {"by": who, "reason": reason}  # whatever a program passes
        for name, text in texts.items():
            if not isinstance(text, str) or len(text) > _TEXT_MAX or "\0" in text:
                given = f"has {len(text)} characters" if isinstance(text, str) else f"is {text!r}"
                raise InvalidArgument(act, f"{name} {given}; give a text of at most {_TEXT_MAX}, without NUL")
        for place in places:
            commands = self._pause_commands(place)
            await self._patience(partial(commands.put, act == "pause", who, reason))
        return await self._look(places)

    async def _look(self, places: list[Place]) -> list[GroupPause]:
        return list(await asyncio.gather(*map(self._look_at_pause, places)))

    async def _look_at_pause(self, place: Place) -> GroupPause:
        commands = self._pause_commands(place)
        paused, records = await self._patience(commands.paused), await self._patience(commands.records)
        return GroupPause(*place, paused, tuple(records))

    async def _places(
        self, where: str, group: str | None, stream: str | None, queue: str | None, saga: str | None
    ) -> list[Place]:
        if [group, queue, saga].count(None) != 2 or (stream is not None and group is None):
            raise InvalidArgument(where, "give a group, and its stream where the App has none; or a queue; or a saga")
        if queue is not None:
            if queue not in {task.queue for task in self.app.tasks.values()}:
                await self.tasks.check(queue)
            return [(queue_stream(valid_name(queue, "queue")), WORKERS)]
        if saga is not None:
            from eventlib.sagas.messages import GROUP, saga_stream  # models, which take ten milliseconds to make

            place = saga_stream(valid_name(saga, "saga")), GROUP
            if saga not in {name for name, _ in self.app.sagas}:
                await self.dead_letters(*place).check()
            return [place]
        streams = {spec_of(s.event_class).stream for s in self.app.subscriptions if s.group == group}
        if stream is not None and stream not in streams:
            await self.dead_letters(stream, str(group)).check()
        elif not streams:
            raise InvalidArgument(where, f"App {self.app.name!r} declares no group {group!r}; give its stream=")
        return [(each, str(group)) for each in (sorted(streams) if stream is None else [stream])]

    def _pause_commands(self, place: Place) -> PauseCommands:
        stream, keys = place[0], self._broker.keys
        return PauseCommands(self._broker, keys.group(*place), keys.retention(stream) if _is_trimmed(stream) else None)


def _is_trimmed(stream: str) -> bool:
    """Whether a stream has a retention. Those of task queues and sagas have none."""
    from eventlib.sagas.messages import saga_stream

    return not (is_queue_stream(stream) or stream.startswith(saga_stream("")))


def _oneself() -> str:
    """The user and the host of this process. A container may have a user without a name."""
    import getpass  # only a program that pauses needs it

    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = str(os.getuid()) if hasattr(os, "getuid") else "?"
    return f"{user}@{socket.gethostname()}"
