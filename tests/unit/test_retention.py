"""When a group will lose entries, and the severity of that, as pure functions."""

import math

import pytest

import eventlib as ev

WEEK_S = 7 * 86_400.0


@pytest.mark.parametrize(
    ("retention", "absent_s", "oldest_age_s", "unread", "loss_in_s"),
    [
        (ev.Retention(), 0.0, 30 * WEEK_S, 10**9, None),  # it is there: however slow, it loses nothing
        (ev.Retention(), 3600.0, None, 0, None),  # it has nothing to lose
        (ev.Retention(), 3600.0, 30 * WEEK_S, 10, WEEK_S - 3600.0),
        (ev.Retention(), 2 * WEEK_S, 30 * WEEK_S, 10, 0.0),
        (ev.Retention(), 2 * WEEK_S, WEEK_S - 60.0, 10, 60.0),  # dead, but history keeps it a minute longer
        (ev.Retention(), 2 * WEEK_S, 60.0, 99_000, 0.0),  # unless there is too much of it
        (ev.Retention(dead_after_s=math.inf), 9 * WEEK_S, 9 * WEEK_S, 10, None),
        (ev.Retention(keep_s=math.inf, keep_entries=None), 9 * WEEK_S, 9 * WEEK_S, 10**9, None),
        (ev.Retention(keep_s=100.0, keep_unread=False), 0.0, 60.0, 10, 40.0),
        (ev.Retention(keep_s=100.0, keep_unread=False), 0.0, 160.0, 10, 0.0),
        (ev.Retention(keep_s=math.inf, keep_entries=10, keep_unread=False), 0.0, 1.0, 8, None),
        (ev.Retention(keep_s=math.inf, keep_entries=10, keep_unread=False), 0.0, 1.0, 9, 0.0),
    ],
)
def test_seconds_until_loss(
    retention: ev.Retention, absent_s: float, oldest_age_s: float | None, unread: int, loss_in_s: float | None
) -> None:
    assert retention.loss_in_s(absent_s, oldest_age_s, unread) == loss_in_s


@pytest.mark.parametrize(
    ("retention", "loss_in_s", "concern"),
    [
        (ev.Retention(), None, "none"),
        (ev.Retention(), WEEK_S * 0.6, "none"),
        (ev.Retention(), WEEK_S * 0.4, "soon"),
        (ev.Retention(), 0.0, "losing"),
        (ev.Retention(keep_s=100.0, keep_unread=False), 11.0, "none"),
        (ev.Retention(keep_s=100.0, keep_unread=False), 9.0, "soon"),
    ],
)
def test_the_severity_of_a_loss(retention: ev.Retention, loss_in_s: float | None, concern: str) -> None:
    assert retention.concern(loss_in_s) == concern


@pytest.mark.parametrize("wrong", [{"keep_s": -1.0}, {"keep_s": math.nan}, {"keep_entries": -1}, {"dead_after_s": 0.0}])
def test_invalid_numbers_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ev.InvalidDeclaration, match="keep_s"):
        ev.Retention(**wrong)  # type: ignore[arg-type]
