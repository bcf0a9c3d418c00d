"""What the numbers of a run depend on besides the scenario: server, machine and versions, as page and JSON say it."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
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
    return {"server": server, **_machine(), **_versions()}


def about_json() -> dict[str, Any]:
    """When and with what a result was made, for machines."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"date": date, "versions": _versions(), "machine": _machine()}


def _machine() -> dict[str, str]:
    return {"platform": platform.platform(), "CPUs": str(os.cpu_count() or "unknown")}


def _versions() -> dict[str, str]:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {"Python": python} | {name: version(package) for name, package in _PACKAGES.items()}
