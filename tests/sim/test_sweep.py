"""Sweeps: what varies, where it runs, what is kept, and that nothing of that changes the numbers."""

import json
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

import sim
from sim.calibration import Calibration
from sim.cli.commands import app
from sim.cli.varying import machine_in
from sim.declare.loads.trace import TraceLoad
from sim.declare.scenario import Scenario
from sim.declare.varying import Axis, axes_of, grid, latin_hypercube, with_fields
from sim.errors import InvalidScenario, SimError, SweepFailed
from sim.evidence.capacity import overloads
from sim.evidence.metrics import measure
from sim.infer import points
from sim.infer.points import Point, keys_of
from sim.infer.processes import Processes
from sim.show.sweeps import figure_of
from sim.timings import Block
from sim.worlds import live
from sim.worlds.simulated import simulate
from tests.model.small import exponential, poisson, scenario, service
from tests.sim.dying import dies_unless

SMALL = scenario(poisson(30.0, 1.0), desk=service(service_time=exponential(0.03)))
TWO = {"services.desk.consumers": "1..3", "load.rate_per_s": "20,40"}


class Counting(Executor):
    """Runs each call at once, in this process. Before call number `fails_at` (from 0) it raises `error`."""

    def __init__(self, fails_at: int = -1, error: BaseException | None = None) -> None:
        self.calls = 0
        self._fails_at, self._error = fails_at, error

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            if self.calls == self._fails_at and self._error is not None:
                raise self._error
            self.calls += 1
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("1..4", (1, 2, 3, 4)),
        ("1..9..4", (1, 5, 9)),
        ("0.1..0.3..0.1", (0.1, 0.2, 0.3)),
        ("100, 200,100", (100, 200)),
        ("fast,slow", ("fast", "slow")),
        (range(2, 4), (2, 3)),
    ],
)
def test_values_are_a_list_or_a_range(said: Any, values: tuple[Any, ...]) -> None:
    assert Axis.of("field", said).values == values


@pytest.mark.parametrize(
    ("vary", "problem"),
    [
        ({}, "nothing varies"),
        ({"services.desk.consumers": "4..1"}, "services.desk.consumers: '4..1' is an empty range"),
        ({"services.desk.consumers": []}, "varies over nothing"),
        ({"services.desk.consumers": "1,,2"}, "has an empty value"),
        ({"services.desk.consumers": "one..two"}, "is no range of numbers"),
        ({"services.desk.error_rate": "0.1..0.9"}, "has no steps"),
        ({"services.desk.consumers": "1..1000000"}, "over 100,000"),
        ({"services.desk.consumer": "1..2"}, "there is no field 'consumer'; there are: consumers"),
        ({"services.shop.consumers": "1..2"}, "there is no field 'shop'; there are: desk"),
        ({"services.desk.queue.weights": "1"}, "services.desk.queue is None and has none below it"),
        ({"faults.0.at_s": "1"}, "there is no field '0'"),
        ({"services.desk.consumers": "1,two"}, "with services.desk.consumers=two: services.desk.consumers: Input"),
        ({"services.desk.consumers": "0..2"}, "services.desk.consumers: Input should be greater than or equal to 1"),
    ],
)
def test_what_cannot_vary_so_is_refused_before_anything_runs(vary: dict[str, Any], problem: str) -> None:
    executor = Counting()
    with pytest.raises(InvalidScenario) as refused:
        sim.sweep(SMALL, vary, executor=executor)
    assert problem in str(refused.value) and executor.calls == 0


def test_seeds_are_whole_numbers_in_a_row() -> None:
    with pytest.raises(InvalidScenario, match="give such as range"):
        sim.sweep(SMALL, {"services.desk.consumers": "1..2"}, seeds=3)  # type: ignore[arg-type]


def test_any_field_varies_by_its_path() -> None:
    kill = {"kind": "kill", "service": "desk", "at_s": 0.5}
    varied = with_fields(SMALL, {"faults": [kill], "drain_s": 3, "services.desk.service_time.mean_s": 0.5})
    assert with_fields(varied, {"faults.0.at_s": 0.25}).faults[0].at_s == 0.25
    assert (varied.drain_s, SMALL.drain_s) == (3.0, 30.0)
    assert with_fields(SMALL, {}) == SMALL


