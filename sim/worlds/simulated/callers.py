"""The callers in virtual time: processes that send requests and hear the replies, as the library's `request` does.

A caller reads the stream of replies all the time, so it has a reply as soon as a consumer would have it. A caller that
comes back looks into what came before, as the library's `reply` does.

What follows the end of a wait depends on how it ended: a request that was not answered in time is sent again, and a
client of a closed loop thinks before it asks anew.
"""

from functools import partial
from math import inf
from typing import cast

import simpy

from sim.declare.callers import Callers as Declared
from sim.evidence.history import KIND
from sim.worlds.simulated.noting import NAN
from sim.worlds.simulated.requesting import Request, Requesting
from sim.worlds.simulated.run_state import Message, RunState

_REPLIED, _SENT, _PUBLISHED, _TIMED_OUT = (KIND[name] for name in ("replied", "sent", "published", "timed_out"))


class _Wait:
    """One request that a caller waits for. `asked` counts how often it asked for the reply, this time included."""

    __slots__ = ("asked", "caller", "index", "intended_s")

    def __init__(self, caller: "Caller", index: int, intended_s: float, asked: int) -> None:
        self.caller = caller
        self.index = index
        self.intended_s = intended_s
        self.asked = asked


class Callers:
    """What the stream of replies has, and who waits for what."""

    def __init__(self, state: RunState, declared: Declared) -> None:
        self.state = state
        self.declared = declared
        self._requests = state.scenario.offered_load.event
        self._clients = state.scenario.offered_load.looping
        self._length_s = state.scenario.offered_load.duration_s
        self._think_s = state.plan.think_s.tolist() if state.plan.think_s is not None else []
        self._tries = declared.retry.attempts
        self._paths = state.scenario.flow.paths[declared.reply]
        self._replied: set[int] = set()  # requests whose reply is in the stream
        self._waits: dict[int, _Wait] = {}  # by request
        self._current: dict[int, Caller] = {}
        state.subscribers[declared.reply].append(self)

    def begin_loop(self) -> None:
        """Let all clients of a closed loop think, and ask."""
        for request in range(self._clients):
            self._think(request)

    def start(self, index: int) -> "Caller":
        """A new process in a caller's place. It asks for what the one before it was waiting for."""
        before = self._current.get(index)
        caller = self._current[index] = Caller(self, index)
        for wait in before.cut_off if before else ():
            self._wait(_Wait(caller, wait.index, wait.intended_s, wait.asked + 1), self.declared.timeout_s)
        return caller

    def ask(self, index: int) -> None:
        """Make a request that is due now. A dead caller makes none."""
        caller, due_s = self._current[self.declared.of(index, self._clients)], self.state.env.now
        if caller.killed:
            return
        request = Request(index, due_s, due_s + self.declared.timeout_s)
        self._wait(_Wait(caller, index, due_s, 1), self.declared.timeout_s)
        self._note(_SENT, caller.requesting.send(request), caller.index, request)

    def lose_connections(self) -> None:
        """All connections break. Each caller hears again when it has made another one."""
        for caller in self._current.values():
            caller.listens_from_s = self.state.link.again_s()

    def append(self, request: Request) -> None:
        """The server has a request now."""
        self.state.append(self._requests, request.index, request.due_s, request)

    def note_published(self, caller: int, request: Request) -> None:
        """A caller knows now that the server has its request."""
        self._note(_PUBLISHED, self.state.env.now, caller, request)

    def _note(self, kind: int, at_s: float, caller: int, request: Request) -> None:
        event = self.state.event_codes[self._requests]
        self.state.rows.append((at_s, kind, -1, caller, event, request.index, 0, request.due_s, NAN))

    def push(self, message: Message) -> None:
        """A reply is in the stream. The first one to a request counts."""
        request = message.index // self._paths
        if request not in self._replied:
            self._replied.add(request)
            if (wait := self._waits.get(request)) is not None:
                self._hear(wait, self.state.machine.takes_s("dispatch_s"))

    def of(self, caller: "Caller") -> list[_Wait]:
        """What a caller waits for."""
        return [wait for wait in self._waits.values() if wait.caller is caller]

    def end(self, wait: _Wait, kind: int | None = None) -> None:
        """The wait is over, because its caller has the reply, or for want of time, or of the caller itself."""
        del self._waits[wait.index]
        if kind is not None:
            state, caller = self.state, wait.caller.index
            event = state.event_codes[self._requests]
            state.rows.append((state.env.now, kind, -1, caller, event, wait.index, wait.asked, wait.intended_s, NAN))
        self.state.settle()

    def _wait(self, wait: _Wait, timeout_s: float) -> None:
        self.state.open()
        self._waits[wait.index] = wait
        if wait.index in self._replied:
            self._hear(wait, self.state.machine.takes_s("read_s"))
        over = self.state.env.timeout(max(0.0, timeout_s), wait)
        over.callbacks.append(self._time_is_over)

    def _hear(self, wait: _Wait, after_s: float) -> None:
        link, now = self.state.link, self.state.env.now
        if not link.works:
            after_s += link.heard_s(link.arrives_s(now)) + link.delay_s - now
        after_s = max(after_s, wait.caller.listens_from_s - now)
        heard = self.state.env.timeout(after_s, wait)
        heard.callbacks.append(self._heard)

    def _heard(self, heard: simpy.Event) -> None:
        self._end_now(cast(_Wait, heard.value), _REPLIED)

    def _time_is_over(self, over: simpy.Event) -> None:
        self._end_now(cast(_Wait, over.value), _TIMED_OUT)

    def _end_now(self, wait: _Wait, kind: int) -> None:
        if self._waits.get(wait.index) is wait:
            self._follow(wait.index, kind)  # before the end: or it would be the run's
            self.end(wait, kind)

    # What follows

    def _follow(self, index: int, kind: int) -> None:
        """The wait for the reply to a message has ended in this way."""
        request, attempt = divmod(index, self._tries)
        if kind == _TIMED_OUT and attempt + 1 < self._tries:
            self._ask_after(self.declared.retry.delay_s(attempt + 1, self.state.rng), index + 1)
        elif self._clients:
            self._think(request + self._clients)

    def _think(self, request: int) -> None:
        """Let a client think before its next request, unless the load is over by then."""
        if request < len(self._think_s) and self.state.env.now + self._think_s[request] < self._length_s:
            self._ask_after(self._think_s[request], request * self._tries)

    def _ask_after(self, seconds: float, index: int) -> None:
        self.state.open()
        due = self.state.env.timeout(seconds, index)
        due.callbacks.append(self._ask)

    def _ask(self, due: simpy.Event) -> None:
        self.ask(cast(int, due.value))
        self.state.settle()


class Caller:
    """One process, from its start until it is killed or the run ends."""

    def __init__(self, callers: Callers, index: int) -> None:
        self.index = index
        self.killed = False
        self.listens_from_s = -inf
        self.cut_off: list[_Wait] = []  # what it was waiting for when it was killed
        self.requesting = Requesting(callers.state, callers.append, partial(callers.note_published, index))
        self._callers = callers

    def kill(self) -> None:
        """End it with SIGKILL. The replies to its requests are appended all the same."""
        self.killed = True
        self.requesting.kill()
        self.cut_off = self._callers.of(self)
        for wait in self.cut_off:
            self._callers.end(wait)
