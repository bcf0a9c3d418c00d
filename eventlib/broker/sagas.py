"""The commands on sagas: load one, begin an act, store a move with all that follows from it, list them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast, get_args

from eventlib.broker import scripts
from eventlib.broker.connections import Broker, milliseconds
from eventlib.broker.keys import GroupKeys
from eventlib.broker.notices import Watch
from eventlib.broker.pipelined import Argument
from eventlib.records import Entry
from eventlib.saga_policy import ENDED, RESTING, SagaStatus


@dataclass(frozen=True, slots=True)
class Change:
    """A move of one saga, ready to be stored: see `saga_apply.lua`.

    `token` is new for each move and the same for each try to store it.
    """

    saga_id: str
    token: str
    revision: int  # that the move was decided on; 0: the saga must not exist
    before: str  # its status
    after: str
    fields: Mapping[str, str | bytes]
    history: Sequence[bytes] = ()
    messages: Sequence[bytes] = ()
    keep_s: float | None = None  # for how long the saga is kept, if it has ended
    alarm: tuple[float, bytes] | None = None  # in how many seconds it times out, and the message about that


class SagaStore:
    """The sagas of one name. Their messages are entries of `group`, on a stream of their own."""

    def __init__(self, broker: Broker, stream: str, group: str) -> None:
        self._broker = broker
        self._stream = stream
        self._group: GroupKeys = broker.keys.group(stream, group)

    async def exists(self) -> bool:
        """Whether a saga is there, or a worker has run."""
        lists = (self._broker.keys.sagas(self._stream, status) for status in get_args(SagaStatus))
        return cast(int, await self._broker.ask("EXISTS", self._group.retry, *lists)) > 0

    async def load(self, saga_id: str) -> dict[str, bytes] | None:
        """The fields of a saga. None if there is none of this id, or no longer."""
        flat = await self._broker.ask("HGETALL", self._broker.keys.saga(self._stream, saga_id))
        return _fields(flat) or None

    async def history(self, saga_id: str) -> list[bytes]:
        """What happened to a saga, oldest first: a time in ms, a space and a JSON object."""
        key = self._broker.keys.saga_history(self._stream, saga_id)
        return cast(list[bytes], await self._broker.ask("LRANGE", key, 0, -1))

    async def ids(self, status: str, first: int, count: int) -> list[str]:
        """The ids of sagas of one status: `count` of them, from number `first` on, the oldest first."""
        key = self._broker.keys.sagas(self._stream, status)
        return [id_.decode() for id_ in await self._broker.ask("ZRANGE", key, first, first + count - 1)]

    def watch(self) -> Watch:
        """A watch on the ids of sagas that end or are parked."""
        return Watch(self._broker, self._broker.keys.saga_notices(self._stream), b"ids")

    async def begin(self, saga_id: str, consumer: str, entry: Entry, mark: str, seq: int) -> dict[str, bytes] | None:
        """Begin act number `seq` with the worker's `mark`. The fields of the saga; none if it is gone.

        None if the message about the act belongs to another worker.
        """
        at = (self._source(entry), self._broker.keys.saga(self._stream, saga_id))
        reply = await self._broker.run(scripts.SAGA_BEGIN, at, self._group.group, consumer, entry.id, mark, seq)
        return None if reply == 0 else _fields(reply)

    async def apply(
        self, change: Change, *, consumer: str = "", entry: Entry | None = None, settle: bool = True
    ) -> int:
        """Store a move. With the `entry` that caused it, only if `consumer` owns it; it is settled, unless told.

        Returns 1 if the move is stored, 0 if the entry belongs to another worker, -1 if the saga has changed meanwhile.
        """
        keys, group = self._broker.keys, self._group
        at = (
            *(group.retry if entry is None else self._source(entry), group.retry, group.delayed, group.sweep),
            *(keys.saga(self._stream, change.saga_id), keys.saga_history(self._stream, change.saga_id)),
            *(keys.sagas(self._stream, change.before), keys.sagas(self._stream, change.after)),
            *(keys.saga_notices(self._stream), *(keys.sagas(self._stream, status) for status in sorted(ENDED))),
        )
        args: list[Argument] = [group.group, consumer, "" if entry is None else entry.id, int(settle)]
        args += [change.token, change.revision, change.saga_id]
        args += ["" if change.keep_s is None else milliseconds(change.keep_s)]
        args += ["", ""] if change.alarm is None else [milliseconds(change.alarm[0]), change.alarm[1]]
        args += [int(change.after in RESTING and change.after != change.before)]
        args += [2 * len(change.fields), *(part for field in change.fields.items() for part in field)]
        args += [len(change.history), *change.history, *change.messages]
        size_bytes = sum(map(len, change.messages)) + sum(map(len, change.fields.values()))
        return cast(int, await self._broker.run(scripts.SAGA_APPLY, at, *args, bulk=True, size_bytes=size_bytes))

    def _source(self, entry: Entry) -> str:
        return self._group.retry if entry.retried else self._group.stream


def _fields(flat: Sequence[bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
