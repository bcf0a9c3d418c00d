"""What a program or an operator does with sagas: start, look at, cancel, retry and resolve them."""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from functools import partial
from typing import Generic, TypeVar, get_args
from uuid import uuid4

from pydantic import BaseModel

from eventlib import saga_policy, tracing
from eventlib.arguments import is_number
from eventlib.broker.connections import Broker
from eventlib.broker.sagas import SagaStore
from eventlib.dead_letter import storable
from eventlib.declare.sagas import Saga
from eventlib.errors import BusClosed, InvalidArgument, MissingSaga, WaitTimeout, shown
from eventlib.events.schema import valid_name
from eventlib.notices import Notices
from eventlib.patience import Patience
from eventlib.reconnect import Answer
from eventlib.saga_policy import RESTING, Move, Resolution, SagaState, SagaStatus
from eventlib.sagas.changes import UNTOLD, WHY_LENGTH_MAX, Told, change_of, start_of
from eventlib.sagas.messages import GROUP, saga_stream
from eventlib.sagas.records import SagaNote, SagaRecord, StoredSaga, note_of

I = TypeVar("I", bound=BaseModel)  # noqa: E741 - the input
T = TypeVar("T")

_KEY = re.compile(r"[!#-\[\]-~]{1,200}")  # printable ASCII; no space, quote or backslash
Ids = list[str]  # in `Sagas`, `list` is a method
Records = list[SagaRecord]
Notes = list[SagaNote]
Decide = Callable[[SagaState], Move | str | None]


async def decide_and_store(
    store: SagaStore, saga_id: str, decide: Decide, source: str, told: Told = UNTOLD
) -> Move | str | None:
    """Load a saga, decide, and store the move if there is one. Returns what was decided; None if the saga is gone."""
    while True:
        fields = await store.load(saga_id)
        if fields is None:
            return None
        saga = StoredSaga.of(fields)
        move = decide(saga.state)
        if not isinstance(move, Move) or await store.apply(change_of(saga, move, source, told)) == 1:
            return move


