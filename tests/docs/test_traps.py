"""docs/traps.md names all tests of each trap, and no others."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = (TESTS.parent / "docs" / "traps.md").read_text(encoding="utf-8")


def test_every_trap_has_the_tests_that_its_line_names() -> None:
    named = {int(number): files.split() for number, files in re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", TABLE, re.M)}
    found: dict[int, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for number in {int(number) for number in re.findall(r"def test_trap_(\d+)_", path.read_text(encoding="utf-8"))}:
            found.setdefault(number, []).append(path.relative_to(TESTS).as_posix())
    assert named == found
    assert set(named) == {*range(1, 46), *range(48, 55)}
