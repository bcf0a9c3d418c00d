"""A service that publishes one of several events: as often as its shares say, the same ones in both worlds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.evidence.checks import check
from sim.evidence.history import History
from sim.evidence.metrics import measure
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate
from tests.model.small import rows_of, scenario, service, steady

SHARES = {"paid": 0.7, "refused": 0.2, "asked": 0.1}


def branching(duration_s: float = 1.0, **till: Any) -> Scenario:
    """A till whose messages go one of three ways; one of them leads on."""
    return scenario(
        steady(200.0, duration_s),
        till=service(0.001, **{"emits": SHARES} | till),
        shipping=service(0.001, consumes="paid", emits=("shipped",)),
        desk=service(0.001, consumes="refused"),
        answers=service(0.001, consumes="asked"),
        post=service(0.001, consumes="shipped"),
    )


def sent_of(history: History, event: str) -> set[int]:
    sent = rows_of(history, "sent")
    return set(sent[sent["event"] == history.events.index(event)]["message"].tolist())


def test_each_message_goes_one_way_and_the_shares_are_kept() -> None:
    declared = branching(25.0)
    chosen = declared.plan(3).chosen["till"]
    counts = np.bincount(chosen, minlength=3)
    assert stats.chisquare(counts, [5000 * share for share in SHARES.values()]).pvalue > 0.001
    history = simulate(declared, [3])
    ways = [sent_of(history, event) for event in SHARES]
    assert [len(way) for way in ways] == counts.tolist()
    assert set.union(*ways) == set(range(5000))
    assert sent_of(history, "shipped") == ways[0]
    assert declared.flow.means == pytest.approx({"placed": 1.0} | SHARES | {"shipped": 0.7})


def test_nothing_is_missing_where_it_was_never_sent() -> None:
    history = simulate(branching(), range(3))
    assert {one.verdict for one in check(history)} == {"true"}
    found = measure(history)
    assert not any(found[f"{name}.unhandled"].any() for name in history.services)
    assert not found["unhandled"].any()


def test_what_is_left_upstream_is_expected_downstream_by_its_share() -> None:
    """A till that is far too slow: the next services still get their shares of what it has not handled."""
    slow = branching().model_copy(update={"drain_s": 0.1})
    declared = slow.with_services(dict(slow.services) | {"till": service(0.02, emits=SHARES)})
    history = simulate(declared, [0])
    unhandled = measure(history)
    for name in ("till", "shipping", "desk"):
        assert unhandled[f"{name}.unhandled"][0] == pytest.approx(0.73, abs=0.12), name


def test_trap_53_shares_have_random_numbers_of_their_own() -> None:
    plain, branched = branching(emits=("paid", "refused", "asked")), branching()
    before, after = plain.plan(0), branched.plan(0)
    assert before.arrivals_s.tolist() == after.arrivals_s.tolist()
    assert before.service_s["till"].tolist() == after.service_s["till"].tolist()
    assert before.failure_draws["till"].tolist() == after.failure_draws["till"].tolist()
    assert branching(2.0).plan(0).chosen["till"][:200].tolist() == after.chosen["till"].tolist()
    even = {"kind": "empirical", "histogram": {"edges_s": [0, 0.01], "counts": [1]}}  # one number for each message too
    drawn = branching(25.0, service_time=even).plan(0)
    together = np.corrcoef(drawn.chosen["till"], drawn.service_s["till"])[0, 1]
    assert abs(together) < 4 / 5000**0.5


async def test_both_worlds_choose_the_same(url: str) -> None:
    """Also where an attempt fails and is repeated."""
    declared = branching(0.5, error_rate=0.2, retry={"attempts": 5, "wait_s": 0.01})
    live = await run_live(declared, [1], repeats=1, url=url)
    simulated = simulate(declared, [1])
    for event in ("paid", "refused", "asked", "shipped"):
        assert sent_of(live, event) == sent_of(simulated, event), event
    assert {one.verdict for one in check(live) if one.name != "generator_on_time"} == {"true"}


@pytest.mark.parametrize(
    ("emits", "said"),
    [
        ({"paid": 0.9, "refused": 0.2}, "services.till: emits: the shares add up to 1.1; make them add up to 1"),
        ({"paid": 1.0, "refused": 0.0}, "services.till: emits: a share is 0 or negative; leave that event out"),
        ({"paid": "most"}, "services.till.emits_shares.0: Input should be a valid number"),
        ("paid", "services.till.emits: Input should be a list, such as [a, b], not 'paid'"),
    ],
)
def test_shares_that_cannot_be_drawn(tmp_path: Path, emits: Any, said: str) -> None:
    load = {"kind": "constant", "event": "placed", "rate_per_s": 1, "duration_s": 1}
    till = {"consumes": "placed", "service_time": {"kind": "constant", "mean_s": 0.01}, "emits": emits}
    file = tmp_path / "till.yaml"
    file.write_text(yaml.safe_dump({"name": "till", "load": load, "services": {"till": till}}))
    with pytest.raises(InvalidScenario) as refused:
        Scenario.load(file)
    assert said in refused.value.problem


def test_a_scenario_with_shares_is_the_same_after_a_trip_through_a_file(tmp_path: Path) -> None:
    declared = branching()
    file = tmp_path / "till.yaml"
    file.write_text(yaml.safe_dump(declared.model_dump(mode="json", by_alias=True), sort_keys=False))
    assert Scenario.load(file) == declared
    assert declared.services["till"].emits_in_words == "paid (70 %) or refused (20 %) or asked (10 %)"
