"""docs/scenario-services.md: its example runs, and its table has the fields that it is about."""

import re
from pathlib import Path

import pytest
import yaml

from sim.declare.autoscale import Autoscale
from sim.declare.dependencies import Dependency
from sim.declare.order_keys import OrderKeys
from sim.declare.scenario import Scenario
from sim.evidence.checks import check
from sim.worlds.simulated import simulate

PAGE = (Path(__file__).parents[2] / "docs" / "scenario-services.md").read_text(encoding="utf-8")


BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_examples_run(block: str) -> None:
    load = {"kind": "constant", "event": "placed", "rate_per_s": 50, "duration_s": 2}
    history = simulate(Scenario.model_validate({"name": "example", "load": load} | yaml.safe_load(block)), [0])
    assert [one.name for one in check(history) if one.verdict != "true"] == []


def test_the_table_has_all_fields_of_a_dependency() -> None:
    for what, kind in (("a dependency", Dependency), ("an order", OrderKeys), ("a rule", Autoscale)):
        assert re.findall(rf"^\| `(\w+)` \| {what}", PAGE, re.MULTILINE) == list(kind.model_fields)
