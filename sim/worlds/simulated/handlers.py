"""The handlers of one consumer: which messages may run, how long they take, and what becomes of each attempt."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import simpy

from eventlib import policy
from eventlib.circuit_breaker import speaks_of_dependency
from eventlib.policy import Ack, Decision, GiveUp, RetryIn, TokenBucket
from sim.evidence.history import KIND
from sim.worlds.simulated.emissions import Emissions
from sim.worlds.simulated.gate import Gate
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.link import SETTLES
from sim.worlds.simulated.machine import Process
from sim.worlds.simulated.noting import NAN
from sim.worlds.simulated.process_state import ProcessState
from sim.worlds.simulated.run_state import Message

FAILURE = RuntimeError("the scenario lets this attempt fail")
_STARTED, _HANDLED, _FAILED, _RETRIED, _DEAD, _ACKED, _LOST = (
    KIND[name] for name in ("started", "handled", "failed", "retried", "dead", "acked", "lost")
)


@dataclass(slots=True)
class _Lost:
    """What was taken over in the middle of an attempt: the attempts used up before, and whether that is noted."""

    used: int
    noted: bool = False


class Handlers:
    """Handles messages first come first served, `concurrency` at once, and settles them.

    `held` has what the consumer holds, in the order in which it came; what is settled is taken out. `ended` is called
    after each attempt. What happens a moment after the event of the model that it follows from has that moment as
    `after_s`: an event of its own would cost more than all the rest.
    """

    def __init__(
        self,
        group: Group,
        index: int,
        process: ProcessState,
        cpu: Process,
        held: dict[Message, None],
        ended: Callable[[float], None],
    ) -> None:
        # What every message needs is looked up once: the attribute chains were a fifth of the run time.
        self.running = 0
        self.waiting: deque[Message] = deque()
        self._group = group
        self._index = index
        self._process = process
        self._cpu = cpu
        self._held = held
        self._ended = ended
        self._state = group.state
        self._code = group.code
        self._event_code = group.event_code
        self._service = group.service
        self._concurrency = group.service.concurrency
        self._at_once = group.service.at_once
        self._prefetch = group.service.prefetch
        self._retry = group.service.retry
        self._emissions = Emissions(group, index, process, cpu, self._end)
        self._service_s = group.service_s
        self._slows = group.name in group.state.plan.slow_windows
        self._poisoned = group.name in group.state.plan.poison
        self._rows = group.state.rows
        self._instant = group.state.machine.instant
        self._link = group.state.link
        self._timeout = group.state.env.timeout
        budget = group.service.retry_budget
        self._bucket = TokenBucket(budget, group.state.env.now) if budget else None
        breaker = group.service.circuit_breaker
        self.gate = Gate(breaker, group, index, process, self._go_on_after_pause) if breaker else None
        # How many more messages the consumer may ask for.
        self.room: Callable[[], int] = self._capacity if self.gate is None else self._room_at_gate
        self._lost_waiting: list[tuple[Message, int]] = []  # taken over before they began; with the attempt's number
        self._lost: dict[tuple[Message, int], _Lost] = {}  # taken over while the attempt ran

    def add(self, messages: Iterable[Message], after_s: float = 0.0) -> None:
        """Handle these messages as soon as it is their turn, the first one `after_s` from now."""
        self.waiting.extend(messages)
        self._start(after_s)

    def leave(self) -> None:
        """Begin nothing more, and ask for nothing more. What waits is given back with all that is held."""
        self.waiting.clear()
        self.room = _no_room

    def _capacity(self) -> int:
        return policy.capacity_left(self._at_once, self._prefetch, self.running + len(self.waiting))

    def _room_at_gate(self) -> int:
        assert self.gate is not None, "it is asked only where there is one"
        return self.gate.room(self._capacity(), self.running + len(self.waiting))

    def lose(self, message: Message) -> None:
        """Another consumer takes the message over, before or while it is handled here."""
        delivery = (message, message.used + message.deliveries)
        if message in self.waiting:
            self.waiting.remove(message)
            self._lost_waiting.append(delivery)
        else:
            self._lost[delivery] = _Lost(message.used)

    def note_lost(self) -> None:
        """The consumer asks who owns what it holds, and finds out what was taken over."""
        now = self._state.env.now
        for message, attempt in self._lost_waiting:
            self._record(_LOST, now, message, attempt)
        self._lost_waiting.clear()
        for (message, attempt), lost in self._lost.items():
            if not lost.noted:
                self._record(_LOST, now, message, attempt)
                lost.noted = True

    def _start(self, after_s: float) -> None:
        while self.waiting and self.running < self._concurrency and (self.gate is None or self.gate.may_begin()):
            self._handle(self.waiting.popleft(), after_s)
            after_s += self._cpu.start_s

    def _handle(self, message: Message, after_s: float) -> None:
        state = self._state
        attempt = message.used + message.deliveries
        starts_at = state.env.now + after_s
        refusal = policy.admit(self._retry, self._bucket, attempt, message.used, starts_at, state.rng)
        if refusal is not None:
            self._settle_by(refusal, message, attempt, starts_at)
            return
        self._record(_STARTED, starts_at, message, attempt, message.dispatch)
        self.running += 1
        if self.gate is not None:
            self.gate.began(message, attempt)
        self._run(message, attempt, starts_at, after_s)

    def _run(self, message: Message, attempt: int, starts_at: float, after_s: float) -> None:
        """Let an attempt that starts `after_s` from now take its time."""
        takes_s, error = self._work(message, attempt, starts_at)
        end = self._timeout(after_s + takes_s, (message, attempt, error))
        end.callbacks.append(self._handled)

    def _work(self, message: Message, attempt: int, starts_at: float) -> tuple[float, Exception | None]:
        """How long an attempt works that starts then, and what it fails with."""
        plan, takes_s = self._state.plan, self._service_s[message.index]
        error = FAILURE if plan.fails(self._group.name, message.index, attempt, starts_at) else None
        return takes_s * plan.slowed(self._group.name, starts_at) if self._slows else takes_s, error

    def _handled(self, end: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._handled, end)
            return
        self._complete(*cast(tuple[Message, int, Exception | None], end.value))

    def _complete(self, message: Message, attempt: int, error: Exception | None) -> None:
        """An attempt has done all that it was to do."""
        if self._poisoned and self._state.plan.kills(self._group.name, message.index):
            self._state.let_die(self._group.name, self._index)
            return
        self._finish(message, attempt, error)

    def _finish(self, message: Message, attempt: int, error: Exception | None) -> None:
        after_s = 0.0 if self._instant else self._cpu.does_s("handle_s", self._state.env.now)
        if error is not None or not self._emissions.any:
            self._end(message, attempt, error, after_s)
        else:
            self._emissions.emit(message, attempt, after_s)

    def _end(self, message: Message, attempt: int, error: Exception | None, after_s: float) -> None:
        """An attempt has ended."""
        fails = error is not None
        now = self._state.env.now + after_s
        self._record(_FAILED if fails else _HANDLED, now, message, attempt)
        if self.gate is not None:
            self._tell_gate(message, attempt, error)
        if not fails and self._bucket is not None:
            self._bucket.earn()
        if not self._link.works and (waits_s := self._link.arrives_s(now, adds=fails) - now) > 0.0:
            settled = self._timeout(after_s + waits_s, (message, attempt, error))
            settled.callbacks.append(self._settle_late)
            if fails:  # its worker waits for the server; what was handled is acknowledged by another task
                return
        else:
            self._settle_ended(message, attempt, error, now)
        self._free_worker(message, attempt, after_s)

    def _tell_gate(self, message: Message, attempt: int, error: Exception | None) -> None:
        assert self.gate is not None, "it is told only where there is one"
        failed = error is not None and speaks_of_dependency(error)
        self.gate.ended(message, attempt, succeeded=error is None, failed=failed)

    def _go_on_after_pause(self) -> None:
        self._start(0.0)
        self._ended(0.0)

    def _free_worker(self, message: Message, attempt: int, after_s: float) -> None:
        self.running -= 1
        if self.waiting:
            self._start(after_s + self._cpu.takes_s("next_s"))
        self._ended(after_s)

    def _settle_late(self, settled: simpy.Event) -> None:
        """The server does what it could not do when the attempt ended."""
        if self._process.halted:
            self._process.postpone(self._settle_late, settled)
            return
        message, attempt, error = cast(tuple[Message, int, Exception | None], settled.value)
        self._settle_ended(message, attempt, error, self._state.env.now)
        if error is not None:
            self._free_worker(message, attempt, 0.0)

    def _settle_ended(self, message: Message, attempt: int, error: Exception | None, now: float) -> None:
        if self._lost and (lost := self._lost.pop((message, attempt), None)):
            self._end_lost(lost, message, attempt, error is not None, now)
        else:
            decision = policy.decide(self._retry, attempt, error, self._state.rng)
            self._settle_by(decision, message, attempt, now)

    def _end_lost(self, lost: _Lost, message: Message, attempt: int, fails: bool, now: float) -> None:
        """The attempt has ended, but the outcome of the message's new owner counts.

        Where the loss is not noted yet, settling finds it out. But an ack of what is pending no more succeeds.
        A handler that publishes ends a reply later: by then, the consumer has asked who owns what it holds.
        """
        if lost.noted:
            return
        if fails or self._emissions.any or self._group.is_pending(message, lost.used):
            self._record(_LOST, now, message, attempt)
        else:
            self._record(_ACKED, now + self._settles_s()[1], message, attempt)

    def _settle_by(self, decision: Decision, message: Message, attempt: int, now: float) -> None:
        server_s, knows_s = self._settles_s()
        known_s = now + knows_s
        match decision:
            case Ack():
                self._record(_ACKED, known_s, message, attempt)
                self._settle(message)
            case RetryIn(delay_s, counts):
                message.used = attempt if counts else attempt - 1
                self._let_go(message)
                self._record(_RETRIED, known_s, message, attempt)
                late_s = now + server_s - self._state.env.now + self._state.machine.takes_s("retry_s")
                self._group.put_aside(message, delay_s + late_s)
            case GiveUp():
                self._group.dead += 1
                self._record(_DEAD, known_s, message, attempt)
                self._settle(message)

    def _settles_s(self, *, adds: bool = False) -> tuple[float, float]:
        """How long it takes until the server has settled a message, and until the consumer knows.

        `adds`: it takes memory of the server.
        """
        link, now, takes_s = self._link, self._state.env.now, 0.0
        if not self._instant:
            takes_s = self._cpu.takes_s("settle_s") + self._state.machine.server.late_s(now, self._cpu)
        if link.works:
            return takes_s, takes_s
        arrives_s = link.arrives_s(now + takes_s, adds=adds) + link.transfer_s(SETTLES, 1)
        return arrives_s + link.delay_s - now, link.heard_s(arrives_s) + 2.0 * link.delay_s - now

    def _let_go(self, message: Message) -> None:
        """The message is not held here any more."""
        del self._held[message]
        if self._group.unrenewed:  # its lease may be among those that are not renewed
            self._group.renew(message)

    def _settle(self, message: Message) -> None:
        self._let_go(message)
        self._group.settle(message)
        self._state.settle()

    def _record(self, kind: int, at_s: float, message: Message, attempt: int, value: float = NAN) -> None:
        self._rows.append(
            (at_s, kind, self._code, self._index, self._event_code, message.index, attempt, message.intended_s, value)
        )


def _no_room() -> int:
    return 0
