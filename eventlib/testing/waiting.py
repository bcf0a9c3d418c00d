"""Wait for what must become true, never for a fixed time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(condition: Callable[[], Awaitable[T]], timeout_s: float = ...) -> T: ...
@overload
async def eventually(condition: Callable[[], T], timeout_s: float = ...) -> T: ...


async def eventually(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Poll until `condition()`, or what it awaits, is true; returns it. Fails after `timeout_s` seconds."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        seen = condition()
        value = await seen if inspect.isawaitable(seen) else seen
        if value:
            return value
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not true after {timeout_s} s: {_source(condition)} gave {value!r}")
        await asyncio.sleep(0.005)


def _source(condition: Callable[[], object]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except OSError:
        return repr(condition)
