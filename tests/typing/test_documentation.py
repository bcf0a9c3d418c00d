"""The code of docs/testing.md has types that mypy accepts as strictly as the project's own."""

import subprocess
import sys
from pathlib import Path

from tests.docs.test_testing import FILES

TOP = Path(__file__).parents[2]


def test_every_block_has_its_types(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    blocks = [str(tmp_path / name) for name in sorted(FILES) if name.endswith(".py")]
    # With the project's own settings, so that what mypy knows of the library is not worked out again.
    command = [sys.executable, "-m", "mypy", "--no-pretty", *blocks]
    paths = {"MYPYPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=TOP, env=paths, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
