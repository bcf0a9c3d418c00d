"""Schedules: each slot is run once, or recorded as skipped with the reason, whatever happens to schedulers."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.keys import Keys
from eventlib.broker.schedules import Fired, Look, ScheduleCommands
from eventlib.declare.tasks import Task
from eventlib.slots import Cron
from eventlib.testing import eventually, fault_proxy
from tests.shop import Connect, for_ever

HOUR_S = 3600.0
FAST: dict[str, Any] = {"every_s": 0.05, "missed": "all"}


class Shop:
    """An App whose task notes its ids and waits for a gate."""

    def __init__(self, name: str = "shop", **settings: Any) -> None:
        self.app = ev.App(name)
        self.app.queue("default", lease_s=1.0)
        self.begun: list[str] = []
        self.texts: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_once = 0

        @self.app.task(**settings)
        async def note(text: str = "") -> None:
            self.begun.append(ev.current_task().id)
            self.texts.append(text)
            self.at_once = max(self.at_once, len(self.begun) - self.ended)
            await self.gate.wait()
            self.ended += 1

        self.ended = 0
        self.note: Task[..., None] = note


@pytest.fixture
def shop() -> Shop:
    return Shop()


class Slots:
    """Moves a schedule back in time, as if no scheduler had run meanwhile."""

    def __init__(self, raw: redis.Redis, namespace: str) -> None:
        self._raw = raw
        self._keys = Keys(namespace)

    async def offset_s(self) -> float:
        """For an hourly schedule whose last slot was half an hour ago."""
        return ((await self._raw.time())[0] - HOUR_S / 2.0) % HOUR_S

    async def pass_by(self, name: str, number: int, every_s: float = HOUR_S) -> list[float]:
        """Let the next slot be `number` slots earlier. Returns the slots that are due now."""
        key = self._keys.schedule("tasks.default", name).schedules
        first_ms = await self._raw.zincrby(key, -round(number * every_s * 1000.0), name)
        return [(first_ms or 0.0) / 1000.0 + n * every_s for n in range(number)]


@pytest.fixture
def slots(raw: redis.Redis, namespace: str) -> Slots:
    return Slots(raw, namespace)


class Looks:
    """Counts how often schedulers have looked which schedules are due, and waits until they have looked again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._count = 0
        look = ScheduleCommands.look

        async def counted(*args: Any, **options: Any) -> Look:
            try:
                return await look(*args, **options)
            finally:
                self._count += 1

        monkeypatch.setattr(ScheduleCommands, "look", counted)

    async def come(self, number: int) -> None:
        """Wait for that many more looks. What the first of them brings is decided before the second one."""
        until = self._count + number
        await eventually(lambda: self._count >= until)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


async def hourly(bus: ev.Bus, shop: Shop, slots: Slots, name: str = "s", **rule: Any) -> None:
    """Add an hourly schedule that is not due soon."""
    await bus.schedules.add(name, shop.note, every_s=HOUR_S, offset_s=await slots.offset_s(), **rule)()


def decided(bus: ev.Bus, number: int, name: str = "s") -> Callable[[], Any]:
    """Whether so many slots are decided about."""

    async def look() -> bool:
        found = await bus.schedules.get(name)
        return found.runs + sum(found.skipped.values()) + found.waiting >= number

    return look


async def accounted(bus: ev.Bus, name: str, every_s: float) -> list[float]:
    """The slots that ran, after a look that no slot is missing or there twice."""
    found = await bus.schedules.get(name)
    records = (await bus.schedules.history(name, limit=1000))[::-1]
    told = [round(r.slot_s + n * every_s, 3) for r in records if r.outcome != "by_hand" for n in range(r.count)]
    assert found.next_s is not None
    there_were = [round(told[0] + n * every_s, 3) for n in range(round((found.next_s - told[0]) / every_s))]
    assert told[: len(there_were)] == there_were and len(set(told)) == len(told)  # more may have come meanwhile
    return [record.slot_s for record in records if record.outcome == "ran"]


