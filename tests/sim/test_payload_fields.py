"""Fields that a load lets its messages say: how they are distributed, and service times that follow them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.declare.varying import with_fields
from sim.errors import InvalidScenario
from sim.show.declared import load_in_words
from sim.worlds.simulated import simulate
from tests.model.small import rows_of

LINEAR = {"kind": "linear", "base_s": 0.01, "per_unit_s": 0.002, "field": "items"}


def declared(directory: Path, fields: Any, load: Any = None, **desk: Any) -> Scenario:
    """Ten seconds of a hundred messages; `audit` gets what the desk publishes, and takes as long for each item."""
    of_load = {"kind": "constant", "event": "placed", "rate_per_s": 100, "duration_s": 10} | (load or {})
    services = {
        "desk": {"consumes": "placed", "emits": ["done"], "concurrency": 50, "service_time": LINEAR} | desk,
        "audit": {"consumes": "done", "concurrency": 50, "service_time": LINEAR | {"base_s": 0.0}},
    }
    return _loaded(directory, of_load | {"fields": fields}, services)


def _loaded(directory: Path, load: dict[str, Any], services: dict[str, Any]) -> Scenario:
    file = directory / "s.yaml"
    file.write_text(yaml.safe_dump({"name": "s", "load": load, "services": services}))
    return Scenario.load(file)


def items_of(scenario: Scenario, seeds: int = 5) -> Floats:
    return np.concatenate([scenario.plan(seed).fields["items"] for seed in range(seeds)])


@pytest.mark.parametrize(
    ("field", "mean", "sd", "whole"),
    [
        (3, 3, 0, True),
        ([1, 5], 3, 2, True),
        ({"kind": "choice", "values": [0, 4], "weights": [1, 3]}, 3, 3**0.5, True),
        ({"kind": "uniform", "least": 2, "most": 8}, 5, 6 / 12**0.5, False),
        ({"kind": "uniform", "least": 1, "most": 3, "whole": True}, 2, (2 / 3) ** 0.5, True),
        ({"kind": "uniform", "least": 0.5, "most": 2.5, "whole": True}, 1.5, 0.5, True),  # 0 is not between them
        ({"kind": "lognormal", "mean": 20, "cv": 0.5}, 20, 10, False),
        ({"kind": "lognormal", "mean": 20, "cv": 0.5, "whole": True}, 20, 10, True),
    ],
)
def test_fields_have_their_mean_and_spread(tmp_path: Path, field: Any, mean: float, sd: float, whole: bool) -> None:
    """Of 5,000 numbers, within four standard errors."""
    drawn = items_of(declared(tmp_path, {"items": field}))
    assert drawn.size == 5000
    assert abs(drawn.mean() - mean) <= 4 * sd / drawn.size**0.5
    assert drawn.std() == pytest.approx(sd, rel=0.1)
    assert bool(np.all(drawn == np.rint(drawn))) == whole


def test_times_follow_the_field_at_each_service_that_the_message_sets_off(tmp_path: Path) -> None:
    scenario = declared(tmp_path, {"items": [1, 10], "price": {"kind": "lognormal", "mean": 5, "cv": 1}})
    items, history = scenario.plan(3).fields["items"], simulate(scenario, [3])
    for name, base_s in (("desk", 0.01), ("audit", 0.0)):
        started, handled = (np.sort(rows_of(history, kind, name), order="message") for kind in ("started", "handled"))
        assert handled["t_s"] - started["t_s"] == pytest.approx(base_s + 0.002 * items)
    assert "each says items 1 or 10, price 5 on average (lognormal, cv 1)" in load_in_words(history)


def test_another_field_moves_neither_the_first_one_nor_the_arrivals(tmp_path: Path) -> None:
    one = declared(tmp_path, {"items": [1, 10]}, {"kind": "poisson"})
    other = declared(tmp_path, {"items": [1, 10], "price": [1, 2, 3]}, {"kind": "poisson"})
    assert items_of(one).tolist() == items_of(other).tolist()
    assert one.plan(0).arrivals_s.tolist() == other.plan(0).arrivals_s.tolist()


def test_a_field_can_vary(tmp_path: Path) -> None:
    scenario = declared(tmp_path, {"items": {"kind": "lognormal", "mean": 5, "cv": 1}})
    assert items_of(with_fields(scenario, {"load.fields.items.mean": 50.0})).mean() > 8 * items_of(scenario).mean()


@pytest.mark.parametrize("follows", ["items", "size_bytes"])
def test_a_run_without_a_message_has_no_times(tmp_path: Path, follows: str) -> None:
    """As few seeds of a slow load have."""
    rare = {"kind": "poisson", "event": "placed", "rate_per_s": 0.001, "duration_s": 1}
    said: dict[str, Any] = {"fields": {"items": 3}} if follows == "items" else {"size_bytes": 100}
    place = "field" if follows == "items" else "column"
    time = {"kind": "linear", "base_s": 0.01, "per_unit_s": 0.002, place: follows}
    scenario = _loaded(tmp_path, rare | said, {"desk": {"consumes": "placed", "service_time": time}})
    assert rows_of(simulate(scenario, [0]), "sent").size == 0


@pytest.mark.parametrize(
    ("fields", "more", "said"),
    [
        ({}, {}, r"field: the load's messages have no field 'items'; declare it as load\.fields: \{items: \.\.\.\}"),
        ({"item": 3}, {}, r"no field 'items'; there are: item; declare it"),
        ({"items": 3, "index": 1}, {}, "fields: messages have a field 'index' anyway; give it another name"),
        ({"items": 3, "no-name": 1}, {}, "fields: 'no-name' is no name of a field; use letters, digits and _"),
        ({"items": {"kind": "uniform", "least": 3, "most": 1}}, {}, "most: is less than least; swap them"),
        ({"items": {"kind": "uniform", "least": 0.2, "most": 0.8, "whole": True}}, {}, "whole: no whole number is"),
        ({"items": {"kind": "choice", "values": [1], "weights": [1, 2]}}, {}, "weights: 2 for 1 values; give one"),
        ({"items": {"kind": "choice", "values": [1, 2], "weights": [1e308, 1e308]}}, {}, "weights: one is over 1e"),
        ({"items": 3, "model_dump": 1}, {}, "fields: each event has an attribute 'model_dump' of another kind"),
        ({"items": 3, "event_spec": 1}, {}, "fields: each event has an attribute 'event_spec' of another kind"),
        ({"items": {"kind": "choice", "values": [1], "weights": [0]}}, {}, "weights: one is 0 or negative"),
        ({"items": "many"}, {}, "items"),
        ({f"f{number}": 1 for number in range(21)}, {}, "fields: there are 21, over 20; leave some out"),
        (
            {"items": 1},
            {"service_time": LINEAR | {"column": "size"}},
            "field: it follows the column 'size' already; leave field or column out",
        ),
        (
            {"items": 1},
            {"service_time": LINEAR | {"field": "size_bytes"}},
            "no field 'size_bytes'; there are: items",
        ),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, fields: Any, more: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidScenario, match=said):
        declared(tmp_path, fields, **more)


def test_a_part_of_a_load_has_no_fields_of_its_own(tmp_path: Path) -> None:
    part = {"kind": "constant", "rate_per_s": 10, "duration_s": 1, "fields": {"items": 1}}
    stages = {"kind": "stages", "event": "placed", "stages": [part], "fields": {"items": 2}}
    with pytest.raises(InvalidScenario, match="the whole load says its fields; leave them out here"):
        _loaded(tmp_path, stages, {"desk": {"consumes": "placed", "service_time": LINEAR}})
