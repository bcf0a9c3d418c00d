"""The task that runs: what its function may ask and say."""

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar

from eventlib.delivery import Delivery
from eventlib.errors import InvalidArgument

_TEXT_LENGTH_MAX = 1000


class CurrentTask:
    """The task that runs here. Got by `current_task()`."""

    def __init__(self, name: str, delivery: Delivery, keep: Callable[[Mapping[str, object]], Awaitable[bool]]) -> None:
        self.name = name
        self.delivery = delivery
        self._keep = keep

    @property
    def id(self) -> str:
        """The task's id, the same in every attempt."""
        return self.delivery.event_id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self.delivery.attempt

    async def progress(self, fraction: float, text: str = "") -> None:
        """Say how far the task is, from 0 to 1. The server keeps the last word, for as long as the task's result.

        Raises:
            InvalidArgument: the fraction is out of its range, or the text has over 1,000 characters.
        """
        if not 0.0 <= fraction <= 1.0:
            raise InvalidArgument("progress", f"{fraction!r} is no part of the work; give a number from 0 to 1")
        if len(text) > _TEXT_LENGTH_MAX:
            raise InvalidArgument("progress", f"its text has over {_TEXT_LENGTH_MAX:,} characters")
        await self._keep({"fraction": float(fraction), "text": text})


current: ContextVar[CurrentTask | None] = ContextVar("eventlib_current_task", default=None)


def current_task() -> CurrentTask:
    """The task that runs here.

    Raises:
        InvalidArgument: none does.
    """
    task = current.get()
    if task is None:
        raise InvalidArgument("current_task()", "no task runs here; call it inside of a task's function")
    return task
