"""A schedule lets a task run at given times. Each slot is run once, or recorded as skipped."""

import eventlib as ev
from eventlib.testing import eventually
from tests.shop import Connect


async def test_a_task_runs_at_given_times(connect: Connect) -> None:
    app, sent = ev.App("shop"), list[str]()

    @app.task()
    async def send_report(market: str) -> None:
        sent.append(market)

    app.schedule("nightly", send_report, cron="0 3 * * *", tz="Europe/Berlin", args=("de",))
    app.schedule("often", send_report, every_s=0.1, args=("fr",))

    async with connect(app) as bus, bus.running():
        await eventually(lambda: "fr" in sent)
        await bus.schedules.add("added", send_report, every_s=0.1)("it")  # while the program runs
        await eventually(lambda: "it" in sent)
        assert [schedule.name for schedule in await bus.schedules.list()] == ["added", "nightly", "often"]
        [slot, *_] = await bus.schedules.history("often")
        assert (slot.outcome, slot.late_s is not None) == ("ran", True)
        await bus.schedules.pause("often")
        await bus.schedules.remove("added")
        assert "de" not in sent
