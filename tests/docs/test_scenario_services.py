"""docs/scenario-services.md: its example runs, and its table has the fields that it is about."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from eventlib.circuit_breaker import CircuitBreaker
from sim.declare.autoscale import Autoscale
from sim.declare.batch_handler import BatchHandler
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


def test_the_tables_have_all_fields() -> None:
    kinds: dict[str, type[BaseModel]] = {
        "a dependency": Dependency,
        "an order": OrderKeys,
        "a batch": BatchHandler,
        "a breaker": CircuitBreaker,
        "a rule": Autoscale,
    }
    for what, kind in kinds.items():
        assert re.findall(rf"^\| `(\w+)` \| {what}", PAGE, re.MULTILINE) == list(kind.model_fields)
