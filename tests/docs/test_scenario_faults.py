"""docs/scenario-faults.md: every list of faults in it is one, and its tables have every kind and each of its fields."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sim.declare.faults import FAULT_KINDS
from sim.declare.scenario import Scenario
from sim.evidence.checks import check
from sim.worlds.simulated import simulate

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scenario-faults.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
ROWS = {
    name: set(re.findall(r"`(\w+)`", fields)) for name, fields in re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.M)
}


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_runs(block: str) -> None:
    billing: dict[str, Any] = {
        "consumes": "placed",
        "consumers": 2,
        "service_time": {"kind": "constant", "mean_s": 0.01},
    }
    load = {"kind": "constant", "event": "placed", "rate_per_s": 50, "duration_s": 4}
    declared = {"name": "example", "load": load, "services": {"billing": billing | {"lease_s": 0.5}}}
    history = simulate(Scenario.model_validate(declared | yaml.safe_load(block)), [0])
    assert [one.name for one in check(history) if one.verdict == "false"] == []


def test_the_tables_have_every_kind_and_all_of_its_fields() -> None:
    assert {name: set(kind.model_fields) - {"kind"} for name, kind in FAULT_KINDS.items()} == ROWS


def test_each_kind_once_is_what_the_program_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    [program] = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(program, {})
    lags_s = dict(line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert {"none", *(kind.replace("_", " ") for kind in ("server_away", "black_hole", "lost_replies"))} <= set(lags_s)
    assert float(lags_s["server away"]) > 4 * float(lags_s["none"])
