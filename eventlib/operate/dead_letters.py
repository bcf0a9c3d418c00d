"""The dead-letter queue of a group: what it gave up and why, and what an operator may do about it.

A letter keeps its entry byte for byte under the id it died with; an edit lies beside it. A replay moves the letter to
its group's retry stream, so that no other group sees it, and moves it once, whoever asks however often. Nobody trims
the queue: what is in it was acknowledged and never handled.
"""

import asyncio
import itertools
import json
import logging
import math
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic_core import to_json

from eventlib.app import App
from eventlib.broker import keys
from eventlib.broker.commands import Broker
from eventlib.dead_letter import DeadLetter, json_of, obstacle_to
from eventlib.errors import BrokerUnavailable, DecodeError, InvalidArgument, MissingDeadLetter, MissingGroup
from eventlib.events.envelope import decode
from eventlib.events.schema import spec_of, valid_name
from eventlib.policy import RECONNECT
from eventlib.records import DlqState

T = TypeVar("T")
log = logging.getLogger("eventlib")

LIMIT = 10_000  # letters that one replay or purge takes, unless told otherwise
_PAGE = 100
_PATIENCE_S = 30.0  # for a call that gets no answer
_ID = re.compile(r"\d{1,20}-\d{1,20}")
_SEQUENCE_MAX = 2**64 - 1
_USED_UP = ("exhausted", "poison")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters: those that fit all that is given.

    `error` is looked for in the error's type and text, `handler` in the handler's full name, whatever the case.
    `since_s` (inclusive) and `until_s` (exclusive) are Unix seconds and bound the moment of death.
    """

    ids: Collection[str] | None = None
    reason: str | None = None
    error: str | None = None
    event_type: str | None = None
    handler: str | None = None
    origin: str | None = None
    since_s: float | None = None
    until_s: float | None = None
    older_than_s: float | None = None

    def __post_init__(self) -> None:
        for id_ in self.ids or ():
            _valid_id(id_)
        for name in ("since_s", "until_s", "older_than_s"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < 1e15:
                raise InvalidArgument("selection", f"{name}={value!r}; it must be a number of seconds, zero or more")

    def fits(self, letter: DeadLetter) -> bool:
        """Whether it is one of them, its id and time of death aside."""
        return (
            self.reason in (None, letter.reason)
            and self.origin in (None, letter.origin)
            and (self.error is None or self.error.casefold() in letter.error.casefold())
            and (self.handler is None or self.handler.casefold() in letter.handler.casefold())
            and self.event_type in (None, letter.event_type)
        )

    def bounds(self, now_ms: int, last: str, after: str | None = None) -> tuple[str, str] | None:
        """The ids, both inclusive, of the first and the last letter that it can be; None: there can be none.

        In a queue that ends with id `last`, leaving out all up to `after`.
        """
        starts, ends = [(_ms(self.since_s or 0.0), 0)], [_id_parts(last)]
        if after is not None:
            ms, sequence = _id_parts(after)
            starts.append((ms, sequence + 1) if sequence < _SEQUENCE_MAX else (ms + 1, 0))
        if self.until_s is not None:
            ends.append((_ms(self.until_s) - 1, _SEQUENCE_MAX))
        if self.older_than_s is not None:
            ends.append((now_ms - _ms(self.older_than_s) - 1, _SEQUENCE_MAX))
        start, end = max(starts), min(ends)
        return None if start > end else (f"{start[0]}-{start[1]}", f"{end[0]}-{end[1]}")


ALL = Selection()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a replay or purge did; after a dry run, what it would do."""

    ids: Sequence[str]  # of the letters that were replayed or purged
    obstacles: Mapping[str, str] = field(default_factory=dict)  # by id: why the letter stays
    gone: Sequence[str] = ()  # no longer there: somebody else replayed or purged them
    more: bool = False  # the limit was reached: call again


