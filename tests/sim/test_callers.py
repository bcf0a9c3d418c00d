"""Callers: how they are declared and refused, and what is said of their requests in a history that is known."""

from typing import Any

import numpy as np
import pytest

from eventlib.errors import InvalidDeclaration
from sim.declare.callers import Callers
from sim.declare.faults import Fault
from sim.declare.faults.pause import Pause
from sim.declare.scenario import Scenario
from sim.evidence.checks import check
from sim.evidence.export import history_json
from sim.evidence.history import History
from sim.evidence.lags import lags, last_services
from sim.evidence.metrics import measure, summaries, unit_of
from tests.model.small import fault, kill, scenario, service, steady, with_callers
from tests.sim.handmade import Row, attempted, history, row, sent

CALLER = {"service": -1, "event": 0}


def quotes(*faults: Fault, **fields: Any) -> Scenario:
    """Two callers ask one service for quotes."""
    callers = Callers.model_validate({"reply": "given", "processes": 2, "timeout_s": 1.0} | fields)
    return with_callers(callers, steady(10.0, 1.0), *faults, quoting=service(emits=("given",)))


def asked(message: int, at_s: float) -> list[Row]:
    return sent(message, at_s, consumer=message % 2)


def given(message: int, at_s: float) -> list[Row]:
    """A service handles the request and publishes the reply to it."""
    rows = attempted(message, at_s, at_s, intended_s=0.0)
    return [
        *rows,
        *(row(kind, at_s, service=0, consumer=0, event=1, message=message) for kind in ("sent", "published")),
    ]


def ended(kind: str, message: int, t_s: float, intended_s: float, attempt: int = 1) -> list[Row]:
    there = CALLER | {"consumer": message % 2, "message": message, "intended_s": intended_s}
    return [row(kind, t_s, attempt=attempt, **there)]


def known() -> History:
    """Six requests: 0 and 2 are replied, 1 times out before its reply, 3 times out although its reply was there, 4 is
    found by a caller that came back, 5 is abandoned with its caller."""
    back = [row(kind, t_s, service=-1, consumer=0) for kind, t_s in (("killed", 0.9), ("restarted", 1.5))]
    return history(
        asked(0, 0.0) + given(0, 0.2) + ended("replied", 0, 0.25, 0.0),
        asked(1, 0.1) + given(1, 1.2) + ended("timed_out", 1, 1.1, 0.1),
        asked(2, 0.4) + given(2, 0.5) + ended("replied", 2, 0.5, 0.4),
        asked(3, 0.5) + given(3, 0.9) + ended("timed_out", 3, 1.5, 0.5),
        asked(4, 0.8) + back + given(4, 1.0) + ended("replied", 4, 1.6, 0.8, attempt=2),
        asked(5, 0.9) + given(5, 1.0) + [row("killed", 0.95, service=-1, consumer=1)],
        declared=quotes(),
    )


def test_metrics_of_requests() -> None:
    found = {name: values.item() for name, values in measure(known()).items() if name.startswith("callers.")}
    waited_s = [0.25, 1.0, 0.1, 1.0, 0.8]
    assert found == {
        "callers.round_trip_s_p50": pytest.approx(np.quantile(waited_s, 0.5)),
        "callers.round_trip_s_p95": pytest.approx(np.quantile(waited_s, 0.95)),
        "callers.round_trip_s_p99": pytest.approx(np.quantile(waited_s, 0.99)),
        "callers.timed_out": 2,
        "callers.replies_lost": 1,
        "callers.found_after_return": 1,
        "callers.abandoned": 1,
    }
    assert np.sort(lags(known(), "callers").lag_s) == pytest.approx(np.sort(waited_s))
    assert unit_of("callers.round_trip_s_p95") == "s"


def test_a_reply_that_was_there_and_not_heard_breaks_the_check() -> None:
    (heard,) = (one for one in check(known()) if one.name == "replies_heard")
    assert (heard.verdict, heard.violations) == ("false", 1)
    assert heard.detail == "1 missed of 4; 1 were found by a caller that came back"


def test_a_wait_that_ends_late_does_not_excuse_or_blame() -> None:
    """The caller notes the end of its wait half a second late. The reply came after the time was over all the same."""
    late = history(asked(0, 0.0) + given(0, 1.3) + ended("timed_out", 0, 1.5, 0.0), declared=quotes())
    (heard,) = (one for one in check(late) if one.name == "replies_heard")
    assert heard.verdict == "unknown"


