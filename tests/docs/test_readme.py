"""The README shows; here it is run."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_runs_and_handles_the_event_once() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("A1: 4200 cents, attempt 1\n")
    assert re.search(r"lag_s_p95 .*s\n", done.stdout), "the comparison is printed"


def test_what_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_commands_it_names_exist() -> None:
    named = set(re.findall(r"bin/workbench (\w+)", README))
    assert named
    for command in sorted(named):
        done = subprocess.run([sys.executable, "-m", "sim.cli", command, "--help"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Example" in done.stdout
