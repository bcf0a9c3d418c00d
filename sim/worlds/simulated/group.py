"""What Redis knows of a service: its streams, its delayed retries, and the leases that are no longer renewed."""

from collections import deque
from collections.abc import Iterable
from typing import Protocol, cast

import simpy

from eventlib import policy
from sim.declare.service import Service
from sim.evidence.history import Left
from sim.worlds.simulated.run_state import Message, RunState


class Holder(Protocol):
    """A consumer, as its group knows it."""

    asked: int  # COUNT of the read that it is blocked in

    def receive(self, count: int) -> None: ...

    def ask_again(self) -> None: ...

    def holds_taken_over(self) -> bool: ...

    def note_taken_over(self, message: Message) -> None: ...

    def lose(self, message: Message) -> None: ...

    def holds(self, message: Message) -> bool: ...


class _NoConsumer:
    """Holds what no consumer works on.

    These are suspects that wait to be taken over, which the consumer `(suspects)` holds in the library, and what was
    handed out in a reply that was lost.
    """

    asked = 0

    def receive(self, count: int) -> None:
        raise AssertionError("it does not read")

    def ask_again(self) -> None:
        raise AssertionError("it does not read")

    def holds_taken_over(self) -> bool:
        raise AssertionError("it does not sweep")

    def note_taken_over(self, message: Message) -> None:
        raise AssertionError("it does not sweep")

    def lose(self, message: Message) -> None:
        pass

    def holds(self, message: Message) -> bool:
        return True


NO_CONSUMER = _NoConsumer()


