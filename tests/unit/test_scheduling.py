"""What becomes of a schedule's slots: a table of the contract, and that no slot is decided about twice or never."""

import itertools
import random
from typing import Any, get_args

import pytest

from eventlib import scheduling
from eventlib.scheduling import WAITING_MAX, Missed, Plan, Run, Skip, admit, plan, task_id
from eventlib.slots import Cron, Interval, Passed, Slots

EVERY = Interval(10.0)


def follow(slots: Slots, next_s: float, now_s: float, *rule: Any) -> tuple[list[Run | Skip], float]:
    """All steps that are due, as a scheduler takes them."""
    steps = list[Run | Skip]()
    while next_s <= now_s:
        found = plan(slots, next_s, now_s, *rule)
        steps += found.steps
        next_s = found.next_s or float("inf")
    return steps, next_s


@pytest.mark.parametrize(
    ("missed", "late_s", "steps"),
    [
        # One slot is due. It is in time, or late.
        ("skip", 1.0, [Run(100.0)]),
        ("once", 1.0, [Run(100.0)]),
        ("all", 1.0, [Run(100.0)]),
        ("skip", 5.0, [Run(100.0)]),
        ("skip", 5.1, [Skip(100.0, 100.0, 1, "missed")]),
        ("once", 5.1, [Run(100.0)]),
        ("all", 5.1, [Run(100.0)]),
        # Four slots are due, and the newest is in time, or late.
        ("skip", 32.0, [Skip(100.0, 120.0, 3, "missed"), Run(130.0)]),
        ("once", 32.0, [Skip(100.0, 120.0, 3, "missed"), Run(130.0)]),
        ("all", 32.0, [Run(100.0), Run(110.0), Run(120.0), Run(130.0)]),
        ("skip", 39.0, [Skip(100.0, 130.0, 4, "missed")]),
        ("once", 39.0, [Skip(100.0, 120.0, 3, "missed"), Run(130.0)]),
        ("all", 39.0, [Run(100.0), Run(110.0), Run(120.0), Run(130.0)]),
    ],
)
def test_trap_32_a_missed_slot_runs_or_is_skipped_as_declared(
    missed: Missed, late_s: float, steps: list[Run | Skip]
) -> None:
    assert follow(EVERY, 100.0, 100.0 + late_s, missed) == (steps, 110.0 + late_s // 10.0 * 10.0)


@pytest.mark.parametrize("missed", get_args(Missed))
@pytest.mark.parametrize("halted", ["paused", "orphaned"])
def test_a_schedule_that_is_halted_skips_each_slot_with_the_reason(missed: Missed, halted: Any) -> None:
    assert follow(EVERY, 100.0, 125.0, missed, 5.0, halted) == ([Skip(100.0, 120.0, 3, halted)], 130.0)


@pytest.mark.parametrize("missed", get_args(Missed))
@pytest.mark.parametrize("slots", [Interval(0.5), Interval(7.3, 0.1), Cron("*/3 * * * *"), Cron("0 4 * * *")])
def test_trap_32_each_slot_is_decided_about_once_and_in_order(
    missed: Missed, slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler that looks at random times, or not for days, in steps of a few slots, decides about all."""
    monkeypatch.setattr(scheduling, "PASS_LIMIT", 7)
    monkeypatch.setattr(scheduling, "RUN_LIMIT", 3)
    rng = random.Random(f"{missed} {slots}")
    start_s = now_s = 1.75e9
    next_s = first_s = slots.after(now_s) or 0.0
    ran, decided, last_s = 0, 0, start_s
    for _ in range(50):
        now_s += rng.expovariate(1.0 / rng.choice([0.3, 30.0, 3000.0]))
        steps, next_s = follow(slots, next_s, now_s, missed)
        for step in steps:
            first, last = (step.slot_s, step.slot_s) if isinstance(step, Run) else (step.first_s, step.last_s)
            assert last_s < first <= last <= now_s
            last_s = last
            decided += 1 if isinstance(step, Run) else step.count
            ran += isinstance(step, Run)
        assert next_s > now_s
    due = itertools.takewhile(lambda s: s <= now_s, iterate(slots, first_s))
    assert decided == sum(1 for _ in due) and (ran == decided or missed != "all")


def iterate(slots: Slots, slot_s: float) -> itertools.chain[float]:
    def walk(at_s: float | None):  # type: ignore[no-untyped-def]
        while at_s is not None:
            yield at_s
            at_s = slots.after(at_s)

    return itertools.chain(walk(slot_s))


def test_slots_that_many_steps_pass_over_are_all_skipped_before_the_newest_runs() -> None:
    cron = Cron("* * * * *")
    first_s = cron.after(1.75e9) or 0.0
    assert plan(cron, first_s, first_s + 1e6, "once") == Plan(
        (Skip(first_s, first_s + 499 * 60.0, 500, "missed"),), first_s + 500 * 60.0
    )


def test_the_last_slot_of_all_runs_and_none_follows() -> None:
    class Last:
        def after(self, instant_s: float) -> float | None:
            return None

        def passed(self, first_s: float, until_s: float, limit: int) -> Passed:
            return Passed(1, first_s, None, first_s, None)

    for missed in get_args(Missed):
        assert plan(Last(), 100.0, 101.0, missed) == Plan((Run(100.0),), None)


@pytest.mark.parametrize(
    ("overlap", "running", "waiting", "outcome"),
    [
        ("allow", True, 0, "run"),
        ("skip", False, 0, "run"),
        ("skip", True, 0, "overlap"),
        ("queue", False, 0, "run"),
        ("queue", True, 0, "wait"),
        ("queue", False, 2, "wait"),  # those before it come first
        ("queue", True, WAITING_MAX - 1, "wait"),
        ("queue", True, WAITING_MAX, "queue_full"),
    ],
)
def test_a_slot_that_overlaps_runs_waits_or_is_skipped(overlap: Any, running: bool, waiting: int, outcome: str) -> None:
    assert admit(overlap, running, waiting) == outcome


def test_a_tasks_id_follows_from_schedule_and_slot() -> None:
    assert task_id("nightly", 1_774_749_600.0) == "nightly.20260329T020000Z"
    assert task_id("nightly", 1_774_749_600.25) == "nightly.20260329T020000.250Z"
