"""Bringing the server up to what an App declares: new and changed schedules, and those that it declares no more."""

import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence

from eventlib.broker.schedules import ScheduleCommands, StoredSchedule
from eventlib.declare.schedules import DeclaredSchedule
from eventlib.errors import DecodeError, ScheduleExists
from eventlib.schedules.deciding import Expected, halted, settle
from eventlib.schedules.spec import Spec, spec_of, spec_text

Work = Callable[[str], Awaitable[float | None]]

ORPHANS = ""  # no schedule has this name


class Declaring:
    """What one program does about the schedules that its App declares for one queue, when it starts."""

    def __init__(
        self,
        commands: ScheduleCommands,
        app: str,
        declared: Sequence[DeclaredSchedule],
        now_s: Callable[[], float],
        expected: Expected,
    ) -> None:
        self._commands = commands
        self._app = app
        self._now_s = now_s
        self._expected = expected
        self._declared = {each.name: each for each in declared}

    def works(self) -> Iterator[tuple[str, Work]]:
        """What there is to do, for each name. Each may be repeated."""
        for name in self._declared:
            yield name, self._declare
        yield ORPHANS, self._orphan

    async def _declare(self, name: str) -> float | None:
        """Add the schedule, or change it: what was due before is decided about by the rule that it had."""
        declared = self._declared[name]
        rule = declared.rule
        spec = Spec.of(declared.call, rule, self._app, declared_by=self._app)
        text, revision = spec_text(spec), secrets.token_hex(8)
        while True:
            stored, before = await self._settled(name)
            next_s = rule.slots.after(self._now_s())
            if stored is None:
                done = await self._commands.put(name, "", revision, text, next_s)
            elif stored.spec == text:
                next_s, orphaned = stored.next_s, halted(stored) == "orphaned"
                done = not orphaned or await self._commands.halt(name, revision, "orphaned", on=False) is True
            elif before is not None and before.declared_by != self._app:
                raise ScheduleExists(name, before.declared_by or "")
            else:
                keep = before is not None and before.rule.slots == rule.slots
                next_s = stored.next_s if keep else next_s
                done = await self._commands.put(
                    *(name, stored.revision, revision, text, next_s), keep=keep, drop=before is None
                )
            if done:
                return next_s

    async def _settled(self, name: str) -> tuple[StoredSchedule | None, Spec | None]:
        """The schedule when no slot is due, and its spec. A spec that cannot be read is None: it is overwritten."""
        try:
            stored = await settle(self._commands, name, self._now_s, self._expected)
            return stored, None if stored is None else spec_of(stored.spec)
        except DecodeError:
            return await self._commands.read(name), None

    async def _orphan(self, _: str) -> float | None:
        """Let schedules that the App declared before, and declares no more, run nothing."""
        for name in await self._commands.names():
            if name in self._declared or (stored := await self._commands.read(name)) is None:
                continue
            try:
                declared_by = spec_of(stored.spec).declared_by
            except DecodeError:
                continue
            if declared_by == self._app and "orphaned" not in stored.fields:
                await self._commands.halt(name, secrets.token_hex(8), "orphaned", on=True)
        return None
