"""What is learned from a deployment in virtual time, whose truth is known, by looks that miss most of what happens."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from eventlib.broker.replies import ConsumerState
from eventlib.broker.watching import Dead, EntryId, GroupState
from sim.cli.commands import app
from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.learn.estimate import TooLittle, learn, ratio
from sim.learn.evidence import Evidence
from sim.learn.findings import LagSeen
from sim.learn.pace import ENTRIES_PER_S, Pace
from sim.learn.recording import Delivery, Recording, Streams
from sim.learn.retry_stream import added_to_retries
from sim.learn.survival import Observations, estimate
from sim.learn.trial import Trial
from sim.learn.write import event_type, scenario_of, scenario_text, service_name, write_trace
from tests.sim.deployment import BEGAN_MS, deploy
from tests.sim.test_full_disk import full_disk

SHARES = np.linspace(0.05, 0.95, 19)
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
    assert any("ids are not this server's time" in note for note in learned.notes)
    assert learned.findings["arrival_rate"].value == pytest.approx(len(record.arrivals) / record.watched_s)


def test_ids_that_jump_ahead_lose_no_arrival() -> None:
    """From the middle on, ids are an hour ahead: those entries arrived all the same, between two lists."""
    record, _ = deploy(**DEPLOYED["one by one"][0], seconds=20.0)
    told, half = learn(record), len(record.arrivals) // 2
    record.arrivals[half:] = [EntryId(id_.ms + 3_600_000, id_.number) for id_ in record.arrivals[half:]]
    learned = learn(record)
    assert learned.arrivals_s.size == told.arrivals_s.size
    assert np.abs(learned.arrivals_s - told.arrivals_s).max() < 0.5
    assert any(
        f"{len(record.arrivals) - half:,} of" in note and "not this server's time" in note for note in learned.notes
    )


def test_ids_of_another_clock_are_no_times_of_this_one() -> None:
    """A publisher's clock ten seconds behind would move all arrivals by so much."""
    record, _ = deploy(**DEPLOYED["one by one"][0], seconds=20.0)
    record.arrivals = [EntryId(id_.ms - 10_000, id_.number) for id_ in record.arrivals]
    learned = learn(record)
    assert learned.arrivals_s.max() > 19.0
    assert learned.lag.n == 0 and learned.lag.unknown == "the ids are no times"


def test_a_server_without_lag_and_entries_read_tells_as_much() -> None:
    """After an entry was deleted the server may not know them; the ids and the last delivered one do."""
    record, _ = deploy(**DEPLOYED["three consumers"][0], seconds=20.0)
    told = learn(record)
    record.looks = [(at_ms, state._replace(reads=None, waiting=None)) for at_ms, state in record.looks]
    alone = learn(record)
    assert alone.findings["service_time"].value == pytest.approx(told.findings["service_time"].value, rel=0.02)
    assert alone.at_begin <= told.at_begin
    looks = len(record.looks)
    assert any(f"at {looks:,} of {looks:,} looks the server did not know" in note for note in alone.notes)


def test_looks_that_know_less_change_no_others() -> None:
    """Of entries that wait at the start and were not listed: or all of them would seem to be gone."""
    record, _ = deploy(rate_per_s=100, service_ms=constant(20.0), seconds=20.0)
    record.backlog = []
    waiting, reads = Evidence(record).waiting, Evidence(record).reads
    for number in range(3, 21):
        at_ms, state = record.looks[number]
        record.looks[number] = at_ms, state._replace(reads=None, waiting=None)
    found = Evidence(record)
    assert waiting[0] > 50
    assert np.abs(found.waiting - waiting).max() < 10
    assert np.abs(found.reads - reads).max() < 10
    assert any("at 18 of" in note for note in learn(record).notes)


