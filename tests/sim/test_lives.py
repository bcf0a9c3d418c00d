"""The life of one message, from the rows of a history."""

import pytest

from eventlib.policy import Retry
from sim.declare.faults.kill import Kill
from sim.errors import InvalidHistory
from sim.evidence.lags import lags
from sim.show.lives import life_of
from sim.worlds.simulated import simulate
from tests.model.small import constant, saga_service, saga_step, scenario, service, steady
from tests.sim.handmade import attempted, chain, history, row, sent


def test_waits_attempts_and_retries_stand_in_their_order() -> None:
    """It waits for 1 s, fails at consumer 0, waits half a second for its retry, and is handled by consumer 1."""
    first = attempted(0, 2.0, 2.25, "retried", intended_s=1.0)
    second = attempted(0, 2.75, 3.0, attempt=2, consumer=1, intended_s=1.0)
    life = history(sent(0, 1.0, late_s=0.001), first, second).message(0)
    assert [row[:4] for row in life.rows()] == [
        ("1 ms", "desk", "waits", "999 ms"),
        ("1 s", "desk", "is handled: failed", "250 ms"),
        ("1.25 s", "desk", "waits for a retry", "500 ms"),
        ("1.75 s", "desk", "is handled: handled", "250 ms"),
    ]
    assert [stage.consumer for stage in life.stages if stage.is_attempt] == [0, 1]
    assert "message 0 of small, seed 0: meant to be sent at 1 s, sent 1 ms later" in str(life)
    assert "is handled: failed" in life._repr_html_()


def test_what_a_killed_consumer_held_waits_for_its_lease() -> None:
    held = [row("started", 2.0, service=0, consumer=0, event=0, message=0, attempt=1, intended_s=1.0)]
    killed = [row("killed", 3.0, service=0, consumer=0)]
    taken_over = attempted(0, 5.0, 6.0, attempt=2, consumer=1, intended_s=1.0)
    life = history(sent(0, 1.0), held, killed, taken_over).message(0)
    assert [(stage.what, stage.from_s, stage.to_s, stage.outcome) for stage in life.stages] == [
        ("waits", 1.0, 2.0, ""),
        ("is handled", 2.0, 3.0, "cut off"),
        ("waits for its lease to end", 3.0, 5.0, ""),
        ("is handled", 5.0, 6.0, "handled"),
    ]


def test_what_it_set_off_is_a_part_of_its_life_and_what_never_ended_says_so() -> None:
    billed, given_up = attempted(0, 1.0, 2.0, intended_s=1.0), attempted(0, 3.0, 4.0, "dead", service=1, event=1)
    life = history(sent(0, 1.0), billed, sent(0, 2.0, service=0, event=1), given_up, declared=chain()).message(0)
    assert [(stage.service, stage.what) for stage in life.stages] == [
        ("billing", "is handled"),
        ("shipping", "waits"),
        ("shipping", "is handled"),
        ("shipping", "given up"),
    ]
    assert [stage.what for stage in history(sent(0, 1.0)).message(0).stages] == ["waits until the run ends"]


@pytest.mark.parametrize(("number", "run", "problem"), [(7, 0, "it sent messages 0 to 0"), (0, 3, "there is no run 3")])
def test_a_message_that_is_not_there_is_refused(number: int, run: int, problem: str) -> None:
    with pytest.raises(InvalidHistory, match=problem):
        history(sent(0, 1.0)).message(number, run)


def test_it_is_drawn_and_fits_what_was_simulated() -> None:
    kill = Kill(kind="kill", service="desk", consumer=0, at_s=0.55, back_after_s=0.1)
    simulated = simulate(scenario(steady(10.0, 1.0), kill, desk=service(0.09, lease_s=0.4)), [0])
    life = simulated.message(5)
    assert [stage.outcome for stage in life.stages if stage.is_attempt] == ["cut off", "handled"]
    assert life.stages[-1].to_s - life.intended_s == pytest.approx(lags(simulated).lag_s[5])
    figure = life_of(life)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["desk"]
    sagas = simulate(
        scenario(steady(5.0, 0.4), shop=saga_service(saga_step("reserve", undo=0.01), saga_step("pay"))), [0]
    )
    whats = [stage.what for stage in sagas.message(0).stages]
    assert [what for what in whats if what.startswith("step")] == ["step 0", "step 1"] and whats[-1] == "completed"
    failing = service(service_time=constant(0.1), error_rate=1.0, retry=Retry(attempts=2))
    retried = simulate(scenario(steady(1.0, 1.0), desk=failing), [0])
    assert [stage.what for stage in retried.message(0).stages][-1] == "given up"
