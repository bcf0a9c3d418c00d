"""What Redis knows of a service that is a task queue: whose turn it is, by the library's own rules."""

from eventlib.queueing import FairQueue
from sim.declare.service import Service
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.run_state import Message, RunState


class QueueGroup(Group):
    """The server's side of a task queue. A task that a worker gets is in the retry stream from then on."""

    def __init__(self, state: RunState, code: int, name: str, service: Service) -> None:
        super().__init__(state, code, name, service)
        assert service.queue is not None
        labels = state.plan.labels[name]
        self._priorities: list[int] = labels.priority.tolist()
        self._tenants = [service.queue.tenant_of(place) for place in labels.tenant.tolist()]
        self._queue = FairQueue[Message](service.queue.weights.in_order(), service.queue.fair_weights)
        self._places: dict[Message, int] = {}
        self._dispatched = 0

    def has_work(self) -> bool:
        return bool(self._queue)

    def take(self, count: int) -> list[Message]:
        """What one dispatch hands out."""
        taken: list[Message] = []
        while len(taken) < count and (message := self._queue.take()) is not None:
            message.dispatch = float(self._dispatched)
            message.retried = True
            message.deliveries = 1
            self._dispatched += 1
            taken.append(message)
        return taken

    def _let_in(self, message: Message) -> None:
        place = self._queue.add(
            message, self._priorities[message.index], self._tenants[message.index], self._places.get(message)
        )
        self._places[message] = place

    def _waiting(self) -> tuple[int, int]:
        return len(self._queue), 0

    def _wake(self) -> None:
        """The bell rings: all workers that wait hear it and ask, in the order in which they came."""
        while self.blocked:
            self.blocked.popleft().ask_again(self.state.overheads.dispatch_s)