def test_what_follows_from_a_field_follows_from_its_new_value() -> None:
    """The weights of a mix, the shares of what is emitted, the faults that are drawn for a plan."""
    load = {"kind": "constant", "event": {"placed": 1, "changed": 1}, "rate_per_s": 10, "duration_s": 60}
    desk = service().model_dump() | {"emits": {"paid": 0.9, "refused": 0.1}}
    random = {"kind": "random", "every_s": 20.0}
    services = {"desk": desk, "till": service(consumes="changed").model_dump()}
    mixed = Scenario.model_validate({"name": "m", "load": load, "services": services, "faults": [random]})
    one = with_fields(mixed, {"services.till.consumes": "placed", "load.event": "placed"})
    assert one.offered_load.events == {"placed": 1.0}
    both = with_fields(mixed, {"services.desk.emits": ["paid", "refused"]}).services["desk"]
    assert both.emits == ("paid", "refused") and both.emits_shares == ()
    longer = with_fields(mixed, {"load.duration_s": 300})
    assert max(fault.at_s for fault in longer.faults) > 200
    rarer = pickle.loads(pickle.dumps(with_fields(longer, {"faults.0.every_s": 100.0})))
    assert len(rarer.faults) < len(longer.faults) and rarer.declared_faults[0].every_s == 100.0
    assert with_fields(mixed, {}) == mixed and with_fields(mixed, {}).declared_faults == mixed.declared_faults
    kept = Scenario.model_validate_json(longer.model_dump_json(by_alias=True))
    assert kept.faults == kept.declared_faults == longer.faults


def test_a_latin_hypercube_has_one_point_in_each_stratum_of_each_field() -> None:
    axes = axes_of({"services.desk.error_rate": "0..1.0", "load.rate_per_s": "100.0..200.0"})
    drawn = np.array(latin_hypercube(axes, 16))
    for column, (low, high) in zip(drawn.T, ((0.0, 1.0), (100.0, 200.0)), strict=True):
        assert sorted(np.floor(16 * (column - low) / (high - low)).tolist()) == list(range(16))
    assert latin_hypercube(axes_of(TWO), 200) != latin_hypercube(axes_of(TWO), 200, seed=1)
    assert set(latin_hypercube(axes_of(TWO), 200)) == set(grid(axes_of(TWO)))


def test_the_bytes_are_the_same_on_any_executor_with_any_number_of_workers_and_hash_seed(tmp_path: Path) -> None:
    own = tmp_path / "own"
    program = (
        "import sim; from tests.sim.test_sweep import SMALL, TWO\n"
        f"sim.sweep(SMALL, TWO, seeds=range(2), workers=2, out={str(own)!r})"
    )
    run = [sys.executable, "-c", program]
    subprocess.run(run, env=os.environ | {"PYTHONHASHSEED": "7"}, check=True, timeout=120)
    written = [own.read_bytes()]
    with ThreadPoolExecutor(2) as threads:
        for name, executor in {"threads": threads, "in order": Counting()}.items():
            sim.sweep(SMALL, TWO, seeds=range(2), executor=executor, out=tmp_path / name)
            written.append((tmp_path / name).read_bytes())
    assert set(written) == {written[0]}


def test_trap_53_a_point_has_the_random_numbers_of_every_other_point() -> None:
    """Common random numbers: what varies is all that differs. The drain is never needed, so it changes nothing."""
    swept = sim.sweep(
        SMALL, {"drain_s": [20, 30], "services.desk.consumers": [1, 2]}, seeds=range(3), executor=Counting()
    )
    slow, fast, slow_too, _ = (point.found.metrics for point in swept.points)
    assert slow["lag_s_p50"].tolist() == slow_too["lag_s_p50"].tolist()
    assert (fast["lag_s_p99"] < slow["lag_s_p99"]).all()


