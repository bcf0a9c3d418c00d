"""How files of results are read: JSON, and the errors that say that a file holds something else."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

# What reading a file's content may raise, if it holds something else. pydantic's ValidationError is a ValueError.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


def read_json(file: str | Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds no JSON.
    """
    return parse_json(Path(file).read_bytes())


def parse_json(text: bytes) -> Any:
    """What a JSON text in UTF-8 says.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(text.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def in_words(error: Exception) -> str:
    """What one of `UNREADABLE` says, in a line."""
    if isinstance(error, ValidationError):
        [first, *_] = error.errors(include_url=False)
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split())[:200]
