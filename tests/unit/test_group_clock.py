"""How a consumer knows a group's time, by a steady clock of its own."""

import pytest

from eventlib.consume import group_clock
from eventlib.consume.group_clock import CONFIRM_S, GroupClock

NOW_MS = 1_700_000_000_000.0


class Steady:
    """Stands for this machine's steady clock."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> Steady:
    steady = Steady()
    monkeypatch.setattr(group_clock, "steady_s", steady)
    return steady


@pytest.mark.parametrize(("seen_ms", "known"), [(0.0, True), (NOW_MS - 1500.0, True), (NOW_MS - 3600e3, False)])
def test_a_time_is_known_if_others_saw_about_the_same(steady: Steady, seen_ms: float, known: bool) -> None:
    clock = GroupClock()
    clock.note(NOW_MS, steady.now_s, seen_ms)
    assert clock.known is known


def test_a_time_is_known_if_nobody_put_it_right_for_long_enough(steady: Steady) -> None:
    clock = GroupClock()
    for after_s, known in ((0.0, False), (CONFIRM_S / 2, False), (CONFIRM_S, True)):
        steady.now_s = 100.0 + after_s
        clock.note(NOW_MS + after_s * 1000.0, steady.now_s, NOW_MS - 3600e3)
        assert clock.known is known
    clock.forget()
    assert not clock.known and clock.expected() is None


def test_what_is_expected_goes_on_with_the_steady_clock_and_may_be_as_late_as_the_last_reply(steady: Steady) -> None:
    clock = GroupClock()
    steady.now_s += 3.0
    clock.note(NOW_MS, steady.now_s - 3.0, 0.0)
    steady.now_s += 10.0
    assert clock.expected() == (NOW_MS + 10_000.0, 3000.0)


@pytest.mark.parametrize(("passed_s", "jump_s"), [(0.0, 0.0), (5.0, 0.0), (3602.5, 3600.0), (-3597.5, -3600.0)])
def test_a_late_script_is_no_jump(steady: Steady, passed_s: float, jump_s: float) -> None:
    """The reply came after five seconds: the script ran at any time of these."""
    clock = GroupClock()
    assert clock.jump_ms(NOW_MS, steady.now_s) is None
    clock.note(NOW_MS, steady.now_s, 0.0)
    sent_s = steady.now_s
    steady.now_s += 5.0
    assert clock.jump_ms(NOW_MS + passed_s * 1000.0, sent_s) == jump_s * 1000.0
