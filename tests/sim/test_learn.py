"""What is learned from a deployment in virtual time, whose truth is known, by looks that miss most of what happens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from eventlib.broker.watching import EntryId
from sim.cli.commands import app
from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.learn.estimate import TooLittle, learn
from sim.learn.pace import ENTRIES_PER_S, Pace
from sim.learn.recording import Recording
from sim.learn.survival import Observations, estimate
from sim.learn.write import event_type, scenario_text, service_name, write_trace
from tests.sim.deployment import deploy
from tests.sim.test_full_disk import full_disk

Draw = Callable[[np.random.Generator, int], Floats]


def exponential(mean_ms: float) -> Draw:
    return lambda rng, n: rng.exponential(mean_ms, n)


def constant(mean_ms: float) -> Draw:
    return lambda _rng, n: np.full(n, mean_ms)


def lognormal(mean_ms: float, cv: float) -> Draw:
    variance = np.log1p(cv**2)
    return lambda rng, n: rng.lognormal(np.log(mean_ms) - variance / 2, np.sqrt(variance), n)


# How it is deployed, the true mean in ms, the true CV, and how many entries a consumer works on at once.
DEPLOYED: dict[str, tuple[dict[str, Any], float, float, int]] = {
    "one by one": ({"rate_per_s": 30, "service_ms": exponential(20)}, 20, 1.0, 1),
    "shorter than looks are apart": ({"rate_per_s": 150, "service_ms": exponential(3)}, 3, 1.0, 1),
    "three consumers": ({"rate_per_s": 100, "service_ms": lognormal(20, 0.5), "consumers": 3}, 20, 0.5, 1),
    "reads of ten": ({"rate_per_s": 30, "service_ms": exponential(20), "count": 10}, 20, 1.0, 1),
    "four at once": (
        {"rate_per_s": 70, "service_ms": exponential(40), "at_once": 4, "reads_when_empty": False},
        40,
        1.0,
        4,
    ),
    "four at once, in order": (
        {"rate_per_s": 70, "service_ms": constant(40), "at_once": 4, "reads_when_empty": False},
        40,
        0.0,
        4,
    ),
    "four at once, looks far apart": (
        {
            "rate_per_s": 52,
            "service_ms": lognormal(50, 0.5),
            "at_once": 4,
            "reads_when_empty": False,
            "look_every_ms": 50.0,
            "seed": 3,
        },
        50,
        0.5,
        4,
    ),
    "four at once, shorter than looks are apart": (
        {
            "rate_per_s": 100,
            "service_ms": lognormal(20, 0.5),
            "at_once": 4,
            "reads_when_empty": False,
            "look_every_ms": 52.0,
        },
        20,
        0.5,
        4,
    ),
    "four at once, four ahead": (
        {"rate_per_s": 70, "service_ms": exponential(40), "at_once": 4, "count": 8, "reads_when_empty": False},
        40,
        1.0,
        4,
    ),
}


@pytest.mark.parametrize("name", DEPLOYED)
def test_service_times_and_concurrency_are_learned(name: str) -> None:
    deployed, mean_ms, cv, at_once = DEPLOYED[name]
    record, _ = deploy(**deployed, seconds=40.0)
    learned = learn(record)
    found = learned.findings["service_time"]
    assert found.low is not None and found.high is not None
    # The interval is one of 95 %; twice as wide, it fails in one of ten thousand seeds. This is one seed.
    half = found.high - found.low
    assert abs(found.value - mean_ms / 1e3) < half < 0.3 * mean_ms / 1e3
    assert learned.service_s.std() / learned.service_s.mean() == pytest.approx(cv, abs=0.15)
    assert learned.workers.at_once == at_once
    assert learned.findings["arrival_rate"].value == pytest.approx(len(record.arrivals) / record.watched_s, rel=0.02)


def test_most_services_are_never_seen_and_still_counted() -> None:
    """Or the mean would be that of the long ones: a look sees an entry in proportion to its time."""
    record, _ = deploy(**DEPLOYED["shorter than looks are apart"][0], seconds=40.0)
    seen = len({each.id for each in record.deliveries})
    assert seen < 0.15 * len(record.arrivals)
    assert learn(record).findings["service_time"].value == pytest.approx(0.003, rel=0.15)


def test_failures_are_neither_long_services_nor_concurrency() -> None:
    """Entries that fail stay pending until another delivery, which may end unseen; meanwhile others are handled."""
    record, _ = deploy(rate_per_s=30, service_ms=exponential(15), error_rate=0.05, seconds=60.0)
    learned = learn(record)
    found = learned.findings["error_rate"]
    assert found.low is not None and found.high is not None and found.low < 0.05 < found.high
    assert learned.workers.at_once == 1
    assert learned.findings["service_time"].value == pytest.approx(0.015, rel=0.12)
    assert learned.retries is not None and learned.retries.wait_s == pytest.approx(0.5, abs=0.05)


def test_the_lag_that_was_seen_has_the_true_one_within_its_bounds() -> None:
    record, lags = deploy(**DEPLOYED["four at once"][0], seconds=40.0)
    seen = learn(record).lag
    for q, (low, high) in ((0.5, seen.p50_s), (0.95, seen.p95_s)):
        assert low < float(np.quantile(lags, q)) < high
    assert seen.mean_s == pytest.approx(lags.mean(), rel=0.05)


def test_ids_that_are_no_times_are_said_to_be_none() -> None:
    record, _ = deploy(**DEPLOYED["one by one"][0], seconds=20.0)
    record.arrivals = [EntryId(number, 0) for number, _ in enumerate(record.arrivals, 1)]
    learned = learn(record)
    assert "ids are no times" in learned.findings["arrival_rate"].how
    assert learned.lag.n == 0


def test_a_server_without_lag_and_entries_read_tells_as_much() -> None:
    """After an entry was deleted the server may not know them; the ids and the last delivered one do."""
    record, _ = deploy(**DEPLOYED["three consumers"][0], seconds=20.0)
    told = learn(record)
    record.looks = [(at_ms, state._replace(reads=None, waiting=None)) for at_ms, state in record.looks]
    alone = learn(record)
    assert alone.findings["service_time"].value == pytest.approx(told.findings["service_time"].value, rel=0.02)
    assert alone.at_begin <= told.at_begin


def test_too_little_is_refused() -> None:
    record, _ = deploy(**DEPLOYED["one by one"][0], seconds=20.0)
    record.looks = record.looks[:1]
    with pytest.raises(TooLittle, match="too short a time"):
        learn(record)


def test_the_estimate_undoes_what_looks_miss() -> None:
    """Looks every 30 ms see a service of x ms with probability x / 30, and only that it ended between two of them."""
    rng = np.random.default_rng(2)
    true_s, offset_s, step_s = rng.gamma(2.0, 0.015, 40_000), rng.uniform(0, 0.03, 40_000), 0.03
    seen = true_s > offset_s
    steps = np.floor((true_s[seen] - offset_s[seen]) / step_s)
    low_s = offset_s[seen] + steps * step_s
    found = estimate(Observations(offset_s[seen], low_s, low_s + step_s))
    assert found.mean_s == pytest.approx(true_s.mean(), rel=0.1)
    assert true_s[seen].mean() > 1.2 * true_s.mean()  # those that were seen are the long ones
    for q in (0.5, 0.9):
        assert np.quantile(found.values(200), q) == pytest.approx(np.quantile(true_s, q), rel=0.1)


def test_the_pace_keeps_its_limits_in_every_second() -> None:
    import random

    for rows in (0, 900):
        pace, now_s, sent = Pace(100.0, random.Random(1)), 0.0, []
        while now_s < 20.0:
            now_s += pace.wait_s(now_s, 3) + 1e-9
            pace.spend(now_s, 3, rows)
            sent.append(now_s)
        at_s = np.array(sent)
        most = max(np.count_nonzero((at_s > begin) & (at_s <= begin + 1.0)) for begin in at_s)
        assert 3 * most <= 100 and (most - 1) * rows <= ENTRIES_PER_S
        assert np.diff(at_s).std() > 0.1 * np.diff(at_s).mean()  # uneven


def test_names_of_others_make_a_scenario(tmp_path: Any) -> None:
    """A group or a stream may have any name, a service and an event type may not."""
    record, _ = deploy(**DEPLOYED["one by one"][0], seconds=20.0)
    record.stream, record.group = "{a:b} \x1b[31m #\n:", "callers"
    learned = learn(record)
    from sim.learn.write import scenario_of

    write_trace(learned, tmp_path / "t.csv")
    scenario = scenario_of(scenario_text(record, learned, tmp_path / "t.csv"), tmp_path)
    assert scenario.services[service_name(record)].consumes == event_type(record)
    assert scenario.plan(0).arrivals_s.size == learned.arrivals_s.size


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (KeyboardInterrupt(), 130, "Ctrl-C was pressed"),
        (InvalidScenario("billing", "too many rows"), 2, "billing: too many rows"),
    ],
)
def test_what_was_watched_is_kept_where_it_cannot_be_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, told: str
) -> None:
    """A day of watching is not lost because the trial at its end is."""
    record, _ = deploy(rate_per_s=30, service_ms=exponential(20), seconds=20.0)

    async def seen(*_: object) -> Recording:
        return record

    def ended(*_: object) -> None:
        raise error

    monkeypatch.setattr("sim.cli.learn._watch", seen)
    monkeypatch.setattr("sim.learn.trial.try_out", ended)
    out = tmp_path / "mine.yaml"
    result = CliRunner().invoke(app, ["learn", "redis://nowhere", "orders", "billing", "--out", str(out)])
    assert result.exit_code == status and f"It was not simulated: {told}" in " ".join(result.stderr.split())
    assert Scenario.load(out).plan(0).arrivals_s.size > 100


def test_arrivals_that_do_not_fit_on_the_disk_stand_in_no_ones_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = deploy(rate_per_s=30, service_ms=exponential(20), seconds=20.0)

    async def seen(*_: object) -> Recording:
        return record

    monkeypatch.setattr("sim.cli.learn._watch", seen)
    with full_disk(10_000):
        result = CliRunner().invoke(
            app, ["learn", "redis://nowhere", "orders", "billing", "--out", str(tmp_path / "m.yaml")]
        )
    assert result.exit_code == 2 and list(tmp_path.iterdir()) == []
