"""The dead-letter queue of a group: the entries that the group gave up, and what an operator may do about them.

A dead letter keeps its entry byte for byte. An edit is kept beside it. A replay moves the dead letter to its group's
retry stream, so that no other group sees it; a repeated replay moves it once. The queue is never trimmed, because its
entries were acknowledged and never handled.
"""

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic_core import to_json

from eventlib.broker.connections import Broker
from eventlib.broker.dead_letters import DeadLetterCommands
from eventlib.dead_letter import DeadLetter, json_of, obstacle_to
from eventlib.declare.app import App
from eventlib.errors import (
    DecodeError,
    InvalidArgument,
    MissingDeadLetter,
    MissingGroup,
)
from eventlib.events.envelope import decode
from eventlib.events.schema import spec_of, valid_name
from eventlib.operate.selection import ALL, Selection, id_parts, valid_id
from eventlib.patience import Patience
from eventlib.reconnect import Answer
from eventlib.records import DeadLetterQueueState, queue_stream

T = TypeVar("T")
Move = Callable[[Sequence[str]], Awaitable[list[str]]]  # ids of dead letters -> ids of those that moved

LIMIT = 10_000  # dead letters that one replay or purge takes, unless told otherwise
_PAGE = 100
_USED_UP = ("exhausted", "poison")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a replay or purge did; after a dry run, what it would do."""

    ids: Sequence[str]  # of the dead letters that were replayed or purged
    obstacles: Mapping[str, str] = field(default_factory=dict)  # by id: why the dead letter stays
    gone: Sequence[str] = ()  # no longer there: replayed or purged by another call
    more: bool = False  # the limit was reached: call again


class DeadLetters:
    """The dead-letter queue of one group on one stream. Made by `Bus.dead_letters`.

    Every call may be repeated. A call that gets no answer is repeated for 30 s, then raises BrokerUnavailable: what was
    moved or deleted until then stays so.
    """

    def __init__(self, broker: Broker, app: App, patience: Patience, stream: str, group: str) -> None:
        self._patience = patience
        self._place = f"{broker.where}, namespace {broker.keys.namespace}"
        self._stream = valid_name(stream, "stream")
        self._group = valid_name(group, "group")
        self._commands = DeadLetterCommands(broker, broker.keys.group(stream, group))
        own_group_last = sorted(app.subscriptions, key=lambda s: s.group == group)  # so that its classes count
        self._classes = {spec_of(s.event_class).type: s.event_class for s in own_group_last}
        self._classes |= {
            task.name: task.event_class for task in app.tasks.values() if stream == queue_stream(task.queue)
        }
        self._rng = random.Random()

    # Looking

    async def check(self) -> None:
        """Make sure that the names are right: the queue of a misspelt group looks empty.

        Raises:
            MissingGroup: the stream has no such group, and there is no such queue.
        """
        state = await self._state()
        if self._group in state.groups or state.length:
            return
        groups = f"its groups are {', '.join(sorted(state.groups))}" if state.groups else "the stream has no groups"
        raise MissingGroup(self._place, f"no group {self._group!r} on stream {self._stream!r}; {groups}")

    async def size(self) -> int:
        """How many dead letters the queue holds."""
        return (await self._state()).length

    async def oldest_age_s(self) -> float | None:
        """How long ago the oldest dead letter died, in seconds; None if the queue is empty."""
        state = await self._state()
        return (state.now_ms - id_parts(state.first)[0]) / 1000.0 if state.first else None

    async def find(self, which: Selection = ALL, *, after: str | None = None, count: int = 100) -> list[DeadLetter]:
        """Up to `count` dead letters, oldest first. For the next page, `after` is the id of the last one."""
        found: list[DeadLetter] = []
        async for page in self._pages(which, after and valid_id(after)):
            found += page
            if len(found) >= count:
                break
        return found[:count]

    async def get(self, id_: str) -> DeadLetter:
        """The dead letter of this id.

        Raises:
            MissingDeadLetter: it is not there, or no longer.
        """
        for dead_letter in await self._read(valid_id(id_), id_):
            return dead_letter
        raise self._missing(id_)

    async def count(self, which: Selection = ALL) -> Counter[str]:
        """How many dead letters of each reason."""
        reasons: Counter[str] = Counter()
        async for page in self._pages(which):
            reasons.update(dead_letter.reason for dead_letter in page)
        return reasons

    # Repairing

    async def edit(
        self, id_: str, *, data: Mapping[str, Any] | None = None, event: bytes | None = None, force: bool = False
    ) -> DeadLetter:
        """Let a replay deliver the event with other `data`, or another `event`. Returns the dead letter.

        The dead letter's own bytes stay as they are. An event that cannot be read, or that the App's class for its type
        refuses, is only kept with `force`.

        Raises:
            MissingDeadLetter: it is not there, or no longer.
            DataError: the event could not be handled, or `data` was given for an event that is not a JSON object.
        """
        if (data is None) == (event is None):
            raise InvalidArgument("edit", "give either data= or event=")
        dead_letter = await self.get(id_)
        new = event if event is not None else _with_data(dead_letter, data)
        if not force:
            self._validate(new)
        if not (await self._answer(lambda: self._commands.edit(id_, new))).value:
            raise self._missing(id_)
        return await self.get(id_)

    async def replay(
        self, which: Selection, *, keep_attempts: bool = False, limit: int = LIMIT, dry_run: bool = False
    ) -> Outcome:
        """Deliver dead letters once more, to this group alone. The count of attempts begins again.

        With `keep_attempts` the count continues, and a dead letter whose attempts are used up stays. The oldest `limit`
        dead letters that can be read are taken. An event that fails again becomes a new dead letter, which says how
        often it was replayed. It is not replayed within the same call.
        """

        def move(ids: Sequence[str]) -> Awaitable[list[str]]:
            return self._commands.replay(ids, keep_attempts=keep_attempts)

        return await self._act(
            which, limit, None if dry_run else move, lambda dead_letter: _why_it_stays(dead_letter, keep_attempts)
        )

    async def purge(self, which: Selection, *, limit: int = LIMIT, dry_run: bool = False) -> Outcome:
        """Delete the oldest `limit` dead letters for good, with their edits."""
        return await self._act(which, limit, None if dry_run else self._commands.purge, lambda _: None)

    async def _act(
        self, which: Selection, limit: int, move: Move | None, obstacle_of: Callable[[DeadLetter], str | None]
    ) -> Outcome:
        ids: list[str] = []
        gone: list[str] = []
        obstacles: dict[str, str] = {}
        more = False
        async for page in self._pages(which):
            stay = {each.id: obstacle for each in page if (obstacle := obstacle_of(each))}
            able = [each.id for each in page if each.id not in stay]
            chosen = able[: max(0, limit - len(ids))]
            moved = await self._moved(move, chosen) if move and chosen else chosen
            ids += moved
            gone += set(chosen) - set(moved)
            obstacles |= stay
            if more := len(able) > len(chosen):
                break
        if not more:
            for id_ in set(which.ids or ()) - {*ids, *obstacles, *gone}:
                gone += [] if await self._read(id_, id_) else [id_]
        return Outcome(ids, obstacles, sorted(gone, key=id_parts), more)

    async def _moved(self, move: Move, ids: Sequence[str]) -> Sequence[str]:
        """The ids that moved. After a lost reply, the first try may have moved them: those that are gone count too."""
        answer = await self._answer(lambda: move(ids))
        return ids if answer.repeated else answer.value

    # Asking

    async def _pages(self, which: Selection, after: str | None = None) -> AsyncIterator[list[DeadLetter]]:
        """The dead letters that fit and are there now, a page at a time. Later ones are left for the next call."""
        state = await self._state()
        bounds = which.bounds(state.now_ms, state.last, after) if state.last else None
        if bounds is None:
            return
        start, end = bounds
        if which.ids is not None:
            for id_ in sorted(set(which.ids), key=id_parts):
                if id_parts(start) <= id_parts(id_) <= id_parts(end):
                    yield [each for each in await self._read(id_, id_) if which.fits(each)]
            return
        while page := await self._read(start, end):
            yield [each for each in page if which.fits(each)]
            start = f"({page[-1].id}"

    async def _read(self, first: str, last: str) -> list[DeadLetter]:
        return (await self._answer(lambda: self._commands.read(first, last, _PAGE))).value

    async def _state(self) -> DeadLetterQueueState:
        return (await self._answer(self._commands.state)).value

    async def _answer(self, call: Callable[[], Awaitable[T]]) -> Answer[T]:
        """Repeat it while the server does not answer: all of these calls are safe to repeat."""
        return await self._patience.answer(call)

    def _validate(self, event: bytes) -> None:
        if obstacle := obstacle_to(event):
            raise DecodeError(obstacle)
        event_type = json_of(event)["type"]
        if event_type in self._classes:
            decode(event, {event_type: self._classes[event_type]})

    def _missing(self, id_: str) -> MissingDeadLetter:
        place = f"dead letters of {self._group} on {self._stream}"
        return MissingDeadLetter(place, f"no dead letter {id_}; it was replayed or purged, or it never existed")


def _why_it_stays(dead_letter: DeadLetter, keep_attempts: bool) -> str | None:
    """Why a replay leaves a dead letter in the queue, and what to do. None if the replay moves it."""
    if keep_attempts and dead_letter.reason in _USED_UP:
        return f"its attempts are used up ({dead_letter.attempts}); replay it without keeping them"
    return None if dead_letter.obstacle is None else f"{dead_letter.obstacle}; edit it first"


def _with_data(dead_letter: DeadLetter, data: object) -> bytes:
    envelope = json_of(dead_letter.event or b"")
    if not isinstance(envelope, dict):
        raise DecodeError(
            f"the event of dead letter {dead_letter.id} is not a JSON object; give the whole event, not data alone"
        )
    envelope.pop("data", None)
    try:
        body = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DecodeError(f"data has no JSON form: {error}") from error
    return to_json(envelope)[:-1] + (b',"data":' if envelope else b'"data":') + body + b"}"
