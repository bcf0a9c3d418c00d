"""docs/outages.md lists every answer of a server that is an outage, as the code has it.

`python -m tests.docs.test_outages` writes the table anew.
"""

from pathlib import Path

from eventlib.broker.connection import UNAVAILABLE

PAGE = Path(__file__).parents[2] / "docs" / "outages.md"
HEAD = "| answer | what it means |\n|---|---|\n"


def table() -> str:
    return HEAD + "".join(f"| `{code}` | {meaning} |\n" for code, meaning in UNAVAILABLE.items())


def test_the_table_is_that_of_the_code() -> None:
    assert table() in PAGE.read_text(encoding="utf-8")


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(HEAD)
    PAGE.write_text(before + table() + rest[rest.index("\n\n") + 1 :], encoding="utf-8")