# Missed slots


@pytest.mark.parametrize(("missed", "runs"), [("skip", 0), ("once", 1), ("all", 5)])
async def test_trap_32_slots_that_were_missed_are_run_or_recorded_as_declared(
    connect: Connect, shop: Shop, slots: Slots, looks: Looks, missed: Any, runs: int
) -> None:
    async with connect(shop.app) as bus:
        await hourly(bus, shop, slots, missed=missed)
        due = await slots.pass_by("s", 5)
        async with bus.running():
            await eventually(decided(bus, 5))
            await eventually(lambda: len(shop.begun) == runs)
        assert await accounted(bus, "s", HOUR_S) == due[5 - runs :]
        skipped = [record for record in await bus.schedules.history("s") if record.outcome == "skipped"]
        assert [(r.slot_s, r.last_slot_s, r.count, r.reason) for r in skipped] == (
            [(due[0], due[4 - runs], 5 - runs, "missed")] if runs < 5 else []
        )
        assert (await bus.schedules.get("s")).skipped == ({"missed": 5 - runs} if runs < 5 else {})
        async with bus.running():  # a restart doubles nothing
            await looks.come(2)
        assert len(shop.begun) == runs


async def test_trap_32_any_number_of_schedulers_run_each_slot_once(connect: Connect, shop: Shop) -> None:
    async with connect(shop.app) as bus, connect(shop.app) as other:
        await bus.schedules.add("s", shop.note, **FAST)()
        async with bus.running(), bus.running(), other.running(), other.running():
            await eventually(decided(bus, 12))
            await bus.schedules.pause("s")
            ran = await accounted(bus, "s", 0.05)
            await eventually(lambda: len(shop.begun) == len(ran))
    assert len(set(shop.begun)) == len(ran) >= 12


