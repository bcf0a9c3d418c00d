"""What is learned of attempts that do not succeed, from histories written by hand, and what a model makes of it."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from eventlib.policy import Retry
from sim.declare.own_handlers import Emission, Learned, Occurrences
from sim.declare.service import Service
from sim.declare.service_times.empirical import EmpiricalTime
from sim.errors import InvalidScenario
from sim.evidence.metrics import measure
from sim.infer.learned_file import open_learned, save_learned
from sim.infer.own_services import learned_of
from sim.worlds import metering
from sim.worlds.metering import Meter
from sim.worlds.simulated import simulate
from tests.model.small import constant, rows_of, scenario, steady
from tests.sim.handmade import Row, attempted, history, row, sent

MESSAGES = 30
RETRY = Retry(attempts=3, wait_s=0.0, jitter="none")
OWN = {"digest": "0", "import_s": 0.1}


def desk(learned: dict[str, Any] | None = None, **fields: Any) -> Service:
    """A service with own handlers. `learned` is what is known of them."""
    known = OWN | ({"learned": {"attempts": 100} | learned} if learned is not None else {})
    declared = {"consumes": "placed", "app": "shop:app", "concurrency": 50, "own": known, "retry": RETRY.model_dump()}
    return Service.model_validate(declared | fields)


def learn(*groups: list[Row]) -> Service:
    """What is learned of the desk from these rows."""
    bare = desk(service_time=constant(0.0).model_dump())
    declared = scenario(steady(10.0, 3.0), desk=bare)
    return learned_of(bare, history(*groups, declared=declared), "desk")


def signalled(message: int, start_s: float, kind: str, value: float, attempt: int = 1) -> list[Row]:
    """An attempt that fails after 10 ms with a signal."""
    there = {"service": 0, "consumer": 0, "event": 0, "message": message, "attempt": attempt}
    begun, *ended = attempted(message, start_s, start_s + 0.01, "retried", attempt)
    return [begun, row(kind, start_s + 0.01, value=value, **there), *ended]


def known(service: Service) -> Learned:
    assert service.own is not None and service.own.learned is not None
    return service.own.learned


def times_of(service: Service) -> EmpiricalTime:
    assert isinstance(service.service_time, EmpiricalTime)
    return service.service_time


def test_a_snoozed_attempt_is_another_one_than_the_next_with_its_number() -> None:
    """Every third message is snoozed for half a second, and handled then, by attempt 1 again. One fails once."""
    rows = []
    for number in range(MESSAGES):
        rows.append(sent(number, float(number)))
        if number % 3 == 0:
            rows.append(signalled(number, float(number), "snoozed", 0.5))
        if number == 1:
            rows.append(signalled(number, float(number), "put_off", 0.3))
        rows.append(attempted(number, number + 0.6, number + 0.62, attempt=1 + (number == 1)))
    found = learn(*rows)
    learned = known(found)
    assert times_of(found).values_s == pytest.approx([0.02] * MESSAGES)
    assert learned.failed_time is not None and learned.failed_time.values_s == pytest.approx([0.01] * 11)
    assert learned.snoozes.shares == pytest.approx((2 / 3, 1 / 3)) and learned.snooze_s == 0.5
    assert (found.error_rate, learned.retry_error_rate, learned.reject_rate) == (1 / MESSAGES, 0.0, 0.0)
    assert (learned.put_off_share, learned.put_off_s) == (1.0, 0.3)


def test_failed_attempts_have_times_and_waits_of_their_own() -> None:
    """Half of the first attempts end by a time-out after 30 s; half of those ask for a wait of two seconds."""
    rows = []
    for number in range(MESSAGES):
        at_s = 100.0 * number
        rows.append(sent(number, at_s))
        if number % 2:
            failed = attempted(number, at_s, at_s + 30.0, "retried")
            asked = row("put_off", at_s + 30.0, service=0, consumer=0, event=0, message=number, attempt=1, value=2.0)
            rows.append([failed[0], *([asked] if number % 4 == 1 else []), *failed[1:]])
        rows.append(attempted(number, at_s + 40.0, at_s + 40.01, attempt=1 + number % 2))
    found = learn(*rows)
    learned = known(found)
    assert times_of(found).values_s == pytest.approx([0.01] * MESSAGES)
    assert learned.failed_time is not None and learned.failed_time.values_s == pytest.approx([30.0] * 15)
    assert (found.error_rate, learned.retry_error_rate) == (0.5, 0.0)
    assert learned.put_off_share == pytest.approx(8 / 15) and learned.put_off_s == 2.0


def test_handlers_that_only_fail_are_learned_and_publish_nothing() -> None:
    """All messages are dead after three attempts; the service behind would handle what they might have published."""
    rows = [sent(number, float(number)) for number in range(MESSAGES)]
    for number in range(MESSAGES):
        for attempt, outcome in enumerate(("retried", "retried", "dead"), 1):
            at_s = number + 0.1 * attempt
            rows.append(attempted(number, at_s, at_s + 0.01, outcome, attempt))
    bare = desk(service_time=constant(0.0).model_dump())
    behind = Service.model_validate({"consumes": "paid", "app": "shop:app"})
    declared = scenario(steady(10.0, 3.0), desk=bare, next=behind)
    found = learned_of(bare, history(*rows, declared=declared), "desk")
    assert (found.error_rate, known(found).retry_error_rate, known(found).reject_rate) == (1.0, 1.0, 0.0)
    assert known(found).emits["paid"].shares == (1.0,)
    assert times_of(found).values_s == pytest.approx([0.01] * 3 * MESSAGES)


# What the model makes of it


def simulated(learned: dict[str, Any], **fields: Any) -> Any:
    times = {"kind": "empirical", "values_s": [0.01], "cpu_s": [0.0]}
    declared = scenario(steady(50.0, 2.0), desk=desk(learned, service_time=times, **fields))
    return simulate(declared, [0])


def test_an_attempt_takes_the_time_of_its_outcome() -> None:
    """First attempts fail after half a second; the second ones succeed in 10 ms."""
    failed = {"kind": "empirical", "values_s": [0.5], "cpu_s": [0.0]}
    done = simulated({"failed_time": failed, "retry_error_rate": 0.0}, error_rate=1.0)
    starts = np.sort(rows_of(done, "started"), order=("message", "attempt"))["t_s"].reshape(-1, 2)
    failures, handled = (np.sort(rows_of(done, kind), order="message")["t_s"] for kind in ("failed", "handled"))
    assert failures - starts[:, 0] == pytest.approx(np.full(100, 0.5))
    assert handled - starts[:, 1] == pytest.approx(np.full(100, 0.01))


def test_a_snooze_delays_and_uses_up_no_attempt() -> None:
    """Each message is snoozed twice, of one attempt that it may have."""
    done = simulated(
        {"snoozes": {"shares": [0.0, 0.0, 1.0]}, "snooze_s": 0.3},
        retry=Retry(attempts=1).model_dump(),
    )
    handled = np.sort(rows_of(done, "handled"), order="message")
    assert set(handled["attempt"]) == {1} and handled.size == 100 and not rows_of(done, "dead").size
    assert handled["t_s"] - handled["intended_s"] == pytest.approx(np.full(100, 2 * 0.31 + 0.01))
    assert measure(done)["lag_s_p50"][0] == pytest.approx(0.63)


def test_a_failure_that_asks_for_a_wait_gets_it() -> None:
    """All do so, in place of the policy, which would try again at once."""
    learned = {"put_off_share": 1.0, "put_off_s": 0.7, "retry_error_rate": 0.0}
    handled = rows_of(simulated(learned, error_rate=1.0), "handled")
    assert handled["t_s"] - handled["intended_s"] == pytest.approx(np.full(100, 0.01 + 0.7 + 0.01))


@pytest.mark.parametrize(
    ("shares", "said"),
    [([0.5, -0.5], "greater than or equal to 0"), ([0.0, 0.0], "shares: all are 0"), ([], "at least 1")],
)
@pytest.mark.parametrize("kind", [Emission, Occurrences])
def test_shares_that_are_none_are_refused(kind: type[Occurrences], shares: list[float], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        kind.model_validate({"shares": shares})


# What is measured, and where


@pytest.mark.parametrize("of_thread", [metering._OF_THREAD, None], ids=["as here", "no counts of threads"])
def test_a_step_that_blocks_is_as_long_as_the_clock_says(
    monkeypatch: pytest.MonkeyPatch, of_thread: int | None
) -> None:
    """On a system that does not count how often a thread waits, too: what blocks is not taken for stolen time."""
    monkeypatch.setattr(metering, "_OF_THREAD", of_thread)
    meter = Meter()
    meter.begin()
    time.sleep(0.02)
    meter.end()
    assert meter.held_s >= 0.02 and meter.stolen_s < 0.02


def test_what_was_learned_on_another_machine_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "learned.json"
    times = {"kind": "empirical", "values_s": [0.01], "cpu_s": [0.0]}
    learned = scenario(steady(1.0, 1.0), desk=desk({}, service_time=times))
    save_learned(learned, file)
    open_learned(learned, file).check_machine()
    said = json.loads(file.read_text())
    for machine in (said["machine"] | {"processor": "a fast one"}, None):
        file.write_text(json.dumps(said | {"machine": machine}))
        with pytest.raises(InvalidScenario, match=r"was learned on another machine \(processor (a fast one|unknown)"):
            open_learned(learned, file).check_machine()
