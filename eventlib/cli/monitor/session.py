"""One sitting at the monitor: it looks at the server again and again, and does what keys ask for."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeVar

import eventlib as ev
from eventlib.broker.keys import own_key
from eventlib.broker.surveying import Surveyor
from eventlib.cli.monitor.screen import State
from eventlib.cli.terminal import one_line
from eventlib.errors import EventlibError
from eventlib.operate.trends import Row, Trends, View

T = TypeVar("T")
Letters = tuple[ev.DeadLetter, ...]
Asked = Callable[[], Awaitable[None]]

_LETTERS_MAX = 500
_BACK = {"group": "groups", "letters": "groups", "letter": "letters"}
_CONNECT_S = 5.0


class Session:
    """What is shown changes in `state`; `changed` is called after each change. It ends when `q` is pressed."""

    def __init__(
        self, url: str, surveyor: Surveyor, trends: Trends, every_s: float, changed: Callable[[], None]
    ) -> None:
        self.state = State(surveyor.where)
        self._url = url
        self._surveyor = surveyor
        self._trends = trends
        self._every_s = every_s
        self._changed = changed
        self._seen_at_s = time.monotonic()
        self._asks: Asked | None = None  # what `y` would do
        self._letters_of: Row | None = None  # another row may be chosen since, where this one has gone
        self._buses = AsyncExitStack()
        self._bus: dict[str, ev.Bus] = {}

    async def run(self, keys: "asyncio.Queue[str]") -> None:
        """Look and obey until `q`."""
        looking = asyncio.create_task(self._keep_looking())
        obeying = asyncio.create_task(self._keep_obeying(keys))
        try:
            ended, _ = await asyncio.wait({looking, obeying}, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()  # a screen that stands still after a defect of ours would look like a quiet server
        finally:
            looking.cancel()
            obeying.cancel()
            await asyncio.wait({looking, obeying})
            await self._buses.aclose()

    async def _keep_obeying(self, keys: "asyncio.Queue[str]") -> None:
        while (key := await keys.get()) != "q":
            await self._obey(key)
            self._changed()

    async def _keep_looking(self) -> None:
        """Every failure is shown, and tried again: Redis may restart, and a permission may be given."""
        while True:
            begun_s = time.monotonic()
            try:
                seen = await self._surveyor.survey()
                self._take_in(self._trends.note(time.monotonic(), seen))
                self._seen_at_s, self.state.problem = time.monotonic(), None
            except EventlibError as error:
                self.state.problem = getattr(error, "problem", str(error))
            self.state.silent_s = time.monotonic() - self._seen_at_s
            self._changed()
            await asyncio.sleep(max(0.1, self._every_s - (time.monotonic() - begun_s)))

    def _take_in(self, view: View) -> None:
        """Rows may have moved: the same group stays chosen."""
        state, before = self.state, self.state.row
        state.view = view
        for number, row in enumerate(view.rows):
            if before is not None and (row.stream, row.group) == (before.stream, before.group):
                state.chosen = number

    async def _obey(self, key: str) -> None:
        state, asked, self._asks = self.state, self._asks, None
        state.note = ""
        match state.page, key:
            case (_, "up" | "down" | "page up" | "page down"):
                self._move({"up": -1, "down": 1, "page up": -10, "page down": 10}[key])
            case ("groups", "enter") if state.row is not None and state.row.group:
                state.page = "group"
            case ("groups" | "group", "d") if state.row is not None:
                await self._open_letters(state.row)
            case ("letters", "enter") if state.dead_letter is not None:
                state.page = "letter"
            case ("groups" | "group", "p") if state.row is not None and state.row.group:
                row, act = state.row, "Let it go on" if state.row.paused else "Pause it: let its consumers read nothing"
                state.note, self._asks = (
                    f"{one_line(row.name)} {one_line(row.group)}: {act}? y/n",
                    partial(self._turn, row),
                )
            case ("letters" | "letter", "r") if state.dead_letter is not None and self._letters_of is not None:
                state.note, self._asks = (
                    "Deliver it once more, to its group alone? y/n",
                    partial(self._replay, self._letters_of),
                )
            case (_, "y") if asked is not None:
                await asked()
            case (_, "escape") if state.page in _BACK:
                state.page = _BACK[state.page]

    def _move(self, by: int) -> None:
        state = self.state
        if state.page == "groups" and state.view is not None:
            state.chosen = max(0, min(len(state.view.rows) - 1, state.chosen + by))
        elif state.page in ("letters", "letter"):
            state.letter = max(0, min(len(state.letters) - 1, state.letter + by))

    async def _open_letters(self, row: Row) -> None:
        if (letters := await self._told(self._letters(row))) is not None:
            self.state.letters, self.state.letter, self.state.page = letters, 0, "letters"
            self._letters_of = row

    async def _replay(self, row: Row) -> None:
        dead = self.state.dead_letter
        if dead is None:
            return

        async def replay() -> Letters:
            outcome = await (await self._queue(row)).replay(ev.Selection(ids=[dead.id]))
            told = outcome.obstacles.get(dead.id) or ("it is gone" if outcome.gone else "")
            self.state.note = f"It stays: {told}" if told else f"{dead.id} was given back to {row.group}."
            return await self._letters(row)

        if (letters := await self._told(replay())) is not None:
            self.state.letters, self.state.page = letters, "letters"

    async def _turn(self, row: Row) -> None:
        """Pause a group, or let it go on, whichever it was when it was asked about."""

        async def turn() -> None:
            bus, stream = await self._bus_of(row)
            await (bus.resume if row.paused else bus.pause)(row.group, stream=stream, reason="workbench monitor")
            self.state.note = (
                "It goes on within a second." if row.paused else "Its consumers read nothing within two seconds."
            )

        await self._told(turn())

    async def _told(self, work: Awaitable[T]) -> T | None:
        """What it results in; None where that failed, and the note says why."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                return await work
        except TimeoutError:
            self.state.note = "Redis does not answer."
        except EventlibError as error:
            self.state.note = str(error)
        return None

    async def _letters(self, row: Row) -> Letters:
        return tuple(await (await self._queue(row)).find(count=_LETTERS_MAX))

    async def _queue(self, row: Row) -> ev.DeadLetters:
        bus, stream = await self._bus_of(row)
        return bus.dead_letters(stream, row.group)

    async def _bus_of(self, row: Row) -> tuple[ev.Bus, str]:
        """A bus for the namespace of a row's stream, and what the bus calls the stream."""
        own = own_key(row.stream)
        if own is None:
            problem = "is a stream of another library: its dead letters are not known, and its groups cannot be paused"
            raise ev.InvalidArgument(row.stream, problem)
        if own.namespace not in self._bus:
            connecting = ev.connect(ev.App("workbench"), self._url, namespace=own.namespace)
            self._bus[own.namespace] = await self._buses.enter_async_context(connecting)
        return self._bus[own.namespace], own.stream
