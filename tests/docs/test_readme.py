"""The README's example, links and commands work."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(*arguments: str) -> str:
    """What this Python prints. Fails with its error output if it fails."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_runs_and_handles_the_event_once() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    printed = run("-c", example)
    assert printed.startswith("A1: 4200 cents, attempt 1\n")
    assert re.search(r"lag_s_p95 .*s\n", printed), "the comparison is printed"


def test_what_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_commands_it_names_exist() -> None:
    named = set(re.findall(r"bin/workbench (\w+)", README))
    assert named
    for command in sorted(named):
        assert "Example" in run("-m", "workbench", command, "--help")
