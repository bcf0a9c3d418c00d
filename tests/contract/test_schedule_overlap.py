"""What the script does with slots that overlap is what the pure functions decide, whatever happens in between."""

from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from eventlib import scheduling
from eventlib.broker import schedules
from eventlib.broker.connections import Broker
from eventlib.broker.schedules import QueuedSlot, ScheduleCommands
from eventlib.broker.tasks import QueueCommands
from eventlib.records import EnqueuedTask
from eventlib.scheduling import Skip, admit

RECORD = b'{"name":"t","priority":3,"tenant":"","keep":100000}'
queues = (f"q{number}" for number in count())


class Model:
    """One schedule: the tasks that its slots started and that have not ended, as the pure functions say."""

    def __init__(self, overlap: Any) -> None:
        self.overlap = overlap
        self.ran: list[int] = []
        self.skipped: list[tuple[int, str]] = []
        self.waiting: list[int] = []
        self.ended: set[int] = set()

    def runs(self) -> bool:
        """Whether the task of the last slot that ran has not ended."""
        return bool(self.ran) and self.ran[-1] not in self.ended

    def come(self, slot: int) -> None:
        outcome = admit(self.overlap, self.runs(), len(self.waiting))
        if outcome == "run":
            self.ran.append(slot)
        elif outcome == "wait":
            self.waiting.append(slot)
        else:
            self.skipped.append((slot, outcome))

    def start_waiting(self) -> None:
        if self.waiting and not self.runs():
            self.ran.append(self.waiting.pop(0))


@given(
    steps=st.lists(st.sampled_from(["slot", "slot", "end", "look"]), max_size=40),
    overlap=st.sampled_from(["allow", "skip", "queue"]),
)
@example(steps=["slot", "slot", "end", "slot", "look"], overlap="queue")
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_slots_that_overlap_are_met_as_the_pure_functions_say(
    broker: Broker, steps: list[str], overlap: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduling, "WAITING_MAX", 3)
        patch.setattr(schedules, "WAITING_MAX", 3)
        queue, model = next(queues), Model(overlap)
        commands, tasks = ScheduleCommands(broker, queue), QueueCommands(broker, queue)
        assert await commands.put("s", "", "r1", "{}", 1.0)
        slot = 0
        for step in steps:
            stored = await commands.read("s")
            assert stored is not None
            if step == "slot":
                slot += 1
                model.come(slot)
                assert (await commands.fire(stored, overlap, [(slot, task(slot))], slot + 1.0, None)).done
            elif step == "end" and model.ran:
                model.ended.add(model.ran[-1])
                await tasks.cancel(str(model.ran[-1]))
            elif step == "look":
                look = await commands.look(10, None)
                assert look.waiting == bool(model.waiting)
                assert look.ready == (["s"] if model.waiting and not model.runs() else [])
                model.start_waiting()
                if stored.first_waiting_s is not None:
                    first = round(stored.first_waiting_s)
                    await commands.start_queued(stored, overlap, (first, task(first)), None)
        records = (await commands.history("s", 1000))[::-1]
        assert [int(r.slot_s) for r in records if r.outcome == "ran"] == model.ran
        skipped = [(int(r.slot_s) + n, r.reason) for r in records if r.outcome == "skipped" for n in range(r.count)]
        assert skipped == model.skipped
        left = await commands.read("s")
        assert left is not None and left.waiting == len(model.waiting)


def task(slot: int) -> EnqueuedTask:
    return EnqueuedTask(str(slot), b"{}", RECORD, "", "", "")


async def test_a_decision_is_carried_out_once_and_only_if_it_is_still_right(broker: Broker) -> None:
    """Of two schedulers, and of two tries. Not after a change, nor before the slot's time."""
    commands = ScheduleCommands(broker, "default")
    assert await commands.put("s", "", "r1", "{}", 1.0)
    assert await commands.put("s", "", "r1", "{}", 1.0), "an earlier try of this caller did it"
    assert not await commands.put("s", "", "r2", "{}", 1.0), "another caller was faster"
    seen = await commands.read("s")
    assert seen is not None
    steps: list[QueuedSlot | Skip] = [(1.0, task(1)), Skip(2.0, 3.0, 2, "missed")]
    assert (await commands.fire(seen, "allow", steps, 4.0, None)).done
    assert not (await commands.fire(seen, "allow", steps, 4.0, None)).done
    now = await commands.read("s")
    assert now is not None and now.next_s == 4.0
    assert not await commands.put("s", "r1", "r2", "{}", 9e9), "a slot is due, and has to be decided about before"
    assert await commands.put("s", "r1", "r2", "{}", None, keep=True, drop=True)
    assert not (await commands.fire(now, "allow", [(4.0, task(4))], 5.0, None)).done, "it was changed"
    assert await commands.put("s", "r2", "r3", "{}", 1e11, drop=True)
    future = await commands.read("s")
    assert future is not None
    assert not (await commands.fire(future, "allow", [(1e11, task(5))], None, None)).done, "its time has not come"
    early = Skip(5.0, 1e11, 9, "missed")
    assert not (await commands.fire(future, "allow", [early], None, None)).done, "nor that of its last slot"
    assert [record.count for record in await commands.history("s", 10)] == [2, 1]