@pytest.mark.parametrize("trouble", ["hangs", "fails", "cannot be read"])
async def test_trap_32_a_schedule_that_hangs_or_fails_holds_up_no_other(
    connect: Connect,
    shop: Shop,
    raw: redis.Redis,
    namespace: str,
    trouble: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fire = ScheduleCommands.fire

    async def troubled(commands: ScheduleCommands, stored: Any, *args: Any) -> Fired:
        if stored.name == "bad" and trouble == "hangs":
            await for_ever()
        if stored.name == "bad" and trouble == "fails":
            raise RuntimeError("a fault of this one")
        return await fire(commands, stored, *args)

    monkeypatch.setattr(ScheduleCommands, "fire", troubled)
    async with connect(shop.app) as bus:
        await bus.schedules.add("bad", shop.note, every_s=0.05)()
        await bus.schedules.add("good", shop.note, every_s=0.05)()
        if trouble == "cannot be read":
            await raw.hset(Keys(namespace).schedule("tasks.default", "bad").schedule, "spec", '{"form": 1}')
        async with bus.running():
            await eventually(decided(bus, 5, "good"))
        listed = {found.name: found for found in await bus.schedules.list()}
        assert not listed["bad"].runs and listed["good"].runs
        assert bool(listed["bad"].problem) == (trouble == "cannot be read")
        assert ("schedule 'bad' of queue 'default' waits" in caplog.text) == (trouble != "hangs")


async def test_trap_32_a_decision_whose_reply_is_lost_is_not_made_twice(
    connect: Connect, shop: Shop, slots: Slots, url: str
) -> None:
    async with fault_proxy(url) as proxy, connect(shop.app) as looker, connect(shop.app, url=proxy.url) as bus:
        await hourly(looker, shop, slots, missed="all")
        await slots.pass_by("s", 3)
        proxy.lose_reply_to(b"s.20")
        async with bus.running():
            await eventually(lambda: proxy.lost)
            await eventually(decided(looker, 3))
            await eventually(lambda: len(shop.begun) == 3)
        assert len(await accounted(looker, "s", HOUR_S)) == 3


async def test_trap_26_a_slot_is_due_by_the_servers_clock(
    connect: Connect, shop: Shop, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_ns = time.time_ns
    monkeypatch.setattr(time, "time", lambda: real_ns() / 1e9 + 30.0)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + 30 * 10**9)
    async with connect(shop.app) as bus, bus.running():
        await bus.schedules.add("s", shop.note, cron="* * * * * *")()
        await eventually(decided(bus, 1))
        [*_, record] = await bus.schedules.history("s")
        server_s, _ = await raw.time()
    assert record.outcome == "ran" and server_s - 25.0 <= record.slot_s <= server_s


# Overlapping slots


@pytest.mark.parametrize(
    ("overlap", "first", "all_", "skipped"), [("allow", 4, 4, {}), ("skip", 1, 1, {"overlap": 3}), ("queue", 1, 4, {})]
)
async def test_slots_that_overlap_run_are_skipped_or_wait_as_declared(
    connect: Connect, shop: Shop, slots: Slots, overlap: Any, first: int, all_: int, skipped: dict[str, int]
) -> None:
    shop.gate.clear()
    async with connect(shop.app) as bus:
        await hourly(bus, shop, slots, missed="all", overlap=overlap)
        due = await slots.pass_by("s", 4)
        async with bus.running():
            await eventually(decided(bus, 4))
            await eventually(lambda: len(shop.begun) == first)
            found = await bus.schedules.get("s")
            assert (found.runs, found.skipped, found.waiting) == (first, skipped, all_ - first)
            shop.gate.set()
            await eventually(lambda: shop.ended == all_)
        assert await accounted(bus, "s", HOUR_S) == due[:all_]
        assert shop.at_once == first and (await bus.schedules.get("s")).waiting == 0


async def test_slots_that_wait_are_kept_while_the_schedule_is_paused(
    connect: Connect, shop: Shop, slots: Slots, looks: Looks
) -> None:
    shop.gate.clear()
    async with connect(shop.app) as bus:
        await hourly(bus, shop, slots, missed="all", overlap="queue")
        await slots.pass_by("s", 2)
        async with bus.running():
            await eventually(decided(bus, 2))
            await bus.schedules.pause("s")
            shop.gate.set()
            await eventually(lambda: shop.ended == 1)
            await looks.come(2)
            assert (await bus.schedules.get("s")).waiting == 1
            await bus.schedules.resume("s")
            await eventually(lambda: shop.ended == 2)


async def test_a_slot_whose_unique_key_is_in_use_is_recorded_as_skipped(connect: Connect, slots: Slots) -> None:
    shop = Shop(unique_by=("text",))
    shop.gate.clear()
    async with connect(shop.app) as bus:
        handle = await bus.enqueue(shop.note)()
        await hourly(bus, shop, slots)
        await slots.pass_by("s", 1)
        async with bus.running():
            await eventually(decided(bus, 1))
            assert (await bus.schedules.get("s")).skipped == {"unique_key": 1}
            with pytest.raises(ev.UniqueKeyInUse) as refused:
                await bus.schedules.run_now("s")
            assert refused.value.task_id == handle.id
            shop.gate.set()
        assert shop.begun == [handle.id]


# Declared schedules


async def test_a_declared_schedule_runs_with_its_arguments(connect: Connect) -> None:
    shop = Shop()
    shop.app.schedule("second", shop.note, cron="* * * * * *", tz="Europe/Berlin", kwargs={"text": "hello"})
    async with connect(shop.app) as bus, bus.running():
        await eventually(lambda: shop.texts)
        found = await bus.schedules.get("second")
        await eventually(lambda: found.last_task_id in shop.begun)  # where this took a second, a later one
    assert set(shop.texts) == {"hello"} and (found.task, found.declared_by, found.queue) == ("note", "shop", "default")
    assert shop.begun[0].startswith("second.20")


async def declared(connect: Connect, until: Callable[[ev.Schedule], object], **rule: Any) -> ev.Schedule:
    """Start a program that declares this schedule, or none, wait until the schedule is as wanted, and end it."""
    shop = Shop()
    if rule:
        shop.app.schedule("s", shop.note, **rule)

    async def look() -> ev.Schedule | None:
        found = [each for each in await bus.schedules.list() if until(each)]
        return found[0] if found else None

    async with connect(shop.app) as bus, bus.running():
        found = await eventually(look)
    assert found is not None
    return found


def there(_: ev.Schedule) -> bool:
    return True


YEARLY: dict[str, Any] = {"cron": "0 3 1 1 *", "args": ("a",)}


async def test_what_changes_in_the_code_counts_from_the_next_start(connect: Connect) -> None:
    yearly = await declared(connect, there, **YEARLY)
    assert yearly.next_s is not None and yearly.rule is not None
    tokyo = YEARLY | {"tz": "Asia/Tokyo"}
    moved = await declared(connect, lambda s: s.rule and s.rule.tz == "Asia/Tokyo", **tokyo)
    assert moved.next_s == Cron("0 3 1 1 *", "Asia/Tokyo").after(time.time())
    gone = await declared(connect, lambda s: s.halted)
    assert gone.halted == "orphaned" and gone.orphaned_at_s is not None
    back = await declared(connect, lambda s: not s.halted, **tokyo)
    assert (back.next_s, back.added_at_s) == (moved.next_s, yearly.added_at_s)


async def test_new_arguments_count_for_slots_after_the_change(connect: Connect, slots: Slots) -> None:
    rule: dict[str, Any] = {"every_s": HOUR_S, "offset_s": await slots.offset_s(), "missed": "all"}

    async def spec_has(text: str) -> bool:
        stored = await ScheduleCommands(bus._broker, "default").read("s")
        return stored is not None and text in stored.spec

    await declared(connect, there, **rule, args=("old",))
    await slots.pass_by("s", 1)
    shop = Shop()
    shop.app.schedule("s", shop.note, **rule, args=("new",))
    async with connect(shop.app) as bus, bus.running():
        await eventually(lambda: shop.texts == ["old"])
        await eventually(lambda: spec_has("new"))
        await slots.pass_by("s", 2)  # the one before, too
        await eventually(lambda: shop.texts == ["old", "new"])


async def test_slots_that_were_due_before_a_change_are_decided_about_by_the_old_rule(
    connect: Connect, slots: Slots
) -> None:
    offset_s = await slots.offset_s()
    await declared(connect, there, every_s=HOUR_S, offset_s=offset_s, missed="skip")
    await slots.pass_by("s", 3)
    changed = await declared(
        connect, lambda s: s.rule and s.rule.missed == "all", every_s=2 * HOUR_S, offset_s=offset_s, missed="all"
    )
    assert (changed.runs, changed.skipped) == (0, {"missed": 3})


async def test_after_the_server_lost_its_data_declared_schedules_come_back(
    connect: Connect, raw: redis.Redis, namespace: str
) -> None:
    shop = Shop()
    shop.app.schedule("s", shop.note, every_s=HOUR_S)
    async with connect(shop.app) as bus, bus.running():
        await eventually(lambda: is_there(bus, "s"))
        await raw.unlink(*[key async for key in raw.scan_iter(f"{namespace}:*", count=1000)])
        await eventually(lambda: is_there(bus, "s"))
        await bus.schedules.remove("s")
        await bus.tasks.enqueue_many([shop.note.call()])
        await eventually(lambda: len(shop.begun) == 1)
        assert not await is_there(bus, "s")  # what an operator removes stays away until the next start


async def is_there(bus: ev.Bus, name: str) -> bool:
    return name in [schedule.name for schedule in await bus.schedules.list()]


async def test_a_paused_schedule_stays_paused_over_starts_and_changes(connect: Connect) -> None:
    await declared(connect, there, **YEARLY)
    async with connect(Shop().app) as bus:
        await bus.schedules.pause("s")
    changed = await declared(connect, lambda s: s.rule and s.rule.cron == "0 4 1 1 *", cron="0 4 1 1 *")
    assert changed.halted == "paused"


async def test_a_name_that_another_program_uses_is_refused(connect: Connect, shop: Shop) -> None:
    async with connect(shop.app) as bus:
        await bus.schedules.add("s", shop.note, cron="0 3 * * *")()
        with pytest.raises(ev.ScheduleExists, match="was added while a program ran"):
            await bus.schedules.add("s", shop.note, cron="0 4 * * *")()
    shop.app.schedule("s", shop.note, cron="0 3 * * *")
    async with connect(shop.app) as bus:
        with pytest.raises(ev.ScheduleExists, match="is declared by App 'shop'"):
            await bus.schedules.add("s", shop.note, cron="0 4 * * *")()
        with pytest.raises(ev.ScheduleExists, match="was added while a program ran"):
            async with bus.running():
                await for_ever()


# What operators do


async def test_slots_of_a_paused_schedule_are_recorded_and_it_goes_on_after_now(
    connect: Connect, shop: Shop, slots: Slots
) -> None:
    async with connect(shop.app) as bus:
        await hourly(bus, shop, slots, missed="all")
        assert (await bus.schedules.pause("s")).halted == "paused"
        due = await slots.pass_by("s", 2)
        async with bus.running():
            await eventually(decided(bus, 2))
        await slots.pass_by("s", 0)
        resumed = await bus.schedules.resume("s")
        assert resumed.halted is None and resumed.skipped == {"paused": 2} and resumed.next_s == due[1] + HOUR_S
        await bus.schedules.pause("s")
        await slots.pass_by("s", 1)  # no scheduler runs
        assert (await bus.schedules.resume("s")).skipped == {"paused": 3}
        [record] = await bus.schedules.history("s")
        assert record.count == 3, "slots that follow each other, skipped for one reason, are one record"
    assert shop.begun == []


async def test_an_operator_runs_a_schedule_now_looks_at_it_and_removes_it(
    connect: Connect, shop: Shop, slots: Slots
) -> None:
    async with connect(shop.app) as bus:
        await hourly(bus, shop, slots, overlap="skip")
        await bus.schedules.pause("s")
        async with bus.running():
            task_id = await bus.schedules.run_now("s")
            await eventually(lambda: shop.begun == [task_id])
        [record] = await bus.schedules.history("s")
        assert (record.outcome, record.task_id) == ("by_hand", task_id)
        assert (await bus.schedules.get("s")).runs == 0
        await bus.schedules.remove("s")
        assert await bus.schedules.list() == ()
        for ask in (bus.schedules.get, bus.schedules.pause, bus.schedules.resume, bus.schedules.run_now):
            with pytest.raises(ev.MissingSchedule, match="there is none of this name"):
                await ask("s")
        await hourly(bus, shop, slots)  # the name is free again
        assert await bus.schedules.history("s") == ()


async def test_a_schedule_that_is_added_while_schedulers_run_is_met(connect: Connect, shop: Shop) -> None:
    async with connect(shop.app) as bus, bus.running():
        await bus.schedules.add("s", shop.note, every_s=0.1)("later")
        await eventually(lambda: "later" in shop.texts)


async def test_many_schedules_that_are_due_at_once_all_run(connect: Connect, shop: Shop, slots: Slots) -> None:
    """More than one look tells of."""
    async with connect(shop.app) as bus:
        rule: dict[str, Any] = {"every_s": HOUR_S, "offset_s": await slots.offset_s()}
        await asyncio.gather(*(bus.schedules.add(f"s{n}", shop.note, **rule)() for n in range(250)))
        for number in range(250):
            await slots.pass_by(f"s{number}", 1)
        async with bus.running():
            await eventually(lambda: len(shop.begun) == 250)
    assert len(set(shop.begun)) == 250


async def test_a_slot_belongs_to_no_event_for_which_its_schedule_was_added(connect: Connect) -> None:
    shop, found = Shop(), list[ev.Delivery]()

    @shop.app.task()
    async def adds() -> None:
        await bus.schedules.add("s", told, every_s=0.1)()

    @shop.app.task()
    async def told() -> None:
        found.append(ev.current_task().delivery)

    async with connect(shop.app) as bus, bus.running():
        await bus.enqueue(adds)()
        await eventually(lambda: found)
        await bus.schedules.remove("s")
    assert found[0].correlation_id in (None, found[0].event_id)


# Bad input


WRONG_RULES: list[tuple[dict[str, Any], str]] = [
    ({"cron": "61 * * * *"}, "the minute '61' is wrong"),
    ({"cron": "0 0 30 2 *"}, "it is never due: month 2 has no day 30"),
    ({"cron": "* * * * *", "tz": "Europe/Nowhere"}, "is no time zone"),
    ({"cron": "* * * * *", "every_s": 1.0}, "give either cron= or every_s="),
    ({}, "give either cron= or every_s="),
    ({"every_s": 0.0}, "every_s=0.0"),
    ({"every_s": -1.0}, "every_s=-1.0"),
    ({"every_s": 1e12}, "every_s="),
    ({"every_s": 1.0, "offset_s": 1.0}, "offset_s=1.0"),
    ({"every_s": 1.0, "tz": "Europe/Berlin"}, "belongs to cron="),
    ({"cron": "* * * * *", "offset_s": 1.0}, "belongs to every_s="),
    ({"every_s": 1.0, "missed": "some"}, "it is one of skip, once, all"),
    ({"every_s": 1.0, "overlap": "wait"}, "it is one of allow, skip, queue"),
    ({"every_s": 1.0, "tolerance_s": -1.0}, "tolerance_s=-1.0"),
]


async def test_a_wrong_rule_is_refused_where_it_is_given(connect: Connect, shop: Shop) -> None:
    async with connect(shop.app) as bus:
        for rule, problem in WRONG_RULES:
            with pytest.raises(ev.InvalidDeclaration) as refused:
                shop.app.schedule("s", shop.note, **rule)
            assert problem in str(refused.value) and "schedule 's'" in str(refused.value)
            with pytest.raises(ev.InvalidArgument) as also_refused:
                bus.schedules.add("s", shop.note, **rule)
            assert problem in str(also_refused.value)


async def test_wrong_tasks_arguments_and_names_are_refused_where_they_are_given(connect: Connect, shop: Shop) -> None:
    async def undeclared() -> None: ...

    other: Any = Shop().note
    wrong: list[Any] = [undeclared, other, None]
    for task in wrong:
        with pytest.raises(ev.InvalidDeclaration, match="is not a task of this App"):
            shop.app.schedule("s", task, every_s=1.0)
    with pytest.raises(ev.InvalidDeclaration, match="text"):
        shop.app.schedule("s", shop.note, every_s=1.0, args=(5,))
    with pytest.raises(ev.InvalidDeclaration, match="too many"):
        shop.app.schedule("s", shop.note, every_s=1.0, args=("a", "b"))
    with pytest.raises(ev.InvalidDeclaration, match="args='a'; give a tuple"):  # not the letters of a text
        shop.app.schedule("s", shop.note, every_s=1.0, args="a")
    with pytest.raises(ev.InvalidDeclaration, match="not a valid name"):
        shop.app.schedule("a:b", shop.note, every_s=1.0)
    shop.app.schedule("s", shop.note, every_s=1.0)
    with pytest.raises(ev.InvalidDeclaration, match="already declared"):
        shop.app.schedule("s", shop.note, every_s=1.0)
    async with connect(shop.app) as bus:
        with pytest.raises(ev.InvalidArgument, match="is not a task of this App"):
            bus.schedules.add("t", other, every_s=1.0)
        with pytest.raises(ev.InvalidArgument, match="text"):
            await bus.schedules.add("t", shop.note, every_s=1.0)(5)
        assert await bus.schedules.list() == ()