def test_a_reply_in_the_last_moment_counts_neither_way() -> None:
    """It was there 50 ms before the caller's time was over: on a busy machine that may be too late to hear it."""
    close = history(asked(0, 0.0) + given(0, 0.95) + ended("timed_out", 0, 1.0, 0.0), declared=quotes())
    assert measure(close)["callers.replies_lost"].tolist() == [0.0]


def test_faults_may_be_declared_in_any_order() -> None:
    """Callers that the first one cut off are not connected again when the second one begins, and hear nothing in it."""
    faults = [fault("server_away", at_s=0.1, for_s=0.5), fault("server_away", at_s=0.9, for_s=1.0)]
    for each in (faults, faults[::-1]):
        declared = quotes(*each, timeout_s=2.2)
        away = history(asked(0, 0.0) + given(0, 0.7) + ended("timed_out", 0, 2.2, 0.0), declared=declared)
        assert measure(away)["callers.replies_lost"].tolist() == [0.0]


def test_an_open_wait_lasts_until_the_run_ends() -> None:
    open_ = history(asked(0, 0.0) + given(0, 3.0), declared=quotes(timeout_s=60.0), ended_s=10.0)
    assert lags(open_, "callers").lag_s.tolist() == [10.0]
    assert measure(open_)["callers.replies_lost"].tolist() == [1.0]


def test_only_scenarios_with_callers_speak_of_them() -> None:
    without = history(asked(0, 0.0))
    assert not any(name.startswith("callers.") for name in measure(without))
    assert not any(one.name == "replies_heard" for one in check(without))


def test_numbers_of_callers_are_not_those_of_the_only_service() -> None:
    """Its own numbers stand under its name as well; those of the callers do not."""
    told = history_json(known(), summaries(known()), [])["metrics"]
    assert "quoting.lag_s_p95" in told
    assert "callers.timed_out" in told
    assert "quoting.callers.timed_out" not in told


def test_a_service_whose_events_only_callers_hear_is_a_last_one() -> None:
    assert last_services(quotes()) == ["quoting"]


def test_a_killed_caller_in_words() -> None:
    fault = kill("callers", 0.5, 1.0, consumer=1)
    assert fault.in_words(quotes(fault)) == "At 0.5 s, caller 1 is killed without warning and is replaced 1 s later."
    assert fault.mark().label == "callers 1 killed"


@pytest.mark.parametrize(
    ("processes", "words"),
    [
        (1, "Each placed is a request. One caller waits for its given, for at most 1 s."),
        (2, "Each placed is a request. 2 callers wait for its given, for at most 1 s."),
    ],
)
def test_callers_in_words(processes: int, words: str) -> None:
    assert Callers(reply="given", processes=processes).in_words("placed") == words


@pytest.mark.parametrize(
    ("faults", "fields", "problem"),
    [
        ((), {"reply": "gvien"}, "callers.reply: no service emits 'gvien'"),
        ((kill("callers", 0.5, 1.0, consumer=2),), {}, "'callers' has consumers 0 to 1, no 2"),
        ((kill("callers", 0.5, 1.0), kill("callers", 1.0, 1.0)), {}, "'callers' consumer 0 is killed while it is down"),
        (
            (Pause(kind="pause", service="callers", at_s=0.5, for_s=0.1),),
            {},
            "callers that are paused are not modelled yet",
        ),
    ],
)
def test_callers_that_cannot_be_run_are_refused(
    faults: tuple[Fault, ...], fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises((ValueError, InvalidDeclaration), match=problem):
        quotes(*faults, **fields)


def test_a_service_must_not_be_called_as_callers_are() -> None:
    named = quotes().model_dump(by_alias=True)
    named["services"]["callers"] = named["services"]["quoting"]
    with pytest.raises(ValueError, match=r"services.callers: .*another name"):
        Scenario.model_validate(named)


def test_faults_of_callers_need_callers() -> None:
    with pytest.raises(ValueError, match="there is no service 'callers'"):
        scenario(steady(10.0, 1.0), kill("callers", 0.5, 1.0), quoting=service())


def test_the_plan_does_not_depend_on_callers() -> None:
    """The same scenario without them has the same arrivals, times and failures."""
    without = Scenario.model_validate(quotes().model_dump(by_alias=True) | {"callers": None})
    one, other = quotes().plan(3), without.plan(3)
    assert one.arrivals_s.tobytes() == other.arrivals_s.tobytes()
    assert one.service_s["quoting"].tobytes() == other.service_s["quoting"].tobytes()
    assert one.failure_draws["quoting"].tobytes() == other.failure_draws["quoting"].tobytes()
