"""Evidence that the work was done: every event was handled once, as its own class, and no entry is pending."""

import asyncio
import time

import redis.asyncio as redis

from benchmarks.payload import FileUploaded, number

_STILL_S = 30.0  # far longer than any consumer takes for its next event, or for the last acknowledgement


class NotDone(Exception):
    """A side did not do the work that is measured, so it has no speed."""


class Tally:
    """Which of the first `count` events were handled, and how often."""

    def __init__(self, count: int) -> None:
        self.handled = 0
        self._count = count
        self._times = bytearray(count)
        self._last: object = None
        self._all = asyncio.Event()

    def saw(self, event: FileUploaded) -> None:
        """Note an event. Every handler of every side does this and nothing else."""
        self._times[number(event)] += 1
        self.handled += 1
        if self.handled == self._count:
            self._last = event
            self._all.set()

    def saw_number(self, index: int) -> None:
        """The same for a task whose only argument is the number."""
        self._times[index] += 1
        self.handled += 1
        if self.handled == self._count:
            self._all.set()

    async def all_once(self) -> None:
        """Wait until all numbers were seen.

        Raises:
            NotDone: one is missing, or was seen twice.
        """
        await self._all_handled()
        if missing := self._times.count(0):
            raise NotDone(f"{missing} of {self._count} tasks were not handled, others more than once")

    async def complete(self, client: redis.Redis, stream: str, group: str) -> None:
        """Wait until all events were handled and none is pending.

        Raises:
            NotDone: an event is missing, was handled twice, is not of the event class, or is never acknowledged.
        """
        await self._all_handled()
        give_up_at = time.monotonic() + _STILL_S
        while pending := (await client.xpending(stream, group))["pending"]:
            if time.monotonic() > give_up_at:
                raise NotDone(f"{pending} of {self._count} events are still pending")
            await asyncio.sleep(0.001)
        if missing := self._times.count(0):
            raise NotDone(f"{missing} of {self._count} events were not handled, others more than once")
        if not isinstance(self._last, FileUploaded):
            raise NotDone(f"the handler was given a {type(self._last).__name__}, so it was not validated")

    async def _all_handled(self) -> None:
        before = -1
        while before < self.handled:
            before = self.handled
            try:
                async with asyncio.timeout(_STILL_S):
                    await self._all.wait()
                    return
            except TimeoutError:
                pass
        raise NotDone(f"it stood still for {_STILL_S:.0f} s with {self.handled} of {self._count} events handled")
