"""Asking endpoints over HTTP, as a probe or a scraper does."""

import asyncio
import http.client
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]


class Reply(NamedTuple):
    status: int
    text: str
    headers: Mapping[str, str]


def ask(url: str, path: str, method: str = "GET", accept: str = "") -> Reply:
    """Ask, and wait for the reply in this thread."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request(method, path, headers={"Accept": accept} if accept else {})
        reply = connection.getresponse()
        return Reply(reply.status, reply.read().decode(), dict(reply.getheaders()))
    finally:
        connection.close()


async def get(url: str, path: str, method: str = "GET", accept: str = "") -> Reply:
    """Ask without holding up the event loop."""
    return await asyncio.to_thread(ask, url, path, method, accept)


async def status(url: str, path: str) -> int:
    return (await get(url, path)).status


def samples(text: str) -> dict[tuple[str, Labels], float]:
    """Every sample of an exposition, by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float | None:
    """The value of one sample; None if there is none."""
    return samples(text).get((name, tuple(sorted(labels.items()))))
