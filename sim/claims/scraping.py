"""Asking the endpoints of a program over HTTP, as a probe or a scraper does."""

import asyncio
import http.client
from urllib.parse import urlsplit


def _ask(url: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


async def status_of(url: str, path: str) -> int:
    """The HTTP status of a path."""
    return (await asyncio.to_thread(_ask, url, path))[0]


async def samples_of(url: str) -> dict[str, float]:
    """Every sample of `/metrics`, by its name with its labels as they are written."""
    _, text = await asyncio.to_thread(_ask, url, "/metrics")
    lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


async def families_of(url: str) -> set[str]:
    """The names of all metrics that `/metrics` describes, with and without samples."""
    _, text = await asyncio.to_thread(_ask, url, "/metrics")
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
