"""Batch handlers of the user's own: what is learned of their calls, and what a model makes of it."""

from typing import Any

import numpy as np
import pytest

from eventlib.policy import Retry
from sim.declare.loads import Load
from sim.declare.loads.batching import BatchingLoad
from sim.declare.own_handlers import OwnHandlers
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.declare.service_times.empirical import EmpiricalTime
from sim.evidence.checks import check
from sim.evidence.history import KIND
from sim.infer.own_services import learned_of
from sim.worlds.simulated import simulate
from tests.model.small import AT_ONCE, poisson, problems, rows_of, scenario, steady
from tests.sim.handmade import Row, history, row, sent


def burst(count: int) -> Load:
    """So many messages at once."""
    of = steady(1000.0, count / 1000.0)
    return BatchingLoad.model_validate({"kind": "batching", "event": "placed", "of": of, "size": count, "wait_s": 9.0})


def in_batches(size: int, waits_s: float, computes_s: float, **fields: Any) -> Service:
    """A call takes these times, and 5 ms for each message beside, which it computes if it computes at all."""
    learned = {"attempts": 100, "cpu_per_message_s": 0.005 if computes_s else 0.0} | fields.pop("learned", {})
    whole_s = np.array([waits_s + computes_s])
    declared = {
        "consumes": "placed",
        "app": "shop:app",
        "batch": {"size": size, "wait_s": 1.0, "per_message_s": 0.005},
        "service_time": EmpiricalTime.of(whole_s, np.array([computes_s])),
        "own": {"digest": "0", "import_s": 0.2, "learned": learned},
    }
    return Service.model_validate(declared | fields)


def ends_of(declared: Scenario) -> list[float]:
    """When messages were handled, from when they were sent on, without repeats."""
    found = simulate(declared, [0])
    assert {one.name: one.detail for one in check(found) if one.verdict == "false"} == {}
    handled = rows_of(found, "handled", "desk")["t_s"] - rows_of(found, "sent")["t_s"].min()
    return [float(at_s) for at_s in np.unique(np.round(handled, 6))]


def test_a_call_takes_its_time_and_that_of_each_message() -> None:
    """Eight at once, four in a call: calls that wait go on beside each other, and those that compute do not."""
    assert ends_of(scenario(burst(8), desk=in_batches(4, 0.02, 0.0))) == [0.04, 0.08]
    assert ends_of(scenario(burst(8), desk=in_batches(4, 0.02, 0.0, concurrency=2))) == [0.04]
    assert ends_of(scenario(burst(8), desk=in_batches(4, 0.0, 0.02, concurrency=2))) == [0.04, 0.08]


def test_learned_batches_of_one_are_no_batches() -> None:
    """Byte for byte, but for the rows that say how large a batch was."""
    learned = {"retry_error_rate": 0.5, "reject_rate": 0.1, "snoozes": {"shares": [0.8, 0.2]}, "snooze_s": 0.05}
    one = in_batches(1, 0.01, 0.005, learned=learned, error_rate=0.2, retry=AT_ONCE, concurrency=3)
    time = EmpiricalTime.of(np.array([0.02]), np.array([0.01]))  # with what the one message of a call takes
    fields = one.model_dump() | {"batch": None, "service_time": time.model_dump()}
    batched, plain = (
        simulate(scenario(poisson(60.0, 3.0), desk=desk), [0]) for desk in (one, Service.model_validate(fields))
    )
    rows = batched.rows[batched.rows["kind"] != KIND["batch"]]
    for column in ("kind", "message", "attempt", "consumer"):
        assert rows[column].tolist() == plain.rows[column].tolist()
    assert rows["t_s"] == pytest.approx(plain.rows["t_s"])


