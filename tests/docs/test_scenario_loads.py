"""docs/scenario-loads.md has every kind of load and service time with all its fields, and its examples can be run."""

import re

import pytest
from pydantic import TypeAdapter

from docs.draw_loads import FIGURES, PAGE, examples
from sim.declare.callers import Callers
from sim.declare.declared import Declared, FilePlaces, kind_name, kinds_in
from sim.declare.loads import Load
from sim.declare.plain_yaml import parse
from sim.declare.service_times import ServiceTime
from tests.model.small import scenario, service, with_callers

TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = {section.partition("\n")[0]: section for section in re.split(r"\n###? ", TEXT)}
PLACES = FilePlaces(PAGE.parent, sample_if_missing=False)
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def fields_in(section: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


@pytest.mark.parametrize("kind", kinds_in(Load), ids=kind_name)
def test_a_load_has_its_fields_an_example_and_a_figure(kind: type[Declared]) -> None:
    name = kind_name(kind)
    section = SECTIONS[f"`{name}`"]
    declared = set(kind.model_fields) - {"mix"}  # a file says it as `event`
    assert fields_in(section) | fields_in(SECTIONS["Loads"]) == declared | {"duration_s"}
    assert name in dict(examples())
    assert re.search(rf"!\[.+\]\(loads/{name}\.svg\)", section)
    figure = (FIGURES / f"{name}.svg").read_text(encoding="utf-8")
    assert "messages (1/s)" in figure and len(figure) < 40_000


@pytest.mark.parametrize("kind", [kind for kind in kinds_in(ServiceTime) if kind_name(kind) != "tokens"], ids=kind_name)
def test_a_service_time_has_its_fields(kind: type[Declared]) -> None:
    [section] = [text for head, text in SECTIONS.items() if f"`{kind_name(kind)}`" in head and "time" in head]
    assert fields_in(section) == set(kind.model_fields) - {"kind"}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: " ".join(block.split())[:40])
def test_an_example_can_be_declared(block: str) -> None:
    declared = parse(block)
    if "load" in declared:
        load: Load = TypeAdapter(Load).validate_python(declared["load"], context=PLACES)
        assert load.in_words()
    elif "emits" in declared:
        assert service(emits=declared["emits"]).emits_in_words == "order.paid (90 %) or order.refused (10 %)"
    else:
        TypeAdapter(ServiceTime).validate_python(declared["service_time"], context=PLACES)


@pytest.mark.parametrize("kind", [kind_name(kind) for kind in kinds_in(Load)])
def test_an_example_sends_something(kind: str) -> None:
    load = dict(examples())[kind]
    desk = service(consumes=load.event, emits=("answered",))
    declared = with_callers(Callers(reply="answered"), load, desk=desk) if load.looping else scenario(load, desk=desk)
    assert declared.plan(0).arrivals_s.size > 20
