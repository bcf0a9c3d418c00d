"""Commands that work on a server that runs. They need no App: they work on what the server keeps.

They never start a private server, which would be empty.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

import eventlib as ev
from eventlib.cli.console import named_server, server_url

T = TypeVar("T")

Url = Annotated[str | None, typer.Option(help="Redis to use; without it REDIS_URL.", callback=server_url)]
Namespace = Annotated[str | None, typer.Option(help="What all keys start with; by default the settings say, or ev.")]
Queue = Annotated[str, typer.Argument(help="The task queue.", metavar="QUEUE")]


def with_bus(url: str | None, namespace: str | None, work: Callable[[ev.Bus], Awaitable[T]]) -> T:
    """Connect, do `work`, and return its result."""

    async def run() -> T:
        async with ev.connect(ev.App("workbench"), url or named_server("pass --url"), namespace=namespace) as bus:
            return await work(bus)

    return asyncio.run(run())


def with_queue(queue: str, url: str | None, namespace: str | None, work: Callable[[ev.Bus], Awaitable[T]]) -> T:
    """As `with_bus`, for what concerns one task queue: a misspelt one looks empty, so it is refused."""

    async def run(bus: ev.Bus) -> T:
        await bus.tasks.check(queue)
        return await work(bus)

    return with_bus(url, namespace, run)