@pytest.mark.parametrize("prefetch", [0, 1])
@pytest.mark.parametrize("in_calls", [True, False], ids=["batches", "one by one"])
def test_a_consumer_asks_for_more_when_its_budget_refuses_all_that_it_holds(prefetch: int, in_calls: bool) -> None:
    """Each first attempt fails, and a retry finds no token at first. It has room for few messages."""
    budget = {"per_s": 20, "ratio": 0.0, "burst": 1, "wait_s": 0.05}
    retry = Retry(attempts=2, wait_s=0.02)
    desk = in_batches(3, 0.0, 0.0, error_rate=1.0, retry=retry, prefetch=prefetch, retry_budget=budget)
    if not in_calls:
        desk = Service.model_validate(desk.model_dump() | {"batch": None})
    found = simulate(scenario(steady(50.0, 1.0), desk=desk), [1])
    assert problems(found) == {} and rows_of(found, "handled").size == 50


def test_a_part_of_a_call_fails_and_the_breaker_counts_it() -> None:
    """All first attempts fail, which opens the circuit, and the others succeed: a probe is a batch that is not full."""
    breaker = {"failures": 4, "failure_share": 0.5, "window_s": 5.0, "open_s": 0.5}
    desk = in_batches(4, 0.02, 0.0, error_rate=1.0, retry=AT_ONCE, circuit_breaker=breaker)
    found = simulate(scenario(burst(4), desk=desk), [0])
    assert rows_of(found, "circuit_opened").size == rows_of(found, "circuit_closed").size == 1
    assert rows_of(found, "handled", "desk").size == 4
    started = rows_of(found, "started", "desk")
    assert started["t_s"][started["attempt"] == 2].min() - started["t_s"].min() == pytest.approx(0.04 + 0.5 + 1.0)


def call(messages: range, at_s: float, takes_s: float) -> list[Row]:
    """A call of a handler that waits all the time, and what became of its messages."""
    of = {"service": 0, "consumer": 0, "event": 0, "attempt": 1, "intended_s": 0.0}
    rows = [one for message in messages for one in sent(message, at_s)]
    rows += [row("started", at_s, message=message, **of) for message in messages]
    rows.append(row("batch", at_s, message=messages[0], value=float(len(messages)), **of))
    rows += [row("handled", at_s + takes_s, message=message, value=0.0, **of) for message in messages]
    return rows + [row("acked", at_s + takes_s, message=message, **of) for message in messages]


def test_what_a_call_and_each_message_take_is_learned_from_calls_of_several_sizes() -> None:
    """Calls of 1, 4 and 8 messages that take 20 ms, and 5 ms for each of them. Each call counts once."""
    bare = in_batches(8, 0.0, 0.0).model_copy(update={"own": OwnHandlers(digest="0", import_s=0.1)})
    calls, first = list[Row](), 0
    for number, size in enumerate((1, 8, 4, 1, 8, 4)):
        calls += call(range(first, first + size), 0.1 * number, 0.02 + 0.005 * size)
        first += size
    learned = learned_of(bare, history(calls, declared=scenario(steady(10.0, 3.0), desk=bare)), "desk")
    assert learned.batch is not None and learned.batch.per_message_s == pytest.approx(0.005)
    assert learned.batch.size == 8 and learned.batch.wait_s == 1.0
    time = learned.service_time
    assert time.kind == "empirical" and time.values_s == pytest.approx([0.02] * 6) and set(time.cpu_s) == {0.0}


def test_calls_of_one_size_do_not_say_what_a_message_takes() -> None:
    bare = in_batches(8, 0.0, 0.0).model_copy(update={"own": OwnHandlers(digest="0", import_s=0.1)})
    calls = [one for first in range(0, 32, 4) for one in call(range(first, first + 4), 0.1 * first, 0.04)]
    learned = learned_of(bare, history(calls, declared=scenario(steady(10.0, 3.0), desk=bare)), "desk")
    assert learned.batch is not None and learned.batch.per_message_s == 0.0
    assert learned.service_time.kind == "empirical" and learned.service_time.values_s == pytest.approx([0.04] * 8)
