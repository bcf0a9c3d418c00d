"""Clients of redis-py for the URLs of this library."""

import redis.asyncio as redis

from eventlib.broker.passwords import password_from_file


def client_of(url: str) -> redis.Redis:
    """A client that does not go through the library. The URL may name a file with the password."""
    plain, password = password_from_file(url)
    return redis.Redis.from_url(plain, credential_provider=password)
