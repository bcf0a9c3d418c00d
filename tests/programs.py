"""Programs of others that tests ask: where they are."""

import shutil
import sys
from pathlib import Path


def program(name: str) -> str | None:
    """The path of a program: on PATH, or beside this Python, where `make test` puts what it unpacks. None: nowhere."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
