"""What Redis knows of a service that keeps the order of each key: only the head of a key is handed out."""

from collections import deque

from sim.declare.service import Service
from sim.worlds.simulated.group import Group, Holder
from sim.worlds.simulated.run_state import Message, RunState


class OrderedGroup(Group):
    """The server's side of a service that is ordered by key.

    The head of a key is the message that is in hand, or waits for its retry. What is read behind it is parked, and
    comes by the retry stream when it becomes the head: when the one before it is settled for good.
    """

    def __init__(self, state: RunState, code: int, name: str, service: Service) -> None:
        super().__init__(state, code, name, service)
        self._keys: list[int] = state.plan.keys[name].tolist()
        self._heads: dict[int, Message] = {}
        self._parked: dict[int, deque[Message]] = {}

    def take(self, count: int, reader: Holder) -> list[Message]:
        taken: list[Message] = []
        for source in (self.retry, self.stream):
            room = count
            while source and room:
                message = source.popleft()
                key = self._keys[message.index]
                if self._heads.setdefault(key, message) is message:
                    taken.append(message)
                    room -= 1
                else:
                    self._parked.setdefault(key, deque()).append(message)
        return taken

    def settle(self, message: Message) -> None:
        super().settle(message)
        key = self._keys[message.index]
        del self._heads[key]
        if parked := self._parked.get(key):
            head = self._heads[key] = parked.popleft()
            head.retried = True
            self.retry.append(head)
            self._wake()
        else:
            self._parked.pop(key, None)

    def lose_all(self) -> None:
        super().lose_all()
        self._heads.clear()
        self._parked.clear()

    def _waiting(self) -> tuple[int, int]:
        return len(self.stream) + sum(map(len, self._parked.values())), len(self.retry)

    def _wake(self) -> None:
        """A new entry wakes all consumers that wait; what there is goes to the first that ask."""
        while self.blocked:
            self.blocked.popleft().ask_again()
