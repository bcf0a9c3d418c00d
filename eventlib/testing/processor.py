"""What a server uses of its machine."""

import math
from typing import Any

import redis.asyncio as redis

from eventlib.testing.clients import client_of


async def server_cpu_s(url: str) -> float:
    """Seconds of processor time that the server at `url` has used since it began. NaN where it does not say."""
    try:
        async with client_of(url) as raw:
            found: dict[str, Any] = await raw.info("cpu")
        return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])
    except (redis.RedisError, OSError, LookupError):
        return math.nan
