"""How large messages are: each kind of size, and what follows it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from sim.declare.declared import FilePlaces
from sim.declare.loads import Load
from sim.declare.scenario import Scenario
from sim.evidence.history import History
from sim.evidence.lags import lags
from sim.worlds.simulated import simulate
from tests.model.small import fault, saga_service, saga_step, service

TRACE = "at,size,work\n0,100,1\n1,2000,2\n2,30,3\n"


def sized(size: Any, **fields: Any) -> Load:
    declared = {"kind": "constant", "event": "placed", "rate_per_s": 100, "duration_s": 20, "size_bytes": size} | fields
    load: Load = TypeAdapter(Load).validate_python(declared)
    return load


def sizes_of(load: Load, seed: int = 0) -> "np.ndarray[Any, Any]":
    event = next(iter(load.events))
    others = {f"s{number}": service(consumes=one) for number, one in enumerate(load.events) if one != event}
    plan = Scenario(name="small", load=load, services={"desk": service(consumes=event), **others}).plan(seed)
    assert plan.size_bytes is not None
    return plan.size_bytes


@pytest.mark.parametrize(
    ("size", "mean", "sd"),
    [
        (2000, 2000, 0),
        ({"kind": "constant", "mean_bytes": 2000}, 2000, 0),
        ({"kind": "uniform", "least_bytes": 1000, "most_bytes": 3000}, 2000, 2000 / 12**0.5),
        ({"kind": "lognormal", "mean_bytes": 2000, "cv": 0.5}, 2000, 1000),
    ],
)
def test_sizes_have_their_mean_and_spread(size: Any, mean: float, sd: float) -> None:
    drawn = np.concatenate([sizes_of(sized(size), seed) for seed in range(5)])
    assert drawn.size == 10_000
    assert abs(drawn.mean() - mean) <= 4 * sd / 100
    assert drawn.std() == pytest.approx(sd, rel=0.1)


def test_events_of_a_mix_have_sizes_of_their_own() -> None:
    load = sized({"placed": 2000, "changed": 300}, event={"placed": 1, "changed": 1})
    drawn = sizes_of(load)
    assert set(drawn.tolist()) == {300, 2000}
    assert 800 < np.count_nonzero(drawn == 300) < 1200


def trace(file: Path, **fields: Any) -> Load:
    file.write_text(TRACE)
    load: Load = TypeAdapter(Load).validate_python(
        {"kind": "trace", "event": "placed", "file": "t.csv", "columns": {"at": "at", "bytes": "size"}} | fields,
        context=FilePlaces(file.parent, sample_if_missing=False),
    )
    return load


def test_a_column_of_the_trace_has_the_sizes(tmp_path: Path) -> None:
    load = trace(tmp_path / "t.csv", size_bytes={"kind": "column", "column": "bytes"})
    assert sizes_of(load).tolist() == [100, 2000, 30]


def test_sizes_move_nothing_else() -> None:
    """They have a random stream of their own."""
    with_, without = (
        Scenario(name="small", load=sized(size), services={"desk": service(error_rate=0.5)}).plan(3)
        for size in ({"kind": "lognormal", "mean_bytes": 2000, "cv": 1}, None)
    )
    assert with_.arrivals_s.tolist() == without.arrivals_s.tolist()
    assert with_.failure_draws["desk"].tolist() == without.failure_draws["desk"].tolist()


def test_a_service_time_may_follow_the_size() -> None:
    """Of every message that a sent one sets off."""
    size = {"kind": "uniform", "least_bytes": 0, "most_bytes": 9000}
    linear = {"kind": "linear", "column": "size_bytes", "base_s": 0.001, "per_unit_s": 1e-6}
    desk = service(service_time=linear, emits=("paid",))
    till = service(consumes="paid", service_time=linear)
    declared = Scenario(name="small", load=sized(size), services={"desk": desk, "till": till})
    plan = declared.plan(1)
    assert plan.size_bytes is not None
    assert plan.service_s["desk"] == pytest.approx(0.001 + 1e-6 * plan.size_bytes)
    assert plan.service_s["till"].tolist() == plan.service_s["desk"].tolist()
    assert declared.services["desk"].service_time.in_words() == "1 ms and 1 µs x size_bytes"


def narrow(size: int | None) -> History:
    load = sized(size, rate_per_s=10, duration_s=2)
    slow = fault("bandwidth", at_s=0.0, for_s=3.0, bytes_per_s=100_000)
    return simulate(Scenario(name="small", load=load, services={"desk": service(0.0)}, faults=(slow,)), [0])


def test_a_narrow_network_passes_large_messages_on_later() -> None:
    """Each byte once to the server and once to the consumer."""
    small_s, large_s = (np.median(lags(narrow(size)).lag_s) for size in (None, 4000))
    assert large_s - small_s == pytest.approx(2 * 4000 / 100_000)


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (-1, "greater than or equal to 0"),
        (2_000_000, "less than or equal to 1000000"),
        ("large", "Input should be"),
        ({"kind": "column", "column": "work"}, "no column 'work'; there are: none; give a load of kind 'trace'"),
        ({"placd": 100}, "give a size for each event of the load: placed"),
        ({"kind": "uniform", "least_bytes": 9, "most_bytes": 3}, "most_bytes: is less than least_bytes; swap them"),
        (900_000, "the messages would have 1.8 GB, over 1 GB; lower it or rate_per_s or duration_s"),
    ],
)
def test_a_size_that_cannot_be_is_refused(size: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        sized(size)


def test_what_has_no_size_yet_is_refused() -> None:
    with pytest.raises(ValueError, match=r"load\.size_bytes: desk gets tasks or sagas"):
        Scenario(name="small", load=sized(10), services={"desk": saga_service(saga_step("one"))})
    batches = {"kind": "batching", "event": "placed", "of": sized(10).model_dump(), "size": 2, "wait_s": 1}
    with pytest.raises(ValueError, match="the whole load says size_bytes"):
        TypeAdapter(Load).validate_python(batches)
    linear = {"kind": "linear", "column": "size_bytes", "base_s": 0, "per_unit_s": 1e-6}
    with pytest.raises(ValueError, match="needs a load of kind 'trace', or one with size_bytes"):
        Scenario(name="small", load=sized(None), services={"desk": service(service_time=linear)})