def test_what_waits_is_listed_where_the_server_never_knows_how_much_it_is() -> None:
    """A group that was made in the middle of the stream: what waits is what was listed behind its position."""
    record, _ = deploy(rate_per_s=100, service_ms=constant(20.0), seconds=20.0)
    told = learn(record)
    record.looks = [(at_ms, state._replace(reads=None, waiting=None)) for at_ms, state in record.looks]
    listed = learn(record)
    assert told.at_begin > 50 and listed.at_begin == told.at_begin
    assert listed.findings["service_time"].value == pytest.approx(told.findings["service_time"].value, rel=0.01)
    assert listed.lag.mean_s == pytest.approx(told.lag.mean_s, rel=0.02)
    record.backlog_cut_off = True
    assert any(f"only {len(record.backlog):,} of the entries that waited" in note for note in learn(record).notes)


# Retries of eventlib


def of_eventlib(counts: list[tuple[int, Streams]], gone: dict[str, tuple[int, int]], looks: int = 40) -> Recording:
    """What a group of eventlib shows that has retries. Consumers are gone from a look on, with so many entries."""
    record = Recording("ev:{orders}:events", "billing", "none", "eventlib")
    state = GroupState(EntryId(1, 0), 0, 1, 0, 0)
    record.looks = [(BEGAN_MS + 30.0 * look, state) for look in range(looks)]
    record.deliveries = [
        Delivery(EntryId(number, 0), name, 1, False, BEGAN_MS, 0, at - 1, at)
        for name, (at, held) in {"stays": (20, 5), **gone}.items()
        for number in range(held)
    ]
    record.consumers_after = [ConsumerState("stays", 0, 0)]
    record.counted = counts
    return record


def test_what_is_given_back_or_replayed_has_not_failed() -> None:
    """Of 30 added entries, 12 were held by a consumer that left, and 8 were dead letters."""
    counts = [(0, Streams(0, 1, 100, 50, 20)), (20, Streams(0, 1, 118, 50, 20)), (40, Streams(0, 1, 130, 53, 15))]
    record = of_eventlib(counts, {"leaves": (10, 12)})
    assert added_to_retries(record) == (30, 12, 8) and added_to_retries(record).failed == 10


def test_a_consumer_that_leaves_with_nothing_gives_nothing_back() -> None:
    """Its last entries were acknowledged just before; nothing was added to the retries in that second."""
    counts = [(0, Streams(0, 1, 100)), (20, Streams(0, 1, 100)), (40, Streams(0, 1, 110))]
    assert added_to_retries(of_eventlib(counts, {"leaves": (10, 1)})) == (10, 0, 0)
    assert added_to_retries(of_eventlib([counts[0], (40, counts[2][1])], {})) == (10, 0, 0)  # nobody left


def with_retries(added: Streams, dead: list[Dead], delayed: list[int]) -> Recording:
    """The same deliveries as without retries, and what was added beside them."""
    record, _ = deploy(**DEPLOYED["one by one"][0], seconds=20.0)
    record.library, record.dead, record.delayed = "eventlib", dead, delayed
    record.counted = [record.counted[0], (len(record.looks), added._replace(added=len(record.arrivals)))]
    return record


def test_rejected_entries_are_no_exhausted_ones() -> None:
    """Of 40 dead letters, three quarters were rejected at the first attempt; the others had three attempts."""
    dead = [*[Dead("rejected", 1)] * 30, *[Dead("exhausted", 3)] * 10]
    record = with_retries(Streams(0, 1, 20, 40, 40), dead, [2] * 20)
    learned = learn(record)
    ended = int(np.diff([state.reads for _, state in record.looks]).sum())
    assert learned.findings["error_rate"].value == pytest.approx(30 / (ended + 20), rel=0.02)
    assert learned.retries is not None and learned.retries.attempts == 3
    assert learned.findings["attempts"].value == 3
    assert any("30 entries were given up at their first failure (rejected)" in note for note in learned.notes)


def test_the_waits_that_are_written_have_the_mean_that_was_seen() -> None:
    """They do not double from a first one that is the mean already."""
    record = with_retries(Streams(0, 1, 20, 10, 10), [Dead("exhausted", 5)] * 10, [2] * 20)
    learned = learn(record)
    assert learned.retries is not None
    policy = scenario_of(scenario_text(record, learned, Path("t.csv")), Path()).services["billing"].retry
    rng = np.random.default_rng(1)
    waits = [policy.delay_s(attempt, rng) for attempt in range(1, policy.attempts) for _ in range(500)]
    assert policy.attempts == 5
    assert np.mean(waits) == pytest.approx(learned.retries.wait_s, rel=0.05)


