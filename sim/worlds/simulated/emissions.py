"""The events that declared handlers publish: one after the other, each handler until the server has its event."""

from collections.abc import Callable
from typing import cast

import simpy

from sim.worlds.simulated.group import Group
from sim.worlds.simulated.machine import Process
from sim.worlds.simulated.noting import NAN
from sim.worlds.simulated.process_state import ProcessState
from sim.worlds.simulated.run_state import Message
from sim.worlds.simulated.sending import Batches, Sent

End = Callable[[Message, int, None, float], None]  # called with message, attempt, no error, and how much later than now
_NEVER = Sent(NAN, NAN, NAN)


class _Emission:
    """A handler that sends its events: what is left to send, and what is on its way."""

    __slots__ = ("attempt", "left", "message", "sent")

    def __init__(self, message: Message, attempt: int, left: list[tuple[str, int]]) -> None:
        self.message = message
        self.attempt = attempt
        self.left = left
        self.sent = _NEVER


class Emissions:
    """What the handlers of one consumer publish. Where there is `any`, `end` is called when all is published."""

    def __init__(self, group: Group, index: int, process: ProcessState, cpu: Process, end: End) -> None:
        self.any = bool(group.service.emits)
        self._group = group
        self._index = index
        self._process = process
        self._cpu = cpu
        self._end = end
        self._state = group.state
        self._link = group.state.link
        self._instant = group.state.machine.instant
        self._batches = {event: Batches(group.state.link) for event in group.service.emits}

    def emit(self, message: Message, attempt: int, after_s: float) -> None:
        """Publish what handling the message sets off, from `after_s` on."""
        state, consumed = self._state, self._group.service.consumes
        emitted = state.plan.emitted(state.scenario.flow, self._group.name, consumed, message.index)
        if not self._instant or not self._link.works:
            self._send(_Emission(message, attempt, emitted), after_s)
            return
        now = self._state.env.now
        for event, index in emitted:
            self._publish(event, index, message, Sent(now, now, now))
        self._end(message, attempt, None, after_s)

    def _publish(self, event: str, index: int, message: Message, sent: Sent) -> None:
        self._state.publish(event, index, message.intended_s, sent, self._group.code, self._index)

    def _send(self, emission: _Emission, after_s: float) -> None:
        """Send the next event of a handler."""
        event, _ = emission.left[0]
        now = self._state.env.now
        emission.sent = self._batches[event].join(now + after_s, self._cpu)
        if emission.sent.appended_s > now:
            appended = self._state.env.timeout(emission.sent.appended_s - now, emission)
            appended.callbacks.append(self._appended)
        else:
            self._append(emission)

    def _appended(self, appended: simpy.Event) -> None:
        self._append(cast(_Emission, appended.value))

    def _append(self, emission: _Emission) -> None:
        """The server has an event, even if its sender is dead meanwhile."""
        now, sent = self._state.env.now, emission.sent
        event, index = emission.left.pop(0)
        self._publish(event, index, emission.message, sent)
        if sent.published_s > now:
            published = self._state.env.timeout(sent.published_s - now, emission)
            published.callbacks.append(self._published)
        else:
            self._send_next(emission)

    def _published(self, published: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._published, published)
        else:
            self._send_next(cast(_Emission, published.value))

    def _send_next(self, emission: _Emission) -> None:
        after_s = self._cpu.late_s(self._state.env.now)
        if emission.left:
            self._send(emission, after_s)
        else:
            self._end(emission.message, emission.attempt, None, after_s)
