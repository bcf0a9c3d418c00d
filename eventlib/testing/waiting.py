"""Waits for what must become true, never for a fixed time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

_POLL_S = 0.005
_POLL_S_MAX = 0.02  # a look may ask the server: what takes long is looked at less often, a twentieth of its time late


@overload
async def eventually(condition: Callable[[], Awaitable[T]], timeout_s: float = ...) -> T: ...
@overload
async def eventually(condition: Callable[[], T], timeout_s: float = ...) -> T: ...


async def eventually(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """Call `condition` every 5 to 20 ms until its result is true, and return that; an awaitable is awaited.

    Raises:
        AssertionError: it was not true within `timeout_s` seconds. The message has the condition's source.
    """
    begun_at = time.monotonic()
    while True:
        result = condition()
        value = await result if inspect.isawaitable(result) else result
        if value:
            return value
        waited_s = time.monotonic() - begun_at
        if waited_s > timeout_s:
            raise AssertionError(f"not true after {timeout_s} s: {_source(condition)} gave {value!r}")
        await asyncio.sleep(min(max(_POLL_S, waited_s / 20.0), _POLL_S_MAX))


def _source(condition: Callable[[], object]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):  # written in no file, or no function
        return repr(condition)
