"""Calibrations: what is put in comes out, a file holds all of it, and what was measured elsewhere is refused."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from eventlib import BrokerError
from sim.calibration import PARTS, Calibration
from sim.cli.commands import app
from sim.declare.scenario import Scenario
from sim.environment import now
from sim.errors import CalibrationFailed, InvalidCalibration
from sim.evidence.history import History
from sim.infer.calibrate import calibration_at, calibration_of, probes, undisturbed
from sim.infer.discrepancy import discrepancy
from sim.infer.steps import blocks_of
from sim.timings import RESTS_S, STEPS, Block, CpuCost, CpuUse, rest_class
from sim.worlds.live import product_at
from sim.worlds.simulated import simulate
from tests.model.small import exponential, poisson, rows_of, scenario, service

TRUE_S = {
    "lateness_s": 0.0001,
    "append_s": 0.0003,
    "publish_s": 0.0006,
    "dispatch_s": 0.0004,
    "read_s": 0.0005,
    "handle_s": 0.0003,
}
TRUE_S |= {"next_s": 0.00025, "settle_s": 0.0007, "retry_s": 0.002, "start_s": 0.03}
BUSY = scenario(poisson(100.0, 2.0), desk=service(service_time=exponential(0.008), consumers=2))


def measured(**changes: Any) -> Calibration:
    """A calibration of two runs with blocks that differ, as if it had been measured here."""
    rng = np.random.default_rng(1)

    def block(run: int, number: int) -> Block:
        classes = [
            (0.0002 + 0.001 * rest + 0.0005 * number + rng.exponential(0.0002, 30)).tolist() for rest in range(5)
        ]
        return Block(run, {step: [[round(one, 7) for one in of_class] for of_class in classes] for step in STEPS})

    cpu = [
        CpuUse(run, role, 0.1 * run + 0.2, 900.0, 1000.0 * (run + 1))
        for run in range(2)
        for role in ("consumer", "server")
    ]
    found = Calibration.measured([block(run, number) for run in range(2) for number in range(4)], cpu, "Redis 8.2.3")
    return replace(found, **changes)


def rows_of_calibrated(calibration: Calibration | None, declared: Scenario = BUSY) -> bytes:
    return simulate(declared, [3], calibration=calibration).rows.tobytes()


# What is put in comes out


@pytest.fixture(scope="module")
def probed() -> list[History]:
    """The probes, in a simulated world whose steps are known."""
    known = Calibration.constant(**TRUE_S)
    return [simulate(one, [index], calibration=known) for index, one in enumerate(probes(4.0).values())]


@pytest.fixture(scope="module")
def found(probed: list[History]) -> Calibration:
    return calibration_of(probed)


@pytest.mark.parametrize("step", STEPS)
def test_each_step_is_read_from_a_history_as_it_was_put_in(found: Calibration, step: str) -> None:
    samples = np.concatenate([found.samples_s(step, rest) for rest in range(5)])
    assert np.median(samples) == pytest.approx(TRUE_S[step], abs=2e-7)


def test_rests_are_told_apart(probed: list[History]) -> None:
    """A busy handler has rested as long as its service time was."""
    [*blocks] = blocks_of(probed[0], ["one"], ["busy"], 0)
    reads = [sum(len(block.steps["read_s"][rest]) for block in blocks) for rest in range(5)]
    asked_s = probed[0].scenario.plan(0).service_s["busy"][: sum(reads)]
    expected = np.bincount([rest_class(one - TRUE_S["settle_s"]) for one in asked_s], minlength=5)
    assert sum(reads) > 50 and np.abs(np.array(reads) - expected).max() <= 0.15 * sum(reads)


def test_a_history_without_a_step_is_no_calibration(probed: list[History]) -> None:
    with pytest.raises(CalibrationFailed, match="nothing to read next_s from"):
        calibration_of(probed[1:])


def test_processor_time_is_split_into_waking_up_and_events() -> None:
    uses = [
        CpuUse(run, "consumer", 1e-4 * wakes + 5e-5 * n, wakes, n)
        for run, wakes, n in ((0, 100, 100), (1, 50, 400), (2, 0, 900))
    ]
    found = measured(cpu=tuple(uses)).cpu_cost("consumer")
    assert (found.wake_s, found.event_s) == pytest.approx((1e-4, 5e-5))
    assert measured(cpu=tuple(uses)).cpu_cost("server") == CpuCost()
    idling = [
        replace(use, cpu_s=use.cpu_s + 0.01 * lasted_s, lasted_s=lasted_s)
        for use, lasted_s in zip(uses, (9, 2, 1), strict=True)
    ]
    found = measured(cpu=tuple(idling)).cpu_cost("consumer")
    assert (found.wake_s, found.event_s) == pytest.approx((1e-4, 5e-5)), (
        "what a process does without any event is no part"
    )


# The file


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    saved = measured()
    saved.save(tmp_path / "c.json")
    loaded = Calibration.load(tmp_path / "c.json")
    assert loaded.digest() == saved.digest() and loaded == saved
    assert rows_of_calibrated(loaded) == rows_of_calibrated(saved)


def test_what_is_no_calibration_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    with pytest.raises(InvalidCalibration, match="cannot be read: No such file"):
        Calibration.load(file)
    measured().save(file)
    whole = json.loads(file.read_text())
    for broken, problem in (
        ("{", "is no calibration"),
        ("[]", "is no calibration"),
        (
            json.dumps(whole | {"format": 99}),
            "is of format 99, this version reads 2; measure one with `workbench calibrate",
        ),
        (json.dumps({name: value for name, value in whole.items() if name != "cpu"}), "is no calibration"),
        (json.dumps(whole | {"blocks": [{"run": 0, "steps": {"publish_s": [["x"]]}}]}), "is no calibration"),
        (json.dumps(whole | {"blocks": [{"run": 0, "steps": {"other_s": [[1.0]]}}]}), "is no calibration"),
        (json.dumps(whole | {"blocks": [{"run": 0, "steps": {"publish_s": [[-1.0]]}}]}), "is no calibration"),
        (json.dumps(whole | {"blocks": []}), "is no calibration"),
        (json.dumps(whole | {"blocks": [{"run": 0, "steps": {}}]}), "there are no blocks with times"),
        (json.dumps(whole | {"discrepancy": -1.0}), "discrepancy is -1.0, no number of 0 or more"),
        (json.dumps(whole | {"cpu": [whole["cpu"][0] | {"cpu_s": math.nan}]}), "cpu_s is nan, no number of 0 or more"),
        (json.dumps(whole | {"cpu": [whole["cpu"][0] | {"wakes": "5"}]}), "wakes is '5', no number of 0 or more"),
        (json.dumps(whole | {"cpu": [whole["cpu"][0] | {"role": "x"}]}), "there is no role 'x'"),
        (json.dumps(whole | {"machine": []}), "is no calibration"),
        (json.dumps(whole | {"machine": {"CPUs": 2}}), "machine is no text by name"),
        (json.dumps(whole | {"left_out": ["x"]}), "there is no part 'x'"),
        (json.dumps(whole | {"run": 1, "blocks": [{"run": 1e400, "steps": {}}]}), "is no calibration"),
    ):
        file.write_text(broken)
        with pytest.raises(InvalidCalibration, match=problem):
            Calibration.load(file)
    with pytest.raises(InvalidCalibration, match="cannot be written"):
        measured().save(tmp_path)


@pytest.mark.parametrize("name", ["processor", "CPUs", "Python", "event-workbench", "redis-py", "server"])
def test_a_calibration_of_another_machine_server_or_library_is_refused(name: str) -> None:
    here = measured()
    here.check_fits("Redis 8.2.3")
    other = replace(
        here,
        machine={**here.machine, name: "another"} if name in here.machine else here.machine,
        versions={**here.versions, name: "0.0"} if name in here.versions else here.versions,
    )
    with pytest.raises(InvalidCalibration, match=f"{name} .*here .*workbench calibrate --out FILE"):
        other.check_fits("Redis 7.0.15" if name == "server" else "Redis 8.2.3")


@pytest.mark.parametrize(
    ("steps", "problem"), [({"other_s": 1.0}, "no step 'other_s'"), ({"read_s": -1.0}, "read_s is -1")]
)
def test_constants_are_steps_in_seconds(steps: dict[str, float], problem: str) -> None:
    with pytest.raises(InvalidCalibration, match=problem):
        Calibration.constant(**steps)


# What the simulated world takes from it


def test_a_seed_keeps_its_arrivals_and_service_times() -> None:
    """What the machine adds comes from streams of its own."""
    slow, fast = simulate(BUSY, [3], calibration=measured()), simulate(BUSY, [3])
    assert slow.rows.tobytes() == rows_of_calibrated(measured())
    for of in ("intended_s", "message"):
        first, second = (np.sort(rows_of(history, "sent")[of]) for history in (slow, fast))
        assert np.array_equal(first, second)
    assert slow.calibration["digest"] == measured().digest() and fast.calibration == {}


def test_a_digest_is_of_all_that_is_simulated() -> None:
    whole = measured()
    others = [whole.without("cpu"), whole.resampled(1), replace(whole, cpu=()), replace(whole, blocks=whole.blocks[1:])]
    assert len({one.digest() for one in (whole, *others)}) == 5


@pytest.mark.parametrize("part", PARTS)
def test_each_part_can_be_left_out(part: str) -> None:
    whole = measured(scales={"handle_s": [0.5] * 5})
    assert rows_of_calibrated(whole.without(part)) != rows_of_calibrated(whole)
    assert simulate(BUSY, [3], calibration=whole.without(part)).calibration["without"] == [part]


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(InvalidCalibration, match="no part 'other'; there are: scales"):
        measured().without("other")


def test_means_are_kept_where_distributions_are_left_out() -> None:
    whole = measured()
    for rest in range(5):
        assert whole.without("distributions").samples_s("read_s", rest).tolist() == [
            pytest.approx(whole.samples_s("read_s", rest).mean())
        ]


def test_resampling_draws_whole_blocks_of_each_run() -> None:
    whole = measured()
    drawn = [whole.resampled(seed) for seed in range(20)]
    assert drawn[0] == whole.resampled(0) and len({one.digest() for one in drawn}) > 15
    for one in drawn:
        assert one.cpu == whole.cpu, "each run shows another side of them"
        assert [block.run for block in one.blocks] == [block.run for block in whole.blocks]
        assert all(block in whole.blocks for block in one.blocks)
    means = [one.samples_s("read_s", 2).mean() for one in drawn]
    assert np.std(means) > 0.5 * 0.0005 * np.std(range(4)) / np.sqrt(8), (
        "blocks differ, so a bootstrap of samples is too sure"
    )


def test_resampling_doubts_all_that_the_machine_adds() -> None:
    """By a lognormal factor that its discrepancy is the deviation of, for steps and processor time alike."""
    sure, unsure = measured(), measured(discrepancy=0.3)
    assert sure.resampled(1).stretch == 1.0 and unsure.stretch == 1.0
    drawn = [unsure.resampled(seed) for seed in range(400)]
    assert np.std(np.log([one.stretch for one in drawn])) == pytest.approx(0.3, rel=0.1)
    one = drawn[7]
    for rest in range(5):
        assert one.samples_s("read_s", rest) == pytest.approx(
            one.stretch * replace(one, stretch=1.0).samples_s("read_s", rest)
        )
    assert one.cpu_cost("server").event_s == pytest.approx(
        one.stretch * replace(one, stretch=1.0).cpu_cost("server").event_s
    )


def test_the_discrepancy_is_how_far_a_simulation_of_the_probes_is_off(
    probed: list[History], found: Calibration
) -> None:
    """Where twice as much is added as was measured, the logarithm of the ratio is ln 2."""
    assert found.discrepancy < 0.1
    twice = replace(found, stretch=2.0)
    assert discrepancy(twice, probed[:2], ("one", "killed")) == pytest.approx(np.log(2.0), abs=0.25)


def test_a_class_with_few_samples_takes_its_neighbours() -> None:
    steps = {"read_s": [[0.001] * 30, [0.002], [], [], [0.005] * 30]}
    found = Calibration((Block(0, steps),))
    assert [sorted(set(found.samples_s("read_s", rest).tolist())) for rest in range(5)] == [
        [0.001],
        [0.001, 0.002],
        [0.001, 0.002, 0.005],
        [0.005],
        [0.005],
    ]
    assert len(RESTS_S) == 4


# The command


def calibrating(monkeypatch: pytest.MonkeyPatch, found: Calibration | Exception, *arguments: Any) -> Any:
    """`workbench calibrate` on a machine where this is measured."""

    async def calibrate(**_: Any) -> tuple[Calibration, list[History]]:
        if isinstance(found, Exception):
            raise found
        return found, []

    monkeypatch.setattr("sim.infer.calibrate.calibrate", calibrate)
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


def test_the_command_writes_what_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file, whole = tmp_path / "c.json", measured()
    result = calibrating(monkeypatch, whole, "--out", file, "--json", tmp_path / "told.json")
    assert result.exit_code == 0 and "lateness_s" in result.stdout and "Note: the machine was busy" in result.stdout
    assert Calibration.load(file) == whole
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["calibration"] == whole.about() and told["file"] == str(file)


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (CalibrationFailed("calibration", "nothing to read read_s from"), 3),
        (InvalidCalibration("c.json", "is none"), 2),
    ],
)
def test_a_calibration_that_failed_has_a_line_and_a_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: Exception, status: int
) -> None:
    result = calibrating(monkeypatch, found, "--out", tmp_path / "c.json")
    assert (result.exit_code, result.stderr.split("\n")[-2]) == (status, f"error: {found}")
    assert not (tmp_path / "c.json").exists()


def test_a_file_that_cannot_be_written_is_refused_before_measuring(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = calibrating(monkeypatch, AssertionError("it measured"), "--out", tmp_path / "missing" / "c.json")
    assert result.exit_code == 2 and "cannot be written" in result.stderr


async def test_a_file_that_has_no_room_is_refused_before_measuring(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(InvalidCalibration, match="its directory cannot be made"):
        await calibration_at(tmp_path / "taken" / "c.json", url="redis://127.0.0.1:1")


async def test_what_was_measured_here_is_read_and_not_measured_again(tmp_path: Path, url: str) -> None:
    """A file of another server, or none, has the machine measured: here that is refused, to see it."""
    file = tmp_path / "reports" / "calibration.json"
    with pytest.raises(BrokerError):
        await calibration_at(file, url="redis://127.0.0.1:1")
    here = replace(measured(), blocks=(Block(0, {"lateness_s": [[0.0001]]}),), server=await product_at(url))
    here.save(file)
    assert await calibration_at(file, url=url) == here
    file.write_text("{}")
    with pytest.raises(InvalidCalibration, match="is no calibration"):
        await calibration_at(file, url=url)


async def test_what_an_older_version_has_measured_here_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    async def calibrate(**_: Any) -> tuple[Calibration, list[History]]:
        return measured(), []

    monkeypatch.setattr("sim.infer.calibrate.calibrate", calibrate)
    file = tmp_path / "calibration.json"
    measured().save(file)
    older = json.loads(file.read_text()) | {"format": 1}
    file.write_text(json.dumps(older))
    with pytest.raises(InvalidCalibration, match="is of format 1, this version reads"):
        Calibration.load(file)
    assert await calibration_at(file, url=url) == measured() == Calibration.load(file)
    file.write_text('{"format": 1}')  # anybody's
    with pytest.raises(InvalidCalibration, match="is no calibration"):
        await calibration_at(file, url=url)


async def test_what_was_measured_on_a_busy_machine_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    async def calibrate(**_: Any) -> tuple[Calibration, list[History]]:
        return here, []

    file, here = tmp_path / "calibration.json", replace(measured(), server=await product_at(url))
    busy = replace(here, blocks=(Block(0, {"lateness_s": [[0.1]]}),))
    monkeypatch.setattr("sim.infer.calibrate.calibrate", calibrate)
    recent = replace(busy, date=now())
    recent.save(file)
    assert await calibration_at(file, url=url) == recent, "it is as busy still"
    for date in ("2026-11-24T02:00:00+00:00", "2026-11-24T02:00:00", "", "9999-01-01T00:00:00+00:00"):
        replace(busy, date=date).save(file)
        assert await calibration_at(file, url=url) == here == Calibration.load(file)


# Other programs


def test_seconds_in_which_others_disturbed_the_handlers_are_left_out() -> None:
    """But for the rare steps, and for each run by what is usual there."""

    def block(run: int, late_s: float) -> Block:
        return Block(run, {"handle_s": [[late_s] * 10], "read_s": [[late_s]], "start_s": [[late_s]]})

    blocks = [*(block(0, late_s) for late_s in (0.0002, 0.00021, 0.002, 0.00022)), block(1, 0.004), block(1, 0.0041)]
    found = undisturbed(blocks)
    assert [one.steps.get("read_s") for one in found] == [
        [[0.0002]],
        [[0.00021]],
        None,
        [[0.00022]],
        [[0.004]],
        [[0.0041]],
    ]
    assert [one.steps["start_s"] for one in found] == [one.steps["start_s"] for one in blocks]


def test_a_busy_machine_is_said() -> None:
    late = Calibration((Block(0, {"lateness_s": [[0.0001] * 95 + [0.003] * 5]}),))
    assert late.was_busy and late.about()["was_busy"]
    assert not Calibration((Block(0, {"lateness_s": [[0.0001] * 100]}),)).was_busy
