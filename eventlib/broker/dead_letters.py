"""The commands on one group's dead-letter queue."""

from collections.abc import Mapping, Sequence

from eventlib.broker import scripts
from eventlib.broker.connections import Broker
from eventlib.broker.keys import ATTEMPTS, ORIGIN, RAW_PREFIX, GroupKeys
from eventlib.dead_letter import DeadLetter
from eventlib.records import DeadLetterQueueState

_PAGE_BYTES = 4_000_000


class DeadLetterCommands:
    """The commands of an operator on one dead-letter queue."""

    def __init__(self, broker: Broker, group: GroupKeys) -> None:
        self._broker = broker
        self._group = group

    async def state(self) -> DeadLetterQueueState:
        """The state of the queue."""
        at = (self._group.dead_letters, self._group.stream)
        now_ms, length, first, last, groups = await self._broker.run(scripts.DEAD_LETTER_QUEUE, at)
        names = [name.decode(errors="replace") for name in groups]
        return DeadLetterQueueState(int(now_ms), length, first.decode(), last.decode(), names)

    async def read(self, first: str, last: str, count: int) -> list[DeadLetter]:
        """Up to `count` dead letters, oldest first. Fewer if they are large, and none at the end."""
        at = (self._group.dead_letters, self._group.edits)
        rows = await self._broker.run(scripts.DEAD_LETTERS, at, first, last, count, _PAGE_BYTES, bulk=True)
        return [
            _dead_letter(id_.decode(), dict(zip(fields[::2], fields[1::2], strict=True)), edit)
            for id_, fields, edit in rows
        ]

    async def edit(self, id_: str, event: bytes) -> bool:
        """Keep an edited event beside a dead letter. False if the dead letter is gone."""
        at = (self._group.dead_letters, self._group.edits)
        return bool(await self._broker.run(scripts.EDIT, at, id_, event, bulk=True, size_bytes=len(event)))

    async def replay(self, ids: Sequence[str], *, keep_attempts: bool) -> list[str]:
        """Move dead letters to the retry stream. Returns the ids of those that moved in this call."""
        at = (self._group.dead_letters, self._group.edits, self._group.retry)
        return [id_.decode() for id_ in await self._broker.run(scripts.REPLAY, at, int(keep_attempts), *ids)]

    async def purge(self, ids: Sequence[str]) -> list[str]:
        """Delete dead letters. Returns the ids of those that were there."""
        at = (self._group.dead_letters, self._group.edits)
        return [id_.decode() for id_ in await self._broker.run(scripts.PURGE, at, *ids)]


def _dead_letter(id_: str, fields: Mapping[bytes, bytes], edit: bytes) -> DeadLetter:
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="backslashreplace")

    edited_ms, _, edited = edit.partition(b" ")
    return DeadLetter(
        id=id_,
        origin=text(ORIGIN),
        reason=text(b"reason"),
        error=text(b"error"),
        traceback=text(b"traceback"),
        attempts=_whole(fields.get(ATTEMPTS, b"")),
        handler=text(b"handler"),
        consumer=text(b"consumer"),
        failed_at_s=_seconds(fields.get(b"failed", b"")),
        replays=_whole(fields.get(b"replays", b"")),
        raw={k.removeprefix(RAW_PREFIX): v for k, v in fields.items() if k.startswith(RAW_PREFIX)},
        edited=edited if edit else None,
        edited_at_s=_seconds(edited_ms or fields.get(b"edited", b"")),
    )


def _whole(written: bytes) -> int:
    return int(written) if written.isdigit() and len(written) < 20 else 0


def _seconds(written_ms: bytes) -> float | None:
    return _whole(written_ms) / 1000.0 if written_ms else None
