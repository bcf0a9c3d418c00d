"""Deciding about the slots of one schedule that are due. Schedulers do it, and so do calls that change a schedule."""

from collections.abc import Callable

from eventlib.broker.schedules import Fired, ScheduleCommands, StoredSchedule
from eventlib.errors import BrokerUnavailable
from eventlib.records import ExpectedTime
from eventlib.schedules.spec import spec_of
from eventlib.scheduling import Halted, Run

Expected = Callable[[], ExpectedTime | None]


def halted(stored: StoredSchedule) -> Halted | None:
    """Why a schedule runs nothing, if it does not."""
    return "orphaned" if "orphaned" in stored.fields else "paused" if "paused" in stored.fields else None


async def decide(commands: ScheduleCommands, stored: StoredSchedule, now_s: float, expected: Expected) -> Fired:
    """Take one step: decide about slots from the schedule's next one, which is due, up to now.

    Raises:
        DecodeError: what is kept of the schedule cannot be read.
        BrokerError: the server did not answer, or refused. The step may have been taken; repeating it is safe.
    """
    spec = spec_of(stored.spec)
    assert stored.next_s is not None, "it is due"
    plan = spec.rule.plan(stored.next_s, now_s, halted(stored))
    steps = [(s.slot_s, spec.task_of(stored.name, s.slot_s)) if isinstance(s, Run) else s for s in plan.steps]
    return await commands.fire(stored, spec.rule.overlap, steps, plan.next_s, expected())


async def start_waiting(commands: ScheduleCommands, stored: StoredSchedule, expected: Expected) -> Fired:
    """Run the first slot that waits, if the task before it has ended. Raises what `decide` raises."""
    spec, slot_s = spec_of(stored.spec), stored.first_waiting_s
    assert slot_s is not None, "one waits"
    return await commands.start_queued(
        stored, spec.rule.overlap, (slot_s, spec.task_of(stored.name, slot_s)), expected()
    )


async def settle(
    commands: ScheduleCommands, name: str, now_s: Callable[[], float], expected: Expected
) -> StoredSchedule | None:
    """Decide about all slots up to now. Returns the schedule as it is then; None if there is none of this name.

    Raises what `decide` raises, and BrokerUnavailable while the server's clock has jumped and is not put right.
    """
    while True:
        stored = await commands.read(name)
        if stored is None or stored.next_s is None or stored.next_s > now_s():
            return stored
        fired = await decide(commands, stored, now_s(), expected)
        if fired.unexpected:
            raise BrokerUnavailable(
                f"schedule {name!r}", "the server's clock has jumped; the queue's workers put it right"
            )