class Group:
    """The server's side of one service."""

    def __init__(self, state: RunState, code: int, name: str, service: Service) -> None:
        self.state = state
        self.code = code
        self.name = name
        self.service = service
        self.event_code = state.event_codes[service.consumes]
        self.service_s: list[float] = state.plan.service_s[name].tolist()  # a list is read faster than an array
        self.bodies = state.bodies_of(service.consumes)
        self.stream: deque[Message] = deque()
        self.retry: deque[Message] = deque()
        self.blocked: deque[Holder] = deque()  # readers that wait, longest first
        self.attempts = service.retry.attempts  # that every message is allowed
        self.dead = 0
        self.backlog = 0
        self.suspects_left = False  # the last sweep left some: they are taken over one at a time
        self._suspects: deque[Message] = deque()  # they wait to be taken over
        self._delayed = 0
        self._generation = 0  # how often the server has lost its data
        self.unrenewed: dict[Message, tuple[float, Holder]] = {}  # when each lease ends, and whose it is
        self._taken_over: dict[Message, Holder] = {}  # who took each message over last
        self._sweep_due = 0.0

    def left(self) -> Left:
        """What there is to do."""
        waiting, retrying = self._waiting()
        return Left(waiting, self.backlog - waiting - retrying - self._delayed, retrying, self._delayed, self.dead)

    def push(self, message: Message) -> None:
        """A new message is there."""
        self.state.open()
        self.backlog += 1
        self._let_in(message)
        self._wake()

    def put_aside(self, message: Message, delay_s: float) -> None:
        """Keep a message aside for `delay_s`; then it is back, for this group alone."""
        self._delayed += 1
        wait = self.state.env.timeout(delay_s, (message, self._generation))
        wait.callbacks.append(self._promote)

    def give_back(self, holder: Holder, held: dict[Message, None]) -> None:
        """A consumer that leaves has not handled these: they come again at once, and no attempt is used up."""
        self.renew_again(holder)
        for message in held:
            message.used += message.deliveries - 1
            message.retried = True
            message.deliveries = 1
            self._let_in(message)
        held.clear()
        self._wake()

    def has_work(self, reader: Holder) -> bool:
        """Whether a read would bring the reader something."""
        return bool(self.stream or self.retry)

    def take(self, count: int, reader: Holder) -> list[Message]:
        """What one read brings the reader. COUNT is for each stream: that many new and as many retried entries."""
        taken: list[Message] = []
        for source in (self.retry, self.stream):
            if len(source) <= count:
                taken.extend(source)
                source.clear()
            else:
                taken.extend([source.popleft() for _ in range(count)])
        return taken

    def stop_renewing(self, message: Message, lease_ends_at: float, holder: Holder) -> None:
        """The holder of this message renews no more: another consumer takes it over once its lease has ended."""
        self.unrenewed.pop(message, None)  # it goes to the end
        self.unrenewed[message] = (lease_ends_at, holder)

    def strand(self, messages: Iterable[Message]) -> None:
        """A reply that handed these out was lost: no consumer works on them until their leases have ended."""
        for message in messages:
            self.stop_renewing(message, self.state.env.now + self.service.lease_s, NO_CONSUMER)

    def renew_again(self, holder: Holder) -> None:
        """The holder renews what is still its own."""
        self.unrenewed = {message: one for message, one in self.unrenewed.items() if one[1] is not holder}

    def renew(self, message: Message) -> None:
        """The lease of this message ends no more."""
        self.unrenewed.pop(message, None)

    def is_suspect(self, message: Message) -> bool:
        """Whether a message that was taken over may be what ended its consumers."""
        return policy.is_suspect(message.used + message.deliveries, message.deliveries, self.attempts)

    def sweep(self, count: int, sweeper: Holder, *, may_take_suspect: bool) -> list[Message]:
        """Up to `count` entries of each stream whose lease has ended, or one suspect: the sweeper takes them over.

        The group is swept by one consumer at a time, and not before `sweep_every_s` has passed.
        """
        now = self.state.env.now
        if now < self._sweep_due:
            return []
        taken: list[Message] = []
        more = False
        for retried in (False, True):
            expired = [
                message
                for message, (ends_at, _) in self.unrenewed.items()
                if ends_at <= now and message.retried == retried
            ]
            others = [message for message in expired if not self._put_aside_if_suspect(message)]
            more = more or len(others) > count
            for message in others[:count]:
                _, holder = self.unrenewed.pop(message)
                if holder is not sweeper:  # one that was cut off finds its own leases at their end: that renews them
                    taken.append(self._hand_over(message, holder, sweeper))
        if may_take_suspect and self._suspects and not taken and not more:
            taken.append(self._hand_over(self._suspects.popleft(), NO_CONSUMER, sweeper))
        self.suspects_left = bool(self._suspects)
        at_once = more or self.suspects_left
        self._sweep_due = now if at_once else now + self.service.lease.sweep_every_s
        return taken

    def _put_aside_if_suspect(self, message: Message) -> bool:
        message.deliveries += 1  # as if it were taken over
        waits = self._waits_if_taken_over(message)
        message.deliveries -= 1
        if waits:
            _, holder = self.unrenewed.pop(message)
            holder.lose(message)
            self._let_suspect_wait(message)
        return waits

    def _waits_if_taken_over(self, message: Message) -> bool:
        """Whether it is handled alone, so that it waits until a consumer has time for it."""
        return self.is_suspect(message)

    def _let_suspect_wait(self, message: Message) -> None:
        self._taken_over[message] = NO_CONSUMER
        self._suspects.append(message)

    def _hand_over(self, message: Message, holder: Holder, sweeper: Holder) -> Message:
        holder.lose(message)
        message.deliveries += 1
        self._taken_over[message] = sweeper
        return message

    def is_pending(self, message: Message, used: int) -> bool:
        """Whether a consumer that took this message over still holds it, in the entry that had `used` up so many."""
        sweeper = self._taken_over.get(message)
        return sweeper is not None and message.used == used and sweeper.holds(message)

    def settle(self, message: Message) -> None:
        """A message is done with."""
        self.backlog -= 1

    def lose_all(self) -> None:
        """The server loses its data. What consumers hold is lost with it, which they find out."""
        lost, self.backlog = self.backlog, 0
        for messages in (self.stream, self.retry, self._suspects, self.unrenewed, self._taken_over):
            messages.clear()
        self.dead = self._delayed = 0
        self._generation += 1
        for _ in range(lost):
            self.state.settle()

    def _promote(self, wait: simpy.Event) -> None:
        link, now = self.state.link, self.state.env.now
        if not link.works and (at_s := link.first_of(self.state.wanted[self.name], now, adds=True)) > now:
            again = self.state.env.timeout(at_s - now, wait.value)
            again.callbacks.append(self._promote)
            return
        message, generation = cast(tuple[Message, int], wait.value)
        if generation != self._generation:  # the server has lost it
            return
        self._delayed -= 1
        message.retried = True
        message.deliveries = 1
        self._let_in(message)
        self._wake()

    def _let_in(self, message: Message) -> None:
        """A message waits to be read."""
        (self.retry if message.retried else self.stream).append(message)

    def _waiting(self) -> tuple[int, int]:
        """How many messages wait to be read: new ones, and retried ones."""
        return len(self.stream), len(self.retry)

    def _wake(self) -> None:
        """New entries go to the reader that has waited longest, and all that it asked for at once."""
        while self.blocked and self.has_work(self.blocked[0]):
            reader = self.blocked.popleft()
            reader.receive(reader.asked)
