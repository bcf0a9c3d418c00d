"""Where a report comes from: when, on which machine and from which commit it was made, and by which command."""

import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

_TOP = Path(__file__).parents[2]


def provenance() -> dict[str, str]:
    """The date, the host and the commit of the clone that runs. An installation from a wheel has no commit."""
    found = {"date": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}", "host": platform.node() or "unknown"}
    return found | {"commit": commit(_TOP)}


def commit(top: Path) -> str:
    """The commit of a clone, and whether its files were changed since."""
    if not (top / ".git").exists():  # git would ask the folders above, whose repository is another one
        return "unknown: not a clone"
    found = _git(top, "rev-parse", "--short=12", "HEAD")
    if not found:
        return "unknown: git does not answer"
    return f"{found} with changes" if _git(top, "status", "--porcelain", "--untracked-files=no") else found


def exact_command(arguments: Sequence[str]) -> str:
    """The command line as a shell takes it. A password in a URL is left out."""
    shown = [re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:PASSWORD@", argument) for argument in arguments]
    return shlex.join(("workbench", *shown))


def _git(top: Path, *arguments: str) -> str:
    command = ["git", "-C", str(top), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
