"""What Redis knows of a service that is a task queue: whose turn it is, by the library's own rules."""

from typing import cast

import simpy

from eventlib.queueing import FairQueue, Limit
from sim.declare.service import Service
from sim.worlds.simulated.group import Group, Holder
from sim.worlds.simulated.run_state import Message, RunState


class QueueGroup(Group):
    """The server's side of a task queue. A task that a worker gets is in the retry stream from then on."""

    def __init__(self, state: RunState, code: int, name: str, service: Service) -> None:
        super().__init__(state, code, name, service)
        assert service.queue is not None
        labels, queue = state.plan.labels[name], service.queue
        tenants = [queue.tenant_at(place) for place in range(max(1, len(queue.tenants)))]
        self._priorities: list[int] = labels.priority.tolist()
        self._tenants = [tenants[place] for place in labels.tenant.tolist()]
        self._fair = queue.takes_turns_by_tenant
        self._limits = {tenant: queue.limits(tenant) for tenant in tenants}
        self._queue = FairQueue[Message](queue.weights.in_order(), queue.fair_weights)
        self._places: dict[Message, int] = {}
        self._suspects_aside = set[Message]()  # they wait for a worker that may have them
        self._dispatched = 0
        self._looks_at = float("inf")  # when it looks again whether a limit of starts has room

    def has_work(self, reader: Holder) -> bool:
        return self._queue.has_ready() or self._may_have_suspect(reader)

    def _may_have_suspect(self, reader: Holder) -> bool:
        return self._queue.suspects_wait and not reader.holds_taken_over()

    def take(self, count: int, reader: Holder) -> list[Message]:
        """What one dispatch hands out."""
        taken: list[Message] = []
        now, may_take_suspect = self.state.env.now, not reader.holds_taken_over()
        if came := self._may_have_suspect(reader):
            self._queue.let_suspects_come()
        while len(taken) < count and (message := self._queue.take(now, may_take_suspect=may_take_suspect)) is not None:
            message.dispatch = float(self._dispatched)
            message.retried = True
            self._dispatched += 1
            taken.append(message)
            if message in self._suspects_aside:
                self._suspects_aside.remove(message)
                message.deliveries += 1
                reader.note_taken_over(message)
                may_take_suspect = False
            else:
                message.deliveries = 1
        self._look_when_due()
        if came and self._queue.has_ready():  # suspects that came beside the one that is handed out
            self._wake()
        return taken

    def sweep(self, count: int, sweeper: Holder, *, may_take_suspect: bool) -> list[Message]:
        taken = super().sweep(count, sweeper, may_take_suspect=may_take_suspect)
        if self._queue.suspects_wait:  # as the library's repair: none is forgotten
            self._wake()
        return taken

    def put_aside(self, message: Message, delay_s: float) -> None:
        super().put_aside(message, delay_s)
        self._free(message)

    def settle(self, message: Message) -> None:
        super().settle(message)
        del self._places[message]
        self._free(message)

    def _waits_if_taken_over(self, message: Message) -> bool:
        """One that has had all attempts does not wait for a turn: it will not run."""
        return self.is_suspect(message) and message.used + message.deliveries <= self.attempts

    def _let_suspect_wait(self, message: Message) -> None:
        """It waits in the queue, without its slots. Its entry is gone, so its old worker settles nothing any more."""
        self._taken_over.pop(message, None)
        self._suspects_aside.add(message)
        limits = self._limits[self._tenants[message.index]]
        self._queue.set_aside(message, self._priorities[message.index], self._places[message], limits)
        self._wake()

    def _let_in(self, message: Message) -> None:
        tenant = self._tenants[message.index]
        self._places[message] = self._queue.add(
            message,
            self._priorities[message.index],
            tenant if self._fair else "",
            self._places.get(message),
            self._limits[tenant],
        )

    def _waiting(self) -> tuple[int, int]:
        return len(self._queue), 0

    def _wake(self) -> None:
        """The bell rings: all workers that wait hear it and ask, in the order in which they came."""
        while self.blocked:
            self.blocked.popleft().ask_again()

    def _free(self, message: Message) -> None:
        """The slots of a task are free as soon as the server knows that it has ended."""
        limits, ends_takeover = self._limits[self._tenants[message.index]], message.deliveries > 1
        if limits or (ends_takeover and self._queue.suspects_wait):
            settle_s = self.state.machine.takes_s("settle_s")
            known = self.state.env.timeout(settle_s, (limits, ends_takeover))
            known.callbacks.append(self._free_slots)

    def _free_slots(self, known: simpy.Event) -> None:
        limits, ends_takeover = cast(tuple[list[Limit], bool], known.value)
        self._queue.free(limits)
        may_have_suspect = ends_takeover and self._queue.suspects_wait  # its worker, from now on
        if self._queue.has_ready() or may_have_suspect:
            self._wake()

    def _look_when_due(self) -> None:
        due_s = self._queue.due_s
        if due_s is not None and due_s < self._looks_at:
            self._looks_at = due_s
            due = self.state.env.timeout(max(0.0, due_s - self.state.env.now))
            due.callbacks.append(self._look)

    def _look(self, _: simpy.Event) -> None:
        self._looks_at = float("inf")
        self._queue.look(self.state.env.now)
        self._look_when_due()
        if self._queue.has_ready():
            self._wake()
