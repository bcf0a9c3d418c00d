"""What Redis knows of a service that runs sagas: how each stands, and the message about its next act."""

from eventlib import saga_policy
from eventlib.policy import Retry
from eventlib.saga_policy import SagaState
from sim.declare.service import Service
from sim.evidence.history import KIND
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.noting import NAN
from sim.worlds.simulated.run_state import Message, RunState

_HANDLED, _DEAD, _ACKED = (KIND[name] for name in ("handled", "dead", "acked"))


class RunningSaga:
    """One saga, as Redis keeps it."""

    __slots__ = ("index", "intended_s", "state")

    def __init__(self, index: int, intended_s: float, state: SagaState) -> None:
        self.index = index
        self.intended_s = intended_s
        self.state = state


class Advance(Message):
    """The message about the next act of a saga. Each act has a new one, in the retry stream of the workers."""

    __slots__ = ("saga",)

    def __init__(self, saga: RunningSaga) -> None:
        super().__init__(saga.index, saga.intended_s)
        self.saga = saga
        self.retried = True


class SagaGroup(Group):
    """The server's side of a service that runs sagas. Its backlog are the sagas that have not ended."""

    def __init__(self, state: RunState, code: int, name: str, service: Service) -> None:
        super().__init__(state, code, name, service)
        assert service.saga is not None
        self.draws = state.plan.sagas[name]
        self._plan = service.saga.plan
        self._retries = service.saga.retries(service.retry)
        self.attempts = min(retry.attempts for retry in self._retries.values())

    def push(self, message: Message) -> None:
        """A saga starts."""
        self.state.open()
        self.backlog += 1
        self.advance(RunningSaga(message.index, message.intended_s, saga_policy.started(self._plan).state))

    def advance(self, saga: RunningSaga) -> None:
        """The message about a saga's next act is there."""
        self._let_in(Advance(saga))
        self._wake()

    def retry_of(self, saga: RunningSaga) -> Retry:
        """How the act of a saga is retried."""
        return self._retries[saga.state.at, saga.state.act]

    def end(self, saga: RunningSaga, at_s: float) -> None:
        """A saga has ended, or is parked."""
        parked = saga.state.status == "parked"
        kinds = (KIND[saga.state.status], *((_DEAD,) if parked else (_HANDLED, _ACKED)))
        for kind in kinds:
            row = (at_s, kind, self.code, -1, self.event_code, saga.index, 1, saga.intended_s, NAN)
            self.state.rows.append(row)
        self.dead += parked
        self.backlog -= 1
        self.state.settle()
