"""A page whose code fails or prints something else is found wrong; the commands of docs/claims.md are right."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sim.claims import documents
from sim.claims.documents import _PATTERNS, _Page, throughputs
from sim.claims.runner import measure_one
from sim.cli.commands import app
from sim.evidence.claims import Measured

TOP = Path(__file__).parents[2]
GOOD = """# Print

```python
import os

number = 41
```

```python
await __import__("asyncio").sleep(0)
print(f"the answer is {number + 1}, {os.environ['REDIS_URL'][:4]}")
```

```text
the answer is 42
```
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD, None),
        (GOOD.replace("number = 41", "number = missing"), "page.md: NameError: name 'missing' is not defined"),
        (GOOD.replace("answer is 42", "answer is 43"), "page.md: 'the answer is 43' is not printed"),
    ],
)
def test_a_page_is_run_as_it_stands(tmp_path: Path, text: str, said: str | None) -> None:
    (tmp_path / "page.md").write_text(text)
    assert _Page.of(tmp_path / "page.md").problem(tmp_path / "work") == said


def test_a_pattern_is_known_by_what_its_program_calls() -> None:
    fan_out = '@app.subscribe(Uploaded, group="a")\n...\n@app.subscribe(Uploaded, group="{}")'
    assert re.search(_PATTERNS["fan-out"], fan_out.format("b"))
    assert not re.search(_PATTERNS["fan-out"], fan_out.format("a"))


def test_the_throughputs_of_a_report_are_read_where_it_shows_them() -> None:
    row = '<code>throughput_per_s</code> <td data-label="Simulated"><span>1,999\n <td data-label="Live"><span>{}'
    assert throughputs(row.format("201.5")) == [1999.0, 201.5]
    assert throughputs(row.format("-")) == throughputs("throughput_per_s") == []


def test_the_commands_of_the_page_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (TOP / "docs" / "claims.md").read_text(encoding="utf-8")
    commands = [line.partition("#")[0].split()[1:] for line in re.findall(r"^    (workbench .+)$", page, re.MULTILINE)]
    chosen = list[int]()

    def measure(claims: Any, url: str, **_: Any) -> Measured:
        chosen.append(len(claims))
        return Measured((), 0, "Redis", full=False)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sim.claims.runner.measure", measure)
    for command in commands:
        done = CliRunner().invoke(app, [*command, "--url", "redis://127.0.0.1:1"])
        assert done.exit_code == 0, done.output
    assert chosen == [58, 7, 58, 58]
    assert {file.name for file in tmp_path.iterdir()} == {"claims.xml", "claims.md", "claims.json"}


def test_the_tests_have_a_server_of_their_own(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They look for keys that are left, and what is measured beside them leaves keys on the common server."""
    asked = list[str]()

    def run(command: list[str], *, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(env["REDIS_URL"])
        result = Path(command[-2].partition("=")[2])
        result.write_text('<testsuites><testsuite tests="21" failures="0" errors="0" skipped="1"/></testsuites>')
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    row = measure_one(documents.tests, url)
    assert (row.verdict, row.finding.measured) == ("true", "20 tests passed, 0 failed")
    assert asked and asked[0] != url
