"""What Redis knows of a service that is a task queue: whose turn it is, by the library's own rules."""

from typing import cast

import simpy

from eventlib.queueing import FairQueue, Limit
from sim.declare.service import Service
from sim.worlds.simulated.group import Group
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
        self._dispatched = 0
        self._looks_at = float("inf")  # when it looks again whether a limit of starts has room

    def has_work(self) -> bool:
        return self._queue.has_ready()

    def take(self, count: int) -> list[Message]:
        """What one dispatch hands out."""
        taken: list[Message] = []
        while len(taken) < count and (message := self._queue.take(self.state.env.now)) is not None:
            message.dispatch = float(self._dispatched)
            message.retried = True
            message.deliveries = 1
            self._dispatched += 1
            taken.append(message)
        self._look_when_due()
        return taken

    def put_aside(self, message: Message, delay_s: float) -> None:
        super().put_aside(message, delay_s)
        self._free(message)

    def settle(self, message: Message) -> None:
        super().settle(message)
        del self._places[message]
        self._free(message)

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
        if limits := self._limits[self._tenants[message.index]]:
            known = self.state.env.timeout(self.state.machine.takes_s("settle_s"), limits)
            known.callbacks.append(self._free_slots)

    def _free_slots(self, known: simpy.Event) -> None:
        self._queue.free(cast(list[Limit], known.value))
        if self._queue.has_ready():
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
