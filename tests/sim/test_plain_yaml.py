"""A scenario's file means what a person reads in it, or is refused with the place. The table: YAML 1.1's surprises."""

import math
from pathlib import Path
from typing import Any

import pytest

from sim.declare.plain_yaml import Unreadable, parse
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario

LOOK_LIKE_ANOTHER_THING = """
yes no on off Yes NO On OFF y n true false True FALSE none nil None nan inf Infinity
12:30:45 12:30 190:20:30.15 2026-11-24 2026-11-24T12:00:00Z 1_000 1_000.5 0x1F 0o17 0b11 0xg
1.2.3 1e 5s 50% . .. .e1 -- --5 +-5 = << .5.5 1e3e4 v1 ~5 nullx a:b a#b C:\\temp
"""
AS_WRITTEN = [
    *LOOK_LIKE_ANOTHER_THING.split(),
    "a  b",
    "\u0660",
    "böse\u00a0\U0001f600",
]
READ_AS: dict[str, Any] = {
    "7": 7,
    "-7": -7,
    "+7": 7,
    "0": 0,
    "-0": 0,
    "1.5": 1.5,
    "1.": 1.0,
    ".5": 0.5,
    "-.5": -0.5,
    "1e3": 1000.0,
    "1E+3": 1000.0,
    "1.5e-3": 0.0015,
    "0e0": 0.0,
    ".inf": math.inf,
    "-.INF": -math.inf,
    "~": None,
    "null": None,
    "Null": None,
    "": None,
    "'010'": "010",
    '"7"': "7",
    "'yes'": "yes",
    "!!str 010": "010",
    "!!str yes": "yes",
    "7 # seven": 7,
    "&a 7": 7,
    "|\n  010": "010",
    "[]": [],
    "{}": {},
    "[yes, 1e1, 7, ~]": ["yes", 10.0, 7, None],
}


@pytest.mark.parametrize("written", AS_WRITTEN)
def test_what_only_looks_like_another_thing_is_text(written: str) -> None:
    assert parse(f"a: {written}") == {"a": written}
    assert parse(f"{{a: [{written}]}}") == {"a": [written]}


@pytest.mark.parametrize("written", READ_AS)
def test_numbers_nothing_and_text_in_quotes(written: str) -> None:
    [(key, value)] = parse(f"a: {written}").items()
    assert (key, value, type(value)) == ("a", READ_AS[written], type(READ_AS[written]))


@pytest.mark.parametrize("key", ["yes", "on", "123", "1e3", "010", "~", "null", "0x1F", "2026-11-24", "'a b'", "="])
def test_a_key_is_the_text_that_is_written(key: str) -> None:
    assert parse(f"{key}: 1") == {key.strip("'"): 1}
    assert parse(f"? &name {key}\n: {{? *name : 2}}") == {key.strip("'"): {key.strip("'"): 2}}


REFUSED = {
    "a: 010": "line 1, column 4: 010 may mean eights or tens",
    "a: -010": "may mean",
    "a: 08": "may mean",
    "a: 00": "may mean",
    "a: 007.5": "may mean",
    "a: 0_1": "may mean",
    "a: [1,\n 010]": "line 2, column 2: 010",
    "a: 1\nb: 2\na: 3": "line 3, column 1: 'a' comes twice",
    "a: 1\n'a': 3": "'a' comes twice",
    "1: 1\n'1': 3": "'1' comes twice",
    "a: 1\nb:\n\t- 1": "line 3, column 1: found character '\\t'",
    "\ta: 1": "line 1, column 1",
    "a: &a [*a]": "line 1, column 4: it contains itself",
    "a: &a {b: {c: *a}}": "it contains itself",
    "a: &a {<<: *a}": "it contains itself",
    "a: *b": "line 1, column 4: there is no &b above",
    "a: 1\n---\nb: 1": "line 2, column 1: a second document begins",
    "a: 1\n...\nb: 1": "line",
    "a: !!int 7": "line 1, column 4: the tag !!int is not read",
    "a: !!bool yes": "tag",
    "a: !!binary aGk=": "tag",
    "a: !!set {x}": "tag",
    "a: !!timestamp 2026-11-24": "tag",
    "a: !mine 7": "the tag !mine is not read",
    "a: !!python/name:os.system": "the tag !!python/name:os.system",
    "a: ! 7": "tag",
    "!!omap [a: 1]": "tag",
    "? [a, b]\n: 1": "line 1, column 3: a key must be text",
    "{{a: 1}: 1}": "a key must be text",
    ": 1": "line 1, column 1",
    "{: 1}": "line 1, column 2",
    "? \n: 1": "a key is missing",
    "a: {<<: 7}": "line 1, column 9: only mappings can be merged",
    "a: {<<: [{b: 1}, 7]}": "only mappings",
    "a: {<<: {b: 1}, <<: {c: 1}}": "'<<' comes twice",
    "a: [1": "line 1, column 6",
    "a: b: c": "line 1, column 5: mapping values are not allowed here",
    "a: @b": "line 1, column 4",
    "a: 1\nb: \x07": "line 2: the character '\\x07'",
    "[" * 5000: "nested too deep",
    "a: " + "9" * 5000: "line 1, column 4: the number has 5000 digits",
}


