"""Work that a cancellation must not leave half done."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def finished(work: Awaitable[T]) -> T:
    """Await work, and if cancelled meanwhile, raise only when it has ended. Then what it raised itself is dropped."""
    under_way = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(under_way)
    except asyncio.CancelledError:
        await asyncio.wait({under_way})
        if not under_way.cancelled():
            under_way.exception()  # retrieved, so that the event loop does not report it
        raise
