"""What measured numbers depend on besides the scenario: the machine and the versions. Page, JSON and files say it."""

import os
import platform
import re
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = {
    "event-workbench": "event-workbench",
    "redis-py": "redis",
    "simpy": "simpy",
    "numpy": "numpy",
    "pydantic": "pydantic",
}


def environment(server: str) -> dict[str, str]:
    """What the numbers depend on besides the scenario: the server, the machine, and the versions of the software."""
    return {"server": server, **machine(), **versions()}


def about_json() -> dict[str, Any]:
    """When and with what a result was made, for machines."""
    return {"date": now(), "versions": versions(), "machine": machine()}


def now() -> str:
    """The time by this machine's clock, in UTC, such as `2026-11-24T02:00:00+00:00`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine() -> dict[str, str]:
    """This machine: its system, its processor, and how many of its cores this process may use."""
    return {"platform": platform.platform(), "processor": _processor(), "CPUs": str(_cores() or "unknown")}


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that numbers depend on."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {"Python": python} | {name: version(package) for name, package in _PACKAGES.items()}


def _cores() -> int | None:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@cache
def _processor() -> str:
    """The processor's name; Linux has it in a file, and `platform` only its architecture."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()
