"""Waits for what must become true, never for a fixed time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

_POLL_S = 0.005


@overload
async def eventually(condition: Callable[[], Awaitable[T]], timeout_s: float = ...) -> T: ...
@overload
async def eventually(condition: Callable[[], T], timeout_s: float = ...) -> T: ...


async def eventually(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Call `condition` every few milliseconds until its result is true, and return that; an awaitable is awaited.

    Raises:
        AssertionError: it was not true within `timeout_s` seconds. The message has the condition's source.
    """
    give_up_at = time.monotonic() + timeout_s
    while True:
        result = condition()
        value = await result if inspect.isawaitable(result) else result
        if value:
            return value
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not true after {timeout_s} s: {_source(condition)} gave {value!r}")
        await asyncio.sleep(_POLL_S)


def _source(condition: Callable[[], object]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):  # written in no file, or no function
        return repr(condition)
