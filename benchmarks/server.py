"""The server that both sides of a comparison use."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from eventlib import private_server

_CALM_S = 30.0
_SYNC_S = 1.1  # `appendfsync everysec`, plus a tenth of a second for the server's clock
_BUSY_WITH = ("lazyfree_pending_objects", "aof_pending_bio_fsync", "aof_rewrite_in_progress", "rdb_bgsave_in_progress")


@contextmanager
def serving(url: str | None) -> Iterator[str]:
    """The given URL, or that of a private server, over TCP as in production.

    The private server never rewrites its append-only file.
    """
    if url:
        yield url
        return
    with private_server(port=0) as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("auto-aof-rewrite-percentage", 0)
        yield server.url


def calm(url: str) -> bool:
    """Wait until the server has had no background work for as long as it may delay a sync.

    False if that takes over half a minute: other programs may use the server.
    """
    began_at = busy_at = time.monotonic()
    with redis.Redis.from_url(url) as client:
        while time.monotonic() < began_at + _CALM_S:
            seen = client.info("memory") | client.info("persistence")
            if any(seen.get(name) for name in _BUSY_WITH):
                busy_at = time.monotonic()
            elif time.monotonic() > busy_at + _SYNC_S:
                return True
            time.sleep(0.02)
    return False
