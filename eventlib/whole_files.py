"""A file is written whole or not at all: what was in it stays until what replaces it is there."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


def write_whole(file: str | Path, text: str, *, errors: str = "strict") -> None:
    """Write text, in UTF-8. `errors` is as in `str.encode`.

    Raises:
        OSError: as `whole_file` does.
    """
    with whole_file(file) as opened:
        opened.write(text.encode("utf-8", errors))


@contextmanager
def whole_file(file: str | Path) -> Iterator[IO[bytes]]:
    """Open a file to be written. Where it cannot be written to its end, or the program is ended, what was in it stays.

    A pipe or a device is written as it is, and so is a file in a directory where no other can be made.

    Raises:
        OSError: it cannot be written; `filename` names it.
    """
    try:
        with _opened(Path(os.path.realpath(file))) as opened:  # a link stays a link
            yield opened
    except OSError as error:
        error.filename, error.filename2 = str(file), None
        raise


def check_writable(file: str | Path) -> None:
    """Try whether `whole_file` can write it. What is there stays as it is.

    Raises:
        OSError: it cannot be written.
    """
    target = Path(os.path.realpath(file))
    if not target.exists():
        beside, number = _beside(target)
        os.close(number)
        beside.unlink()
    elif target.is_file():  # a trial of a pipe or a device would be the real thing
        with target.open("ab"):
            pass


@contextmanager
def _opened(target: Path) -> Iterator[IO[bytes]]:
    check_writable(target)  # where only others may write a file, it is not replaced either
    try:
        beside, number = _beside(target) if target.is_file() or not target.exists() else (target, -1)
    except PermissionError:
        beside, number = target, -1
    if number < 0:
        with target.open("wb") as opened:
            yield opened
        return
    try:
        with os.fdopen(number, "wb") as opened:
            if target.exists():
                _look_like(target, number)
            yield opened
        beside.replace(target)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def _beside(target: Path) -> tuple[Path, int]:
    """A new file in the same directory, so that it can take the other's place, and its descriptor."""
    beside = target.with_name(f".{secrets.token_hex(8)}.partial")
    return beside, os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def _look_like(target: Path, number: int) -> None:
    """Give a new file the owner and the rights of the one that it replaces, as far as may be."""
    there = target.stat()
    with suppress(OSError):
        os.fchown(number, there.st_uid, there.st_gid)
    with suppress(OSError):
        os.fchmod(number, there.st_mode & 0o777)
