"""What becomes of the messages of sagas: settling one stores the saga's move in the same act."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from eventlib import saga_policy
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.broker.sagas import Change, SagaStore
from eventlib.errors import DataError
from eventlib.events.envelope import decode
from eventlib.records import Entry, ExpectedTime, Place
from eventlib.saga_policy import Move, SagaState
from eventlib.sagas.changes import Told, change_of
from eventlib.sagas.messages import GROUP, Advance, saga_stream
from eventlib.sagas.records import StoredSaga

_NO_OUTCOME = "its workers ended several times without telling the outcome"


@dataclass(slots=True)
class Outcome:
    """What came of one act. `decide` says what follows; it is asked again if the saga changed meanwhile."""

    saga: StoredSaga
    decide: Callable[[SagaState], Move]
    told: Told
    fails_for_good: Callable[[SagaState, bool], Move] | None = None  # what follows a failure if no attempt is left
    change: Change | None = None  # what `decide` last led to, so that a repeat is the same change
    move: Move | None = None


Ending = Literal["drop", "settled", "lost"]  # of a message with which no saga moves


class SagaCommands(ConsumerCommands):
    """The commands of one worker. Its handlers note the outcome of each message; settling the message stores it.

    A message without an outcome is never acknowledged: its saga would stand still for ever.
    """

    def __init__(self, broker: Broker, name: str, worker: str, app_name: str) -> None:
        super().__init__(broker, broker.keys.group(saga_stream(name), GROUP), worker)
        self.worker = worker
        self.store = SagaStore(broker, saga_stream(name), GROUP)
        self._app_name = app_name  # the source of the envelopes that it writes
        self._outcomes: dict[Place, Outcome | Ending] = {}

    def note(self, entry: Entry, outcome: Outcome | Ending) -> None:
        """Note what came of a message that this worker holds."""
        self._outcomes[entry.place] = outcome

    async def move(self, entry: Entry, outcome: Outcome) -> Move | None:
        """Store what follows from an outcome, and settle the message if the act has ended.

        None if the message belongs to another worker.
        """
        while True:
            if outcome.change is None:
                outcome.move = outcome.decide(outcome.saga.state)
                outcome.change = change_of(outcome.saga, outcome.move, self._app_name, outcome.told)
            assert outcome.move is not None, "it is decided together with the change"
            move, change = outcome.move, outcome.change
            stored = await self.store.apply(change, consumer=self.worker, entry=entry, settle=move.ends_act)
            if stored == 1:
                outcome.saga = replace(outcome.saga, state=move.state, revision=change.revision + 1)
                return move
            if stored == 0:
                return None
            fields = await self.store.load(outcome.saga.id)
            saga = StoredSaga.of(fields) if fields else None
            if saga is None or saga.state.seq != outcome.saga.state.seq:  # the message is out of date
                await super().ack([entry])
                return move._replace(ends_act=True)
            outcome.saga, outcome.change = saga, None

    async def ack(self, entries: Sequence[Entry]) -> set[Place]:
        """Settle messages, and store what follows. Returns the places of those that another worker has."""
        plain = [entry for entry in entries if self._outcomes.get(entry.place) == "drop"]
        moving = [(entry, self._outcomes.get(entry.place)) for entry in entries]
        moves = await asyncio.gather(
            *(self.move(entry, outcome) for entry, outcome in moving if isinstance(outcome, Outcome)),
            return_exceptions=True,
        )
        lost = await super().ack(plain) if plain else set[Place]()
        for move in moves:
            if isinstance(move, BaseException):
                raise move
        moved = [entry for entry, outcome in moving if isinstance(outcome, Outcome)]
        lost |= {entry.place for entry, move in zip(moved, moves, strict=True) if move is None}
        lost |= {entry.place for entry, outcome in moving if outcome in (None, "lost")}
        for entry in entries:
            self._outcomes.pop(entry.place, None)
        return lost

    async def retry(
        self, entry: Entry, delay_s: float, *, counts: bool = True, expected: ExpectedTime | None = None
    ) -> bool:
        """Try an act again later. If the saga does not want that any more, it moves on instead."""
        outcome = self._outcomes.get(entry.place)
        if isinstance(outcome, Outcome):
            move = await self.move(entry, outcome)
            if move is None or move.ends_act:
                return self._settled(entry, move is not None)
        return self._settled(entry, await super().retry(entry, delay_s, counts=counts, expected=expected))

    async def to_dead_letters(self, entry: Entry, why: Mapping[str, str], *, counts: bool = True) -> bool:
        """Give a message up. An act that fails for good moves its saga; what is no act becomes a dead letter."""
        outcome = self._outcomes.get(entry.place)
        if not isinstance(outcome, Outcome):
            if (advance := _advance_of(entry)) is None:
                return await super().to_dead_letters(entry, why, counts=counts)
            fields = await self.store.load(advance.saga)
            saga = StoredSaga.of(fields) if fields else None
            if saga is None or saga.state.seq != advance.seq:
                return entry.place not in await super().ack([entry])
            outcome = Outcome(saga, lambda state: saga_policy.failed(state, "unknown", _NO_OUTCOME), Told(self.worker))
            self.note(entry, outcome)
        elif outcome.fails_for_good is not None:
            decide, rejected = outcome.fails_for_good, why["reason"] == "rejected"
            outcome.decide, outcome.fails_for_good = lambda state: decide(state, rejected), None
        return self._settled(entry, await self.move(entry, outcome) is not None)

    async def renew(self, entries: Sequence[Entry]) -> set[Place]:
        """As the plain `renew`. What is lost needs no outcome any more."""
        lost = await super().renew(entries)
        for place in lost:
            self._outcomes.pop(place, None)
        return lost

    def _settled(self, entry: Entry, by_this_worker: bool) -> bool:
        self._outcomes.pop(entry.place, None)
        return by_this_worker


def _advance_of(entry: Entry) -> Advance | None:
    try:
        envelope = decode(entry.event or b"", {"eventlib.saga.advance": Advance})
    except DataError:
        return None
    return envelope.event if envelope is not None and isinstance(envelope.event, Advance) else None
