"""A paused consumer, with real signals: what it held, who handled it, and that the simulated world says the same."""

import numpy as np

from sim.declare.declared import Floats
from sim.declare.faults.pause import Pause
from sim.evidence.history import History, Rows, of_kind
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate
from tests.live.live_runs import no_process_left, problems
from tests.model.small import rows_of, scenario, service, steady

LEASE_S = 1.5  # its renewal may be late by a second: a consumer that a busy machine holds up keeps what it has
PAUSED_AT_S, PAUSED_FOR_S = 0.8, 4.5  # until all is taken over, and more
RESUMED_S = PAUSED_AT_S + PAUSED_FOR_S
SLACK_S = {"live": 0.5, "simulated": 0.0}  # by so much, a renewal or what is noted of a pause may be late


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


def stopped_s(history: History) -> Floats:
    """When the pause of each run was noted. Its signal was sent before that, and not before its time."""
    return np.array([rows_of_run["t_s"].max() for rows_of_run in _by_run(history, rows_of(history, "paused"))])


def recovered_s(history: History, service: str) -> Floats:
    """Of each run, seconds from the pause until the last message that was taken over is handled."""
    rows = rows_of(history, "handled", service)
    last_s = np.array([of_run["t_s"].max() for of_run in _by_run(history, rows[rows["attempt"] > 1])])
    return np.asarray(last_s - stopped_s(history))


def _by_run(history: History, rows: Rows) -> list[Rows]:
    return [rows[rows["run"] == run] for run in range(len(history.runs))]


def assert_it_stands_still(history: History, until_s: float) -> None:
    """The paused consumers note nothing from when the pause was noted until it may be over."""
    own_s = history.rows[history.rows["consumer"] == 0]["t_s"]
    assert not np.any((own_s > stopped_s(history)[0]) & (own_s < until_s)), history.world
    assert stopped_s(history)[0] >= PAUSED_AT_S and rows_of(history, "resumed")["t_s"].min() >= until_s


async def test_a_pause_longer_than_the_lease(url: str) -> None:
    """Nothing is lost: the other consumer handles what was held, in both worlds about equally soon.

    When the paused one goes on, its quick handlers end, whose messages the other consumer has settled. Its slow ones
    go on with what it has lost.
    """
    quick = service(0.5, consumers=2, concurrency=60, lease_s=LEASE_S)
    slow = service(6.5, consumers=2, concurrency=500, lease_s=LEASE_S)
    pauses = [pause("quick", PAUSED_FOR_S), pause("slow", PAUSED_FOR_S)]
    declared = scenario(steady(50.0, 3.0), *pauses, quick=quick, slow=slow)
    with no_process_left():
        live = await run_live(declared, [0], repeats=1, url=url)
    for history in (live, simulate(declared, [0])):
        assert_nothing_is_lost(history)
        assert_it_stands_still(history, RESUMED_S)
        for name in ("quick", "slow"):
            started = rows_of(history, "started", name)
            again = started[started["attempt"] > 1]
            assert set(again["consumer"]) == {1} and set(again["attempt"]) == {2}, history.world
            # The last renewal was a third of a lease ago at most. Then come one to two leases.
            slack_s = SLACK_S[history.world]
            assert again["t_s"].min() > PAUSED_AT_S + LEASE_S * 2 / 3 - slack_s, history.world
            assert again["t_s"].max() < stopped_s(history)[0] + LEASE_S * 2.1 + 2 * slack_s, history.world
        taken_over = {name: of_again(history, name) for name in ("quick", "slow")}
        late = of_paused(history, "quick", "handled", RESUMED_S) & taken_over["quick"]
        # It acknowledges them, and what it had just handled when the pause came.
        acked = of_paused(history, "quick", "acked", RESUMED_S) & taken_over["quick"]
        assert late and late <= acked <= of_paused(history, "quick", "handled", 0.0), history.world
        # What it had read and not begun when the pause came is lost as well, and it never begins that.
        lost = of_paused(history, "slow", "lost", RESUMED_S) & of_paused(history, "slow", "started", 0.0)
        assert len(lost) >= 10 and lost == taken_over["slow"] & of_paused(history, "slow", "handled", RESUMED_S)
        assert not lost & of_paused(history, "slow", "acked", 0.0), history.world
    expected_s, slack_s = recovered_s(simulate(declared, range(20)), "quick"), 2 * SLACK_S["live"]
    assert expected_s.min() - slack_s <= recovered_s(live, "quick")[0] <= expected_s.max() + slack_s


async def test_a_pause_shorter_than_the_lease_moves_nothing(url: str) -> None:
    """Each message is handled at its first attempt, by the consumer that had it."""
    desk = service(1.0, consumers=2, concurrency=60, lease_s=3.0)
    declared, resumed_s = scenario(steady(50.0, 2.0), pause("desk", 0.6), desk=desk), PAUSED_AT_S + 0.6
    for history in (await run_live(declared, [0], repeats=1, url=url), simulate(declared, [0])):
        assert_nothing_is_lost(history)
        assert len(rows_of(history, "lost")) == 0
        assert set(rows_of(history, "started")["attempt"]) == {1}
        assert len(rows_of(history, "handled")) == len(rows_of(history, "acked")) == 100
        assert_it_stands_still(history, resumed_s)
        own = history.rows[(history.rows["consumer"] == 0) & (history.rows["t_s"] < stopped_s(history)[0])]
        begun, handled = (set(of_kind(own, kind)["message"].tolist()) for kind in ("started", "handled"))
        assert begun - handled, history.world
        assert begun - handled <= of_paused(history, "desk", "handled", resumed_s), history.world