def test_what_was_finished_before_an_interruption_is_not_simulated_again(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    sim.sweep(SMALL, TWO, seeds=range(2), executor=Counting(), out=whole)
    interrupted = Counting(fails_at=4, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        sim.sweep(SMALL, TWO, seeds=range(2), executor=interrupted, out=out)
    assert not out.exists() and interrupted.calls >= 4
    beside = tmp_path / "out.unfinished"
    lost = b'\n{"key": "\xff"}\n' + b"[" * 100_000  # a disk that lost something
    beside.write_bytes(beside.read_bytes().rstrip() + lost + b'\n{"key": "cut o')  # killed in the middle of a write
    rest = Counting()
    sim.sweep(SMALL, TWO, seeds=range(2), executor=rest, out=out)
    assert 0 < rest.calls <= 2
    assert out.read_bytes() == whole.read_bytes() and not beside.exists()
    more = Counting()
    sim.sweep(SMALL, TWO | {"load.rate_per_s": "20,40,60"}, seeds=range(2), executor=more, out=out)
    assert more.calls == 3


def test_a_file_of_the_scenario_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace, other = tmp_path / "trace.csv", tmp_path / "other.csv"
    for file, rows in ((trace, 3), (other, 4)):
        file.write_text("\n".join(["ts", *map(str, range(rows))]))
    replay = TraceLoad(kind="trace", event="placed", file=trace, columns={"at": "ts"}, time_scale=0.1)
    declared, hashed = scenario(replay, desk=service()), []
    variants = [
        with_fields(declared, {"load.file": str(file), "services.desk.consumers": consumers})
        for file in (trace, other)
        for consumers in (1, 2)
    ]

    def read_bytes(file: Path) -> bytes:
        hashed.append(file.name)
        with file.open("rb") as opened:
            return opened.read()

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert len(set(keys_of([Point(variant, (0,)) for variant in variants]))) == 4
    assert hashed == ["trace.csv", "other.csv"]


def test_a_process_that_is_killed_is_replaced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with Processes(1) as own:
        first = own.submit(os.getpid).result()
        assert own.submit(dies_unless, first).result() != first
        dying = own.submit(dies_unless, 0)
        with pytest.raises(Exception, match="was killed"):
            dying.result()
    monkeypatch.setattr(points, "simulated", lambda point: os.abort())
    broken = Counting(fails_at=0, error=RuntimeError("scheduler is gone"))
    with pytest.raises(SweepFailed, match=r"the executor failed \(RuntimeError scheduler is gone\)"):
        sim.sweep(SMALL, TWO, executor=broken)


def test_a_sweep_is_written_and_read(tmp_path: Path) -> None:
    slow = scenario(poisson(30.0, 1.0), drain_s=0.5, desk=service(0.2))
    vary = {"services.desk.consumers": [1, 12]}
    swept = sim.sweep(slow, vary, seeds=range(3), expect=["lag_s_p99 < 1 s"], executor=Counting(), out=tmp_path / "s")
    read = sim.Sweep.open(tmp_path / "s")
    assert str(read) == str(swept) and "simulated at 2 points of services.desk.consumers: 3 seeds each" in str(swept)
    assert [one.outcome for _, one in read.each_judged()] == ["fails", "holds"]
    frame = read.frame()
    assert (
        frame["services.desk.consumers"].tolist() == [1, 1, 1, 12, 12, 12] and frame["seed"].tolist() == [0, 1, 2] * 2
    )
    assert (frame["lag_s_p99_unhandled"] > 0).tolist() == [True] * 3 + [False] * 3
    assert "&gt;= 1.5" in read._repr_html_()
    assert [overload.service for _, overload in read.overloads()] == ["desk"]
    (tmp_path / "other").write_text("nothing")
    with pytest.raises(SweepFailed, match="is no sweep"):
        sim.sweep(slow, vary, seeds=range(3), out=tmp_path / "other")
    assert (tmp_path / "other").read_text() == "nothing"


def test_a_sweep_is_drawn() -> None:
    swept = sim.sweep(SMALL, TWO, seeds=range(3), expect=["lag_s_p99 < 1"], executor=Counting())
    assert [axes.get_xlabel() for axes in figure_of(swept).axes][:1] == ["services.desk.consumers"]
    line = figure_of(sim.sweep(SMALL, {"load.rate_per_s": [20, 40]}, seeds=range(3), executor=Counting()))
    assert line.axes[0].get_ylabel() == "lag_s_p99 (s)"
    three = sim.sweep(SMALL, TWO | {"drain_s": [1]}, seeds=[0], executor=Counting())
    with pytest.raises(InvalidScenario, match="3 fields vary"):
        figure_of(three)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(points, "Processes", lambda workers: Counting())
    declared = json.loads(SMALL.model_dump_json(by_alias=True, exclude_defaults=True))
    Path("small.yaml").write_text(json.dumps(declared))  # which is YAML too

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["sweep", "small.yaml", "--seeds", "3", "--workers", "1", *arguments])

    vary = ["--vary", "services.desk.consumers=1..2", "--vary", "load.rate_per_s=20,25"]
    done = run(
        *vary, "--expect", "lag_s_p99 < 10", "--figure", "map.png", "--out", "points.parquet", "--json", "s.json"
    )
    assert done.exit_code == 0, done.output
    assert "Every expectation holds." in done.output and "points.parquet" in done.output
    assert imread("map.png").size and len(sim.Sweep.open("points.parquet")) == 4
    told = json.loads(Path("s.json").read_text())
    assert told["points"][0]["values"] == {"services.desk.consumers": 1, "load.rate_per_s": 20}
    assert told["points"][0]["metrics"]["lag_s_p99"]["runs"] == 3
    failed = run(*vary, "--expect", "throughput_per_s > 1000", "--junit", "junit.xml")
    assert failed.exit_code == 1 and 'failures="4"' in Path("junit.xml").read_text()
    named = run(*vary, "--metric", "desk.lag_s_p50", "--expect", "desk.lag_s_p95 < 10", "--figure", "map.svg")
    assert named.exit_code == 0 and "lag_s_p50" in named.output
    monkeypatch.setattr(points, "simulated", lambda point: pytest.fail("it is refused before anything runs"))
    for wrong in (
        ["--vary", "consumers"],
        ["--vary", "name="],
        [*vary, "--metric", "lag"],
        [*vary, "--metric", "shop.lag_s_p50"],
        [*vary, "--figure", "map.pdf"],
        [*vary, "--vary", "drain_s=1..2", "--figure", "map.png"],
    ):
        refused = run(*wrong)
        assert refused.exit_code == 2 and refused.output.splitlines()[-1].startswith("error:")


def test_a_busy_machine_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def product_at(url: str) -> str:
        return "Redis 8.2.3"

    monkeypatch.setattr(live, "product_at", product_at)
    monkeypatch.setattr(Calibration, "check_fits", lambda *_: None)
    busy = Calibration((Block(0, {"lateness_s": [[0.0001] * 95 + [0.003] * 5]}),))
    busy.save(tmp_path / "busy.json")
    measured = machine_in(tmp_path / "busy.json", "redis://nowhere")
    assert measured is not None and measured.digest() == busy.digest()
    assert "Note: the machine was busy when it was timed" in capsys.readouterr().err


@pytest.mark.parametrize("changes", [{}, {"warm_up_s": 0.3}, {"load.rate_per_s": 100}])
def test_a_point_is_what_all_its_runs_together_come_to(changes: dict[str, Any]) -> None:
    declared = with_fields(SMALL, changes)
    history = simulate(declared, range(4))
    found, expected = points.simulated(Point(declared, tuple(range(4)))), measure(history)
    assert list(found.metrics) == list(expected)
    for name, values in expected.items():
        assert np.array_equal(found.metrics[name], values, equal_nan=True), name
    assert {name: shares.tolist() for name, shares in found.metrics.unhandled.items()} == {
        name: shares.tolist() for name, shares in expected.unhandled.items()
    }
    assert found.overloads == tuple(overloads(history))
    assert bool(found.overloads) == ("load.rate_per_s" in changes)


def test_a_point_takes_the_memory_of_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """With four times the seeds, its peak is the same to a fifth."""
    monkeypatch.setattr(points, "_GARBAGE_ROWS", 0)
    busy = scenario(poisson(300.0, 1.0), desk=service(0.0))
    points.simulated(Point(busy, (0,)))  # what is imported and kept for later
    peaks = []
    for seeds in (2, 8):
        tracemalloc.start()
        points.simulated(Point(busy, tuple(range(seeds))))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_its_errors_are_errors_of_sim() -> None:
    assert issubclass(SweepFailed, SimError)
