"""What the commands of all campaigns have in common: how they are described, and where their result goes."""

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import eventlib as ev


def parser(name: str, about: str | None, example: str, *, takes_url: bool = False) -> argparse.ArgumentParser:
    """The parser of campaign `name`, for its own options to be added to.

    With `takes_url` it can use a server that others use too; else it has a private one.
    """
    command = f"python -m campaigns.{name}"
    made = argparse.ArgumentParser(
        prog=command,
        description=about,
        epilog=f"Example: {command} {example} --json {name}.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if takes_url:
        made.add_argument("--url", default=os.environ.get("REDIS_URL"), help="Redis to use; without it a private one")
    made.add_argument("--json", metavar="FILE", type=Path, help="where to write the result")
    return made


@contextmanager
def server_at(url: str | None) -> Iterator[str]:
    """The URL of the server to use: a private one for the length of the block, if none is named."""
    if url:
        yield url
        return
    with ev.private_server() as server:
        yield server.url


@contextmanager
def bars() -> Iterator[Progress]:
    """Progress bars on standard error, gone at the end of the block."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress


def print_faults(out: Console, faults: list[str]) -> None:
    """Print the first faults, a line each."""
    for fault in faults[:20]:
        out.print(fault, highlight=False, markup=False, soft_wrap=True)


def write_json(file: Path | None, found: Any) -> None:
    """Write what was found, if there is a file for it."""
    if file is not None:
        file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
