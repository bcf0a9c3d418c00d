"""A paused consumer, with real signals: what it held, who handled it, and that the simulated world says the same."""

import numpy as np

from sim.declare.declared import Floats
from sim.declare.faults.pause import Pause
from sim.evidence.history import History
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate
from tests.live.live_runs import no_process_left, problems
from tests.model.small import rows_of, scenario, service, steady

LEASE_S = 0.5
PAUSED_AT_S = 0.6


def pause(service: str, for_s: float, at_s: float = PAUSED_AT_S) -> Pause:
    return Pause(kind="pause", service=service, at_s=at_s, for_s=for_s)


def assert_nothing_is_lost(history: History) -> None:
    assert problems(history) == {}
    for name in history.services:
        handled = np.unique(rows_of(history, "handled", name)["message"])
        assert len(handled) == len(np.unique(rows_of(history, "sent")["message"])), name


def of_paused(history: History, service: str, kind: str, after_s: float) -> set[int]:
    """Messages of which the paused consumer noted this kind of row, at its first attempt, after so many seconds."""
    rows = rows_of(history, kind, service)
    return set(rows[(rows["consumer"] == 0) & (rows["attempt"] == 1) & (rows["t_s"] >= after_s)]["message"].tolist())


def of_again(history: History, service: str) -> set[int]:
    """Messages that were taken over."""
    started = rows_of(history, "started", service)
    return set(started[started["attempt"] > 1]["message"].tolist())


def recovered_s(history: History, service: str) -> Floats:
    """Of each run, seconds from the pause until the last message that was taken over is handled."""
    rows = rows_of(history, "handled", service)
    rows = rows[rows["attempt"] > 1]
    return np.array([rows[rows["run"] == run]["t_s"].max() for run in range(len(history.runs))]) - PAUSED_AT_S


async def test_a_pause_longer_than_the_lease(url: str) -> None:
    """Nothing is lost: the other consumer handles what was held, in both worlds about equally soon.

    When the paused one goes on, its quick handlers end, whose messages the other consumer has settled. Its slow ones
    go on with what it has lost.
    """
    quick = service(0.1, consumers=2, concurrency=8, lease_s=LEASE_S)
    slow = service(3.0, consumers=2, concurrency=500, lease_s=LEASE_S)
    pauses = [pause("quick", 1.5), pause("slow", 1.5)]
    declared = scenario(steady(50.0, 3.0), *pauses, quick=quick, slow=slow)
    with no_process_left():
        live = await run_live(declared, [0], repeats=1, url=url)
    resumed_s = PAUSED_AT_S + 1.5
    for history in (live, simulate(declared, [0])):
        assert_nothing_is_lost(history)
        for name in ("quick", "slow"):
            started = rows_of(history, "started", name)
            again = started[started["attempt"] > 1]
            assert set(again["consumer"]) == {1} and set(again["attempt"]) == {2}, history.world
            # The last renewal was a third of a lease ago at most. Then come one to two leases; 0.2 s are the machine's.
            after_s = again["t_s"] - PAUSED_AT_S
            assert np.all((after_s > LEASE_S * 2 / 3 - 0.05) & (after_s < LEASE_S * 2.1 + 0.2)), history.world
            own = history.rows[(history.rows["consumer"] == 0) & (history.rows["service"] == 0)]["t_s"]
            assert not np.any((own > PAUSED_AT_S + 0.1) & (own < resumed_s)), history.world
        taken_over = {name: of_again(history, name) for name in ("quick", "slow")}
        late = of_paused(history, "quick", "handled", resumed_s) & taken_over["quick"]
        assert len(late) >= 1 and late == of_paused(history, "quick", "acked", resumed_s) & taken_over["quick"]
        # What it had read and not begun when the pause came is lost as well, and it never begins that.
        lost = of_paused(history, "slow", "lost", resumed_s) & of_paused(history, "slow", "started", 0.0)
        assert len(lost) >= 10 and lost == taken_over["slow"] & of_paused(history, "slow", "handled", resumed_s)
        assert not lost & of_paused(history, "slow", "acked", 0.0), history.world
    expected_s = recovered_s(simulate(declared, range(20)), "quick")
    assert expected_s.min() - 0.2 <= recovered_s(live, "quick")[0] <= expected_s.max() + 0.2


async def test_a_pause_shorter_than_the_lease_moves_nothing(url: str) -> None:
    """Each message is handled at its first attempt, by the consumer that had it."""
    desk = service(0.1, consumers=2, concurrency=8, lease_s=3.0)
    declared = scenario(steady(50.0, 2.0), pause("desk", 0.3), desk=desk)
    for history in (await run_live(declared, [0], repeats=1, url=url), simulate(declared, [0])):
        assert_nothing_is_lost(history)
        assert len(rows_of(history, "lost")) == 0
        assert set(rows_of(history, "started")["attempt"]) == {1}
        assert len(rows_of(history, "handled")) == len(rows_of(history, "acked")) == 100
        (stopped_s,), (resumed_s,) = rows_of(history, "paused")["t_s"], rows_of(history, "resumed")["t_s"]
        assert stopped_s >= PAUSED_AT_S and resumed_s >= PAUSED_AT_S + 0.3
        own_s = history.rows[history.rows["consumer"] == 0]["t_s"]
        # A signal takes effect before it is noted: the paused consumer may go on some milliseconds earlier.
        assert not np.any((own_s > stopped_s) & (own_s < PAUSED_AT_S + 0.3)), history.world
        begun = rows_of(history, "started")
        begun = begun[(begun["consumer"] == 0) & (begun["t_s"] < PAUSED_AT_S)]["message"]
        assert set(begun.tolist()) & of_paused(history, "desk", "handled", PAUSED_AT_S + 0.3), history.world