def test_many_consumers_are_written_as_fewer_that_do_as_much() -> None:
    record, _ = deploy(**DEPLOYED["one by one"][0], seconds=20.0)
    learned = learn(record)
    for working, written in ((100, (100, 1)), (101, (50, 2)), (250, (83, 3))):
        many = replace(learned.consumers, working=tuple(f"c{number}" for number in range(working)))
        text = scenario_text(record, replace(learned, consumers=many), Path("t.csv"))
        service = scenario_of(text, Path()).services["billing"]
        assert (service.consumers, service.concurrency) == written
        assert ("stands for" in text) == (working > 100)


# How sure it is


def test_looks_that_follow_each_other_are_no_repetitions() -> None:
    """A slot is free for about ten looks at a time, a quarter of the time. So 600 looks say as much as some sixty."""
    rng, has_mean = np.random.default_rng(1), 0
    for _ in range(200):
        lasting = np.array(rng.geometric(0.1, (60, 2)) * [3, 1], dtype=np.int64)
        free = np.repeat(np.tile([0.0, 1.0], 60), lasting.ravel())[:600]
        share, half = ratio(free, np.ones(free.size))
        has_mean += abs(share - 0.25) < half
    assert has_mean >= 0.9 * 200  # of 95 in 100; with each look as a repetition, half of them


@pytest.mark.parametrize(("p95_s", "agrees"), [((1.1, 0.2, 9.0), True), ((4.0, 0.2, 9.0), False)])
def test_a_scenario_whose_seeds_differ_much_does_not_agree_for_that(
    p95_s: tuple[float, float, float], agrees: bool
) -> None:
    """Some seed of a noisy scenario always meets what was seen."""
    seen = LagSeen(0.5, (0.4, 0.5), (1.0, 1.1), 100, False)
    assert Trial((0.45, 0.1, 2.0), p95_s, 10, seen).agrees is agrees


# What is deleted as soon as it is handled


def deleted_at_once(share: float) -> Recording:
    """Consumers delete what they have acknowledged, so that many entries are gone before they are listed."""
    record, _ = deploy(**DEPLOYED["three consumers"][0], seconds=20.0)
    kept = np.random.default_rng(4).random(len(record.arrivals)) >= share
    record.arrivals = [id_ for id_, keep in zip(record.arrivals, kept, strict=True) if keep]
    record.listed_ms = [at_ms for at_ms, keep in zip(record.listed_ms, kept, strict=True) if keep]
    return record


def test_entries_that_were_deleted_unseen_are_in_the_rate_and_in_the_trace() -> None:
    record, _ = deploy(**DEPLOYED["three consumers"][0], seconds=20.0)
    told, learned = learn(record), learn(deleted_at_once(0.8))
    rate, true = learned.findings["arrival_rate"], told.findings["arrival_rate"]
    assert rate.value == pytest.approx(true.value, rel=0.01)
    assert learned.arrivals_s.size == pytest.approx(told.arrivals_s.size, rel=0.01)
    assert np.abs(np.quantile(learned.arrivals_s, SHARES) - np.quantile(told.arrivals_s, SHARES)).max() < 0.2
    assert "every one of them" in rate.sure and "that were not listed" in rate.how
    assert any("deleted or trimmed" in note and "are in the trace" in note for note in learned.notes)
    assert learned.lag.n == 0 and "deleted before they were listed" in learned.lag.unknown


def test_entries_of_which_nothing_is_known_are_said_to_be_missing_in_the_trace() -> None:
    record = deleted_at_once(0.8)
    true = record.after.added / record.watched_s
    record.looks = [(at_ms, state._replace(waiting=None)) for at_ms, state in record.looks]
    learned = learn(record)
    assert learned.findings["arrival_rate"].value == pytest.approx(true, rel=0.01)
    assert "the trace lacks" in learned.findings["arrival_rate"].sure
    assert any("the trace lacks them" in note for note in learned.notes)


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