class Sagas(Generic[I]):
    """The sagas of one name. Made by `Bus.sagas`. Works without their declaration, but for `start`.

    A call that gets no answer is repeated as long as the outage policy says, then raises BrokerUnavailable. `Spool`
    does not hold sagas, so it is as `Wait` with its 30 s. Repeating never starts a saga twice.
    """

    def __init__(
        self, broker: Broker, source: str, name: str, patience: Patience, notices: Notices, closed: Callable[[], bool]
    ) -> None:
        self.name = valid_name(name, "saga")
        self._where = f"sagas {name!r} at {broker.where}, namespace {broker.keys.namespace}"
        self._store = SagaStore(broker, saga_stream(name), GROUP)
        self._source = source
        self._patience = patience
        self._notices = notices
        self._closed = closed

    async def start(self, saga: Saga[I], input: I, key: str | None = None) -> str:
        """See `Bus.start`."""
        if not isinstance(saga, Saga):
            raise InvalidArgument("start", f"{shown(saga)} is not a saga; give what App.saga returned")
        written = saga.write_input(input)
        if key is not None and not _is_key(key):
            problem = f"key={shown(key)[:200]}; use 1 to 200 printable ASCII characters, no space, quote or \\"
            raise InvalidArgument(f"saga {self.name!r}", problem)
        saga_id = key or str(uuid4())
        tracer = tracing.active
        with nullcontext() if tracer is None else tracer.writing(saga_stream(self.name), 1, tracing.NONE) as sending:
            change = start_of(
                *(saga_id, self._source, saga.version, saga_policy.started(saga.plan), written),
                timeout_s=saga.timeout_s,
                keep_s=saga.keep_s,
            )
            await self._answer(lambda: self._store.apply(change))  # -1: another start with this key came first
        if sending is not None:
            sending.end()
        return saga_id

    # Looking

    async def check(self) -> None:
        """Make sure that the name is right: that of no saga looks as if none was started.

        Raises:
            MissingSaga: none is there, and no worker has run.
        """
        if not (await self._answer(self._store.exists)).value:
            raise MissingSaga(self._where, "no saga of this name was started, and no worker has run")

    async def get(self, id: str) -> SagaRecord:
        """How a saga stands.

        Raises:
            MissingSaga: it was never started, or it has ended and is no longer kept.
        """
        return (await self._load(id)).record(self.name)

    async def list(self, *, status: SagaStatus | None = None, count: int = 100, first: int = 0) -> Records:
        """Up to `count` sagas of a status, or of each, from number `first` on. Those that got it first come first."""
        if status is not None and status not in get_args(SagaStatus):
            raise InvalidArgument("status", f"{shown(status)}; it is one of {', '.join(get_args(SagaStatus))}")
        records = Records()
        for each in get_args(SagaStatus) if status is None else (status,):
            for id_ in await self._ids(each, first, count):
                fields = (await self._answer(partial(self._store.load, id_))).value
                if fields and (record := StoredSaga.of(fields).record(self.name)).status == each:
                    records.append(record)  # else it has gone, or got another status meanwhile
        return records

    async def _ids(self, status: SagaStatus, first: int, count: int) -> Ids:
        return (await self._answer(lambda: self._store.ids(status, first, count))).value

    async def history(self, id: str) -> Notes:
        """What happened to a saga, oldest first; the last two hundred things.

        Raises:
            MissingSaga: as `get`.
        """
        await self._load(id)
        return [note_of(line) for line in (await self._answer(lambda: self._store.history(id))).value]

    async def wait(self, id: str, *, timeout_s: float) -> SagaRecord:
        """Wait until a saga has ended or is parked.

        Raises:
            WaitTimeout: it was not, within `timeout_s` seconds.
            MissingSaga: as `get`.
        """
        if not is_number(timeout_s) or math.isnan(timeout_s):
            raise InvalidArgument("wait", f"timeout_s={shown(timeout_s)}; it must be seconds")
        record = await self.get(id)

        async def rests() -> bool:
            nonlocal record
            record = await self.get(id)
            return record.status in RESTING

        if record.status not in RESTING:
            try:
                async with asyncio.timeout(timeout_s if timeout_s < math.inf else None) as limit:
                    await self._notices.wait_until(rests, id)
            except TimeoutError:
                if not limit.expired():
                    raise
                raise WaitTimeout(f"saga {id} of {self.name!r} is still {record.status}", timeout_s) from None
        return record

    # Acting

    async def cancel(self, id: str, *, why: str = "cancelled") -> SagaRecord:
        """Have a saga compensate. A step that runs may end first. Returns how the saga stands now.

        One that has ended or is compensating already stays as it is.

        Raises:
            MissingSaga: as `get`.
        """
        told = storable(why[:WHY_LENGTH_MAX]) or "cancelled"
        return await self._decide(id, lambda state: saga_policy.cancelled(state, told))

    async def retry(self, id: str) -> SagaRecord:
        """Have a parked saga go on where it stopped, with a new count of attempts.

        Raises:
            InvalidArgument: it is not parked, or stopped at a step that has no undo.
            MissingSaga: as `get`.
        """
        return await self._decide(id, saga_policy.retried)

    async def resolve(self, id: str, *, as_: Resolution) -> SagaRecord:
        """Say what became of a parked saga.

        "completed" and "compensated" end it as it stands. "done" and "undone" are about the step where it stopped: it
        goes on behind the step, or compensates the steps before it.

        Raises:
            InvalidArgument: it is not parked, or this cannot be said of where it stopped.
            MissingSaga: as `get`.
        """
        if as_ not in get_args(Resolution):
            raise InvalidArgument(f"saga {id}", f"as_={shown(as_)}; it is one of {', '.join(get_args(Resolution))}")
        return await self._decide(id, lambda state: saga_policy.resolved(state, as_))

    async def _decide(self, id: str, decide: Decide) -> SagaRecord:
        answer = await self._answer(lambda: decide_and_store(self._store, id, decide, self._source))
        if isinstance(answer.value, str) and not answer.repeated:  # an earlier try may have done it
            raise InvalidArgument(f"saga {id} of {self.name!r}", answer.value)
        return await self.get(id)

    async def _load(self, id: str) -> StoredSaga:
        fields = (await self._answer(lambda: self._store.load(id))).value
        if fields is None:
            raise MissingSaga(self._where, f"no saga {id}; it was never started, or it has ended and is no longer kept")
        return StoredSaga.of(fields)

    async def _answer(self, call: Callable[[], Awaitable[T]]) -> Answer[T]:
        if self._closed():
            raise BusClosed
        return await self._patience.answer(call)


def _is_key(key: object) -> bool:
    return isinstance(key, str) and _KEY.fullmatch(key) is not None