@pytest.mark.parametrize("written", REFUSED, ids=lambda written: written[:30])
def test_what_may_be_read_in_two_ways_is_refused_with_its_place(written: str) -> None:
    with pytest.raises(Unreadable) as refused:
        parse(written)
    assert REFUSED[written] in str(refused.value)


MERGED = {
    "{a: &a {x: 1, y: 2}, b: {<<: *a, y: 3}}": {"x": 1, "y": 3},
    "{a: &a {x: 1, y: 2}, b: {y: 3, <<: *a}}": {"x": 1, "y": 3},
    "{a: &a {x: 1, y: 2}, c: &c {x: 7, z: 8}, b: {<<: [*a, *c]}}": {"x": 1, "y": 2, "z": 8},
    "{a: &a {x: 1}, c: &c {<<: *a, x: 2, y: 3}, b: {<<: *c, y: 4}}": {"x": 2, "y": 4},
    "{b: {<<: {x: 1}}}": {"x": 1},
    "{b: {<<: []}}": {},
    "{b: {'<<': 7}}": {"<<": 7},
}


@pytest.mark.parametrize("written", MERGED)
def test_merge_keys_add_what_a_mapping_does_not_say_itself(written: str) -> None:
    for _ in range(2):
        assert parse(written)["b"] == MERGED[written]


def test_an_alias_that_comes_many_times_is_one_thing() -> None:
    """Nine levels of nine aliases each: a copy of each would be a billion."""
    lines = ["a: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    found = parse("\n".join(lines))["a9"]
    assert found[8] is found[0]


FILE = """
name: two alike
load: {{kind: constant, event: order.placed, rate_per_s: {rate}, duration_s: 1}}
services:
  on: &worker
    consumes: order.placed
    error_rate: {share}
    service_time: {{kind: constant, mean_s: 0.005}}
  no: {{<<: *worker, consumers: {number}}}
faults:
  - {{kind: kill, service: on, at_s: 0.5, back_after_s: ~}}
"""


def load(directory: Path, **fields: str) -> Scenario:
    file = directory / "orders.yaml"
    file.write_text(FILE.format(**{"rate": "20", "share": "0", "number": "2"} | fields), encoding="utf-8")
    return Scenario.load(file)


def test_a_scenario_with_merged_services_that_are_called_on_and_no(tmp_path: Path) -> None:
    services = load(tmp_path).services
    assert {name: service.consumers for name, service in services.items()} == {"on": 1, "no": 2}
    assert services["on"] == services["no"].model_copy(update={"consumers": 1})


@pytest.mark.parametrize("written", ["1_000", "1e3", "1000", "1000.0", '"1000"', "+1000"])
def test_a_number_is_the_number_that_is_read(tmp_path: Path, written: str) -> None:
    assert load(tmp_path, rate=written).offered_load.expected_events() == 1000.0


@pytest.mark.parametrize("written", ["yes", "true", "on", "12:30:45", "0x10", "0o17", "2026-11-24", "~", ""])
@pytest.mark.parametrize(
    ("field", "place"),
    [("rate", "load.rate_per_s"), ("share", "services.on.error_rate"), ("number", "services.no.consumers")],
)
def test_what_is_no_number_is_refused_where_a_number_belongs(
    tmp_path: Path, written: str, field: str, place: str
) -> None:
    with pytest.raises(InvalidScenario) as refused:
        load(tmp_path, **{field: written})
    assert f"{place}: Input should be a valid" in refused.value.problem


def test_a_number_where_text_belongs_is_to_be_quoted(tmp_path: Path) -> None:
    file = tmp_path / "orders.yaml"
    file.write_text(FILE.format(rate=1, share=0, number=1).replace("two alike", "1.10"))
    with pytest.raises(InvalidScenario, match=r"name: .* not 1\.1; if it is text, put it in quotes"):
        Scenario.load(file)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "orders.yaml"
    for encoding in ("utf-16", "latin-1"):
        file.write_bytes("name: böse".encode(encoding))
        with pytest.raises(InvalidScenario, match="is no YAML in UTF-8"):
            Scenario.load(file)