class DeadLetters:
    """The dead-letter queue of one group on one stream. Made by `Bus.dead_letters`.

    Every call may be repeated; one that gets no answer is, for 30 s. All raise BrokerUnavailable
    where it ends without one: what was moved or deleted until then stays so.
    """

    def __init__(self, broker: Broker, app: App, stream: str, group: str) -> None:
        self._broker = broker
        self._stream = valid_name(stream, "stream")
        self._keys = broker.keys.group(stream, valid_name(group, "group"))
        mine_last = sorted(app.subscriptions, key=lambda s: s.group == group)
        self._rng = random.Random()
        self._classes = {spec_of(s.event_class).type: s.event_class for s in mine_last}

    # Looking

    async def check(self) -> None:
        """Tell an empty queue from a misspelt name.

        Raises:
            MissingGroup: the stream has no such group, and there is no such queue.
        """
        state = await self._state()
        if self._keys.group in state.groups or state.length:
            return
        known = f"its groups are {', '.join(sorted(state.groups))}" if state.groups else "the stream has no groups"
        place = f"{self._broker.where}, namespace {self._broker.keys.namespace}"
        raise MissingGroup(place, f"no group {self._keys.group!r} on stream {self._stream!r}; {known}")

    async def size(self) -> int:
        """How many letters the queue holds."""
        return (await self._state()).length

    async def oldest_age_s(self) -> float | None:
        """How long ago the oldest letter died, in seconds; None: the queue is empty."""
        state = await self._state()
        return (state.now_ms - _id_parts(state.first)[0]) / 1000.0 if state.first else None

    async def find(self, which: Selection = ALL, *, after: str | None = None, count: int = 100) -> list[DeadLetter]:
        """Up to `count` letters, oldest first, beginning `after` an id: the last one's, for the next page."""
        found: list[DeadLetter] = []
        async for page in self._pages(which, after and _valid_id(after)):
            found += page
            if len(found) >= count:
                break
        return found[:count]

    async def get(self, id_: str) -> DeadLetter:
        """The letter of this id.

        Raises:
            MissingDeadLetter: it is not there, or no longer.
        """
        for letter in await self._letters(_valid_id(id_), id_):
            return letter
        raise self._missing(id_)

    async def count(self, which: Selection = ALL) -> Counter[str]:
        """How many letters of each reason."""
        reasons: Counter[str] = Counter()
        async for page in self._pages(which):
            reasons.update(letter.reason for letter in page)
        return reasons

    # Mending

    async def edit(
        self, id_: str, *, data: Mapping[str, Any] | None = None, event: bytes | None = None, force: bool = False
    ) -> DeadLetter:
        """Have a replay deliver an event of other `data`, or another `event` altogether; returns the letter.

        The letter's own bytes stay as they are. What cannot be read, or is refused by the App's class for its type, is
        only kept with `force`.

        Raises:
            MissingDeadLetter: it is not there, or no longer.
            DataError: the event could not be handled; or `data` was given for one that is no JSON object.
        """
        if (data is None) == (event is None):
            raise InvalidArgument("edit", "give either data= or event=")
        letter = await self.get(id_)
        new = event if event is not None else _with_data(letter, data)
        if not force:
            self._validate(new)
        if not (await self._patiently(lambda: self._broker.edit(self._keys, id_, new))):
            raise self._missing(id_)
        return await self.get(id_)

    async def replay(
        self, which: Selection, *, keep_attempts: bool = False, limit: int = LIMIT, dry_run: bool = False
    ) -> Outcome:
        """Deliver letters once more, to this group alone; each counts its attempts afresh, or goes on counting.

        One whose attempts are used up has none to go on with: with `keep_attempts` it stays.
        Takes the oldest `limit` letters that can be read. What fails again becomes a new letter, which says how often
        it was replayed; it is not replayed within the same call.
        """
        return await self._act(
            which,
            limit,
            None if dry_run else lambda ids: self._broker.replay(self._keys, ids, keep_attempts=keep_attempts),
            lambda letter: _why_it_stays(letter, keep_attempts),
        )

    async def purge(self, which: Selection, *, limit: int = LIMIT, dry_run: bool = False) -> Outcome:
        """Delete the oldest `limit` letters for good, with their edits."""
        purge = None if dry_run else lambda ids: self._broker.purge(self._keys, ids)
        return await self._act(which, limit, purge, lambda _: None)

    async def _act(
        self,
        which: Selection,
        limit: int,
        move: Callable[[Sequence[str]], Awaitable[list[str]]] | None,
        obstacle_of: Callable[[DeadLetter], str | None],
    ) -> Outcome:
        ids: list[str] = []
        gone: list[str] = []
        obstacles: dict[str, str] = {}
        more = False
        async for page in self._pages(which):
            stay = {letter.id: obstacle for letter in page if (obstacle := obstacle_of(letter))}
            able = [letter.id for letter in page if letter.id not in stay]
            chosen = able[: max(0, limit - len(ids))]
            moved = await self._move(move, chosen) if move and chosen else chosen
            ids += moved
            gone += set(chosen) - set(moved)
            obstacles |= stay
            if more := len(able) > len(chosen):
                break
        if not more:
            for id_ in set(which.ids or ()) - {*ids, *obstacles, *gone}:
                gone += [] if await self._letters(id_, id_) else [id_]
        return Outcome(ids, obstacles, sorted(gone, key=_id_parts), more)

    async def _move(self, move: Callable[[Sequence[str]], Awaitable[list[str]]], ids: Sequence[str]) -> Sequence[str]:
        """The ids that moved. After a try without an answer, the next one finds its work done: what is gone counts."""
        tries = 0

        def count() -> Awaitable[list[str]]:
            nonlocal tries
            tries += 1
            return move(ids)

        moved = await self._patiently(count)
        return ids if tries > 1 else moved

    # Asking

    async def _pages(self, which: Selection, after: str | None = None) -> AsyncIterator[list[DeadLetter]]:
        """All such letters that are there now, some at a time: what dies meanwhile is for the next call."""
        state = await self._state()
        bounds = which.bounds(state.now_ms, state.last, after) if state.last else None
        if bounds is None:
            return
        start, end = bounds
        if which.ids is not None:
            for id_ in sorted(set(which.ids), key=_id_parts):
                if _id_parts(start) <= _id_parts(id_) <= _id_parts(end):
                    yield [letter for letter in await self._letters(id_, id_) if which.fits(letter)]
            return
        while page := await self._letters(start, end):
            yield [letter for letter in page if which.fits(letter)]
            start = f"({page[-1].id}"

    async def _letters(self, first: str, last: str) -> list[DeadLetter]:
        rows = await self._patiently(lambda: self._broker.letters(self._keys, first, last, _PAGE))
        return [_letter(*row) for row in rows]

    async def _state(self) -> DlqState:
        return await self._patiently(lambda: self._broker.dlq_state(self._keys))

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat for half a minute while the server does not answer. All that goes through here is safe to repeat."""
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + _PATIENCE_S
        for failures in itertools.count(1):
            try:
                return await call()
            except BrokerUnavailable:
                rest_s = give_up_at - clock()
                if rest_s <= 0.0:
                    raise
                await asyncio.sleep(min(RECONNECT.delay_s(failures, self._rng), rest_s))
        raise AssertionError("unreachable")

    def _validate(self, event: bytes) -> None:
        if obstacle := obstacle_to(event):
            raise DecodeError(obstacle)
        event_type = json_of(event)["type"]
        if event_type in self._classes:
            decode(event, {event_type: self._classes[event_type]})

    def _missing(self, id_: str) -> MissingDeadLetter:
        place = f"dead letters of {self._keys.group} on {self._stream}"
        return MissingDeadLetter(place, f"no letter {id_}; it was replayed or purged, or never was")


def _letter(id_: str, fields: Mapping[bytes, bytes], edit: bytes) -> DeadLetter:
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="backslashreplace")

    edited_ms, _, edited = edit.partition(b" ")
    edited_at_s = _seconds(edited_ms or fields.get(b"edited", b""))
    return DeadLetter(
        id=id_,
        origin=text(keys.ORIGIN),
        reason=text(b"reason"),
        error=text(b"error"),
        traceback=text(b"traceback"),
        attempts=_whole(fields.get(keys.ATTEMPTS, b"")),
        handler=text(b"handler"),
        consumer=text(b"consumer"),
        failed_at_s=_seconds(fields.get(b"failed", b"")),
        replays=_whole(fields.get(b"replays", b"")),
        raw={k.removeprefix(keys.RAW_PREFIX): v for k, v in fields.items() if k.startswith(keys.RAW_PREFIX)},
        edited=edited if edit else None,
        edited_at_s=edited_at_s,
    )


def _why_it_stays(letter: DeadLetter, keep_attempts: bool) -> str | None:
    """Why a replay leaves it, and the mend; None: it does not."""
    if keep_attempts and letter.reason in _USED_UP:
        return f"its attempts are used up ({letter.attempts}); replay it without keeping them"
    return None if letter.obstacle is None else f"{letter.obstacle}; edit it first"


def _ms(seconds: float) -> int:
    return math.ceil(round(seconds * 1000.0, 2))  # the float nearest to a whole ms may be a hair above it


def _whole(written: bytes) -> int:
    return int(written) if written.isdigit() and len(written) < 20 else 0


def _seconds(written_ms: bytes) -> float | None:
    return _whole(written_ms) / 1000.0 if written_ms else None


def _valid_id(id_: str) -> str:
    if not _ID.fullmatch(id_) or max(_id_parts(id_)) > _SEQUENCE_MAX:
        raise InvalidArgument("dead letter", f"{id_!r} is no id; take one from the list, such as 1732450000000-0")
    return id_


def _id_parts(id_: str) -> tuple[int, int]:
    ms, _, sequence = id_.partition("-")
    return int(ms), int(sequence)


def _with_data(letter: DeadLetter, data: object) -> bytes:
    head = json_of(letter.event or b"")
    if not isinstance(head, dict):
        raise DecodeError(f"that of letter {letter.id} is no JSON object; give the whole event, not data alone")
    head.pop("data", None)
    try:
        body = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DecodeError(f"data has no JSON form: {error}") from error
    return to_json(head)[:-1] + (b',"data":' if head else b'"data":') + body + b"}"
