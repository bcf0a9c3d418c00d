"""docs/scenario.md has every field and every kind, and its examples run."""

import re
from pathlib import Path

import pytest
import yaml

import sim
from sim.declare.declared import FOUND, Declared, kind_name, kinds_in
from sim.declare.faults import Fault
from sim.declare.loads import Load
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.declare.service_times import ServiceTime
from sim.evidence.expectations import judge_history

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = "\n".join(file.read_text(encoding="utf-8") for file in sorted(DOCS.glob("scenario*.md")))
EXAMPLES = [text for text in re.findall(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL) if text.startswith("name:")]


def declared_fields(kind: type[Declared]) -> set[str]:
    """The fields that a file may have, by the names that it gives them."""
    fields = {field.alias or name: field.json_schema_extra for name, field in kind.model_fields.items()}
    return {name for name, extra in fields.items() if not (isinstance(extra, dict) and FOUND.items() <= extra.items())}


@pytest.mark.parametrize("kind", [Scenario, Service], ids=lambda kind: kind.__name__)
def test_every_field_is_named(kind: type[Scenario | Service]) -> None:
    fields = declared_fields(kind) - {"wire", "own"}
    assert [field for field in sorted(fields) if f"`{field}`" not in REFERENCE] == []


@pytest.mark.parametrize("kinds", [Load, ServiceTime, Fault], ids=["loads", "service times", "faults"])
def test_every_kind_is_named_with_its_fields(kinds: object) -> None:
    missing = []
    for kind in kinds_in(kinds):
        name = kind_name(kind)
        own = declared_fields(kind) - {"kind", "event", "service", "at_s"}
        missing += [f"{name}: {field}" for field in (name, *sorted(own)) if f"`{field}`" not in REFERENCE]
    assert missing == []


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_run_and_do_what_they_expect(example: str) -> None:
    declared = Scenario.model_validate(yaml.safe_load(example))
    judged = judge_history(declared.expectations, sim.simulate(declared, range(3)))
    assert [one.outcome for one in judged] == ["holds"] * len(declared.expect)
