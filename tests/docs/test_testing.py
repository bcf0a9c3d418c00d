"""docs/testing.md, and the docstring of eventlib.testing: every block of code is a file of a project, which is run."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from eventlib import testing

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
FILES = {found[1]: text for _, text in BLOCKS if (found := re.match(r"# ([\w.]+)\n", text))}
PROGRAM = """
charged = []

class OrderPlaced(ev.Event, type="order.placed", version=1, stream="orders"):
    order_id: str
    total_cents: int

app = ev.App("shop")

@app.subscribe(OrderPlaced, group="billing")
async def charge(event: OrderPlaced, delivery: ev.Delivery) -> None:
    charged.append(event.order_id)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run(project: Path, *arguments: str) -> str:
    """The last line that pytest prints in a project; fails with all of it where a test fails."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:nbval",
        *arguments,
    ]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_every_block_is_a_file() -> None:
    assert len(FILES) == len(BLOCKS) and {"shop.py", "conftest.py", "pyproject.toml"} < set(FILES)


def test_every_test_of_the_page_passes(project: Path) -> None:
    passed = re.match(r"(\d+) passed", run(project))
    tests = sum(text.count("async def test_") for text in FILES.values())
    assert passed and int(passed[1]) >= tests > 0


def test_the_page_names_no_tool_that_does_not_exist() -> None:
    imported = {name for names in re.findall(r"from eventlib\.testing import (.+)", PAGE) for name in names.split(", ")}
    assert imported and imported <= set(testing.__all__)


def test_the_example_of_the_docstring_runs(tmp_path: Path) -> None:
    assert testing.__doc__ is not None
    _, _, rest = testing.__doc__.partition("::\n")
    example = "\n".join(line for line in rest.splitlines() if line.startswith("    ") or not line)
    example = textwrap.dedent(example).replace("import eventlib as ev\n", f"import eventlib as ev\n{PROGRAM}")
    (tmp_path / "test_example.py").write_text(example, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(FILES["pyproject.toml"], encoding="utf-8")
    assert run(tmp_path).startswith("1 passed")
