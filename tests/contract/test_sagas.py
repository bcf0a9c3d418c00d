"""A saga does its steps in order, and undoes them in reverse order where one fails for good."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.keys import Keys
from eventlib.broker.sagas import SagaStore
from eventlib.broker.scripts import RETRY, SAGA_APPLY, SAGA_BEGIN, Script
from eventlib.records import Entry
from eventlib.saga_policy import ENDED
from eventlib.testing import Inspector, fault_proxy
from eventlib.testing.waiting import eventually
from tests.saga_shop import AT_ONCE, Charged, Context, Desk, Order, Reserved, order_app
from tests.shop import Connect, OrderPlaced, OrderShipped, Record, for_ever

LEASE_S = 0.2
WAIT_S = 30.0


@pytest.fixture
def sagas(raw: redis.Redis, namespace: str) -> Inspector:
    """What the server knows about the messages of saga "order"."""
    return Inspector(raw, Keys(namespace).group("saga.order", "workers"))


@pytest.fixture
async def leave_no_key(raw: redis.Redis, namespace: str) -> AsyncIterator[None]:
    """All keys of sagas that have ended go by themselves; the lists of those, and notices, in a minute."""
    yield

    async def gone() -> bool:
        keys = {key async for key in raw.scan_iter(match=f"{namespace}:{{saga.order}}:saga*")}
        made = Keys(namespace)
        lasting = [made.saga_notices("saga.order"), *(made.sagas("saga.order", status) for status in ENDED)]
        for name in lasting:
            if (key := name.encode()) in keys:
                assert 0 < await raw.pttl(key) <= 60_000
                keys.remove(key)
        return not keys and not await raw.exists(Keys(namespace).group("saga.order", "workers").delayed)

    await eventually(gone)


async def run(connect: Connect, desk: Desk, **settings: Any) -> tuple[ev.SagaRecord, list[ev.SagaNote]]:
    """Run one saga to its end. Its record and its history."""
    app, order = order_app(desk, **settings)
    async with connect(app) as bus, bus.running():
        saga_id = await bus.start(order, Order(number=7))
        record = await bus.sagas(order).wait(saga_id, timeout_s=WAIT_S)
        return record, await bus.sagas(order).history(saga_id)


async def begin_and_die(sagas: Inspector, broker: Broker, saga_id: str) -> None:
    """A worker begins what waits to be done, and is killed."""
    [id_] = await sagas.read_and_die(1, retried=True)
    store = SagaStore(broker, "saga.order", "workers")
    fields = await store.load(saga_id)
    assert fields and await store.begin(
        saga_id, "dead", Entry(True, id_, id_, b""), "mark of the dead", int(fields["seq"])
    )


def statuses(record: ev.SagaRecord) -> list[str]:
    return [step.status for step in record.steps]


def told(history: list[ev.SagaNote]) -> list[str]:
    return [note.what for note in history]


# Forward and back


async def test_the_steps_run_in_order_and_see_what_earlier_ones_returned(connect: Connect) -> None:
    desk = Desk()
    record, history = await run(connect, desk)
    assert (record.status, desk.acts) == ("completed", ["reserve", "charge", "ship"])
    assert desk.seen["ship"] == {"reserve": Reserved(shelf="s7"), "charge": Charged(receipt=7)}
    assert record.results == {"reserve": {"shelf": "s7"}, "charge": {"receipt": 7}, "ship": None}
    assert record.input == {"number": 7}
    assert told(history) == ["started", "done", "done", "done", "completed"]


async def test_a_step_that_fails_for_good_has_the_steps_before_it_undone_in_reverse_order(connect: Connect) -> None:
    desk = Desk()
    desk.fails("ship", ConnectionError("no van"))
    record, history = await run(connect, desk)
    assert (record.status, record.why) == ("compensated", "step ship failed: ConnectionError: no van")
    assert desk.acts == ["reserve", "charge", *3 * ["ship"], "refund", "release"]
    assert desk.seen["refund"] == {"reserve": Reserved(shelf="s7"), "charge": Charged(receipt=7)}
    assert statuses(record) == ["undone", "undone", "failed"]
    assert told(history)[3:6] == ["attempt failed", "attempt failed", "failed"]


@pytest.mark.parametrize(("error", "undone"), [(ConnectionError("?"), ["refund"]), (ev.Reject("no money"), [])])
async def test_a_step_that_failed_is_undone_itself_unless_it_certainly_did_not_happen(
    connect: Connect, error: Exception, undone: list[str]
) -> None:
    desk = Desk()
    desk.fails("charge", error)
    record, _ = await run(connect, desk, steps={"charge": {"retry": ev.Retry(attempts=1)}})
    assert record.status == "compensated" and desk.acts == ["reserve", "charge", *undone, "release"]


async def test_a_failing_attempt_is_repeated_with_the_same_idempotency_key(connect: Connect) -> None:
    desk = Desk()
    desk.fails("charge", ConnectionError("?"), times=2)
    record, _ = await run(connect, desk)
    assert record.status == "completed" and desk.acts.count("charge") == 3
    assert len(desk.keys["charge"]) == 1 and desk.keys["charge"].isdisjoint(desk.keys["reserve"])


async def test_an_undo_is_repeated_until_it_is_done(connect: Connect) -> None:
    desk = Desk()
    desk.fails("ship", ev.Reject("no van"))
    desk.fails("refund", ConnectionError("?"), times=2)
    record, _ = await run(connect, desk)
    assert record.status == "compensated" and desk.acts[2:] == ["ship", *3 * ["refund"], "release"]


async def test_no_text_of_an_error_stops_a_saga(connect: Connect) -> None:
    desk = Desk()
    desk.fails("ship", OSError("no file 'a\udc80'" + 3_000 * "!"))
    desk.fails("refund", OSError("nor 'b\udc80'"), times=1)
    record, _ = await run(connect, desk)
    assert record.status == "compensated"
    assert record.why.startswith("step ship failed: OSError: no file 'a\\udc80'!!!") and len(record.why) <= 2_000
    assert record.error == "OSError: nor 'b\\udc80'"


async def test_nothing_to_undo_is_no_obstacle(connect: Connect) -> None:
    desk = Desk()
    desk.fails("ship", ev.Reject("no van"))
    record, _ = await run(connect, desk, steps={"charge": {"undo": ev.NOTHING_TO_UNDO}})
    assert record.status == "compensated" and desk.acts == ["reserve", "charge", "ship", "release"]


# Starting and ending


async def test_trap_38_two_starts_with_one_key_make_one_saga(connect: Connect) -> None:
    desk = Desk()
    app, order = order_app(desk)
    async with connect(app) as bus, bus.running():
        ids = await asyncio.gather(*(bus.start(order, Order(number=n), key="A1") for n in range(20)))
        assert set(ids) == {"A1"}
        await bus.sagas(order).wait("A1", timeout_s=WAIT_S)
        assert await bus.start(order, Order(number=99), key="A1") == "A1"
        assert [saga.id for saga in await bus.sagas(order).list()] == ["A1"]
        assert desk.acts == ["reserve", "charge", "ship"]


async def test_after_a_lost_reply_a_start_is_repeated_and_makes_one_saga(connect: Connect, url: str) -> None:
    app, order = order_app(Desk())
    async with fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus:
        await bus.start(order, Order(number=1))
        faulty.lose_reply_to(SAGA_APPLY.sha.encode())
        await bus.start(order, Order(number=2))
        assert faulty.lost == 1 and len(await bus.sagas(order).list()) == 2


@pytest.mark.usefixtures("leave_no_key")
async def test_what_has_ended_is_kept_for_its_time_and_leaves_no_key(connect: Connect) -> None:
    desk = Desk()
    app, order = order_app(desk, timeout_s=3600.0, keep_s=3.0)
    async with connect(app) as bus, bus.running():
        done = await bus.start(order, Order(number=1))
        await bus.sagas(order).wait(done, timeout_s=WAIT_S)
        desk.fails("ship", ev.Reject("no van"))
        undone = await bus.start(order, Order(number=2))
        await bus.sagas(order).wait(undone, timeout_s=WAIT_S)
        assert [saga.status for saga in await bus.sagas(order).list()] == ["completed", "compensated"]
        await eventually(lambda: gone(bus, order, undone))


async def test_a_saga_of_another_app_is_not_started(connect: Connect) -> None:
    _app, order = order_app(Desk())
    for other in (ev.App("shop"), order_app(Desk())[0]):
        async with connect(other) as bus:
            with pytest.raises(ev.InvalidArgument, match="declares no saga 'order' version 1, or another one"):
                await bus.start(order, Order(number=1))
            assert await bus.sagas("order").list() == []


async def test_a_start_that_is_repeated_when_the_saga_is_forgotten_starts_none(connect: Connect) -> None:
    desk = Desk()
    app, order = order_app(desk, keep_s=0.001)
    async with connect(app) as bus, bus.running():
        for _ in range(2):
            assert await bus.start(order, Order(number=1), key="A1") == "A1"
            await eventually(lambda: gone(bus, order, "A1"))
        assert await bus.start(order, Order(number=1), key="A2") == "A2"
        await eventually(lambda: gone(bus, order, "A2"))
        assert desk.acts == ["reserve", "charge", "ship"] * 2


async def gone(bus: ev.Bus, order: Any, saga_id: str) -> bool:
    try:
        await bus.sagas(order).get(saga_id)
    except ev.MissingSaga:
        return True
    return False


# One act


async def test_trap_39_a_step_emits_events_once_and_only_if_it_succeeds(
    connect: Connect, raw: redis.Redis, namespace: str
) -> None:
    desk = Desk()

    def emit(saga: Context) -> None:
        saga.emit(OrderPlaced(number=saga.attempt))
        if saga.attempt < 3:
            raise ConnectionError("?")

    desk.hooks["charge"] = emit
    app, order = order_app(desk)
    async with connect(app) as bus, bus.running():
        saga_id = await bus.start(order, Order(number=7))
        await bus.sagas(order).wait(saga_id, timeout_s=WAIT_S)
        orders = Inspector(raw, Keys(namespace).group("orders", "billing"))
        events = await eventually(lambda: two_of(orders))
        assert [b'"number":3' in events[0][b"event"], b'"number":7' in events[1][b"event"]] == [True, True]
        assert all(f'"correlationid":"{saga_id}"'.encode() in each[b"event"] for each in events)
        await bus.drained("saga.order", "workers")
        assert len(await orders.events()) == 2


async def two_of(orders: Inspector) -> list[dict[bytes, bytes]]:
    events = sorted(await orders.events(), key=lambda fields: b"order.shipped" in fields[b"event"])
    return events if len(events) == 2 else []


@pytest.mark.parametrize(
    ("script", "fails"),
    [(SAGA_BEGIN, False), (SAGA_APPLY, False), (SAGA_APPLY, True), (RETRY, True)],
    ids=["begin", "done", "failed", "retry"],
)
async def test_trap_39_after_a_lost_reply_no_act_is_doubled_and_none_is_left_out(
    connect: Connect, url: str, script: Script, fails: bool
) -> None:
    desk, record = Desk(), Record()
    app, order = order_app(desk)
    async with fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus, bus.running(observe=record):
        sagas = bus.sagas(order)
        await sagas.wait(await bus.start(order, Order(number=1)), timeout_s=WAIT_S)
        desk.acts.clear()

        def lose_once(saga: Context) -> None:
            if saga.attempt == 1:
                faulty.lose_reply_to(script.sha.encode())
                if fails:
                    raise ConnectionError("?")

        desk.hooks["charge"] = lose_once
        saga_id = await bus.start(order, Order(number=2))
        assert (await sagas.wait(saga_id, timeout_s=WAIT_S)).status == "completed"
        assert faulty.lost == 1 and record.count("lost") == 0
        assert desk.acts == ["reserve", "charge", *(["charge"] if fails else []), "ship"]
        failures = ["attempt failed"] if fails else []
        assert told(await sagas.history(saga_id)) == ["started", "done", *failures, "done", "done", "completed"]


# The outcome that is not known


@pytest.mark.parametrize(
    ("unknown", "acts", "status"),
    [
        ("retry", ["reserve", "charge", "ship"], "completed"),
        ("undo", ["reserve", "refund", "release"], "compensated"),
        ("park", ["reserve"], "parked"),
    ],
)
async def test_trap_40_the_outcome_of_a_worker_that_ended_is_unknown_and_its_undo_is_known(
    connect: Connect, sagas: Inspector, broker: Broker, unknown: str, acts: list[str], status: str
) -> None:
    """The undo is registered before the step begins, whose worker is then killed."""
    desk = Desk()
    app, order = order_app(desk, steps={"charge": {"unknown": unknown}}, lease_s=LEASE_S)
    async with connect(app) as bus:
        desk.hooks["reserve"] = lambda _: asyncio.sleep(0)
        saga_id = await bus.start(order, Order(number=7))
        await advance_one(bus, desk, order, saga_id)
        assert (await bus.sagas(order).get(saga_id)).steps[1].status == "registered"
        await begin_and_die(sagas, broker, saga_id)
        assert (await bus.sagas(order).get(saga_id)).running
        async with bus.running():
            record = await bus.sagas(order).wait(saga_id, timeout_s=WAIT_S)
        assert (record.status, desk.acts) == (status, acts)
        assert "unknown" in [*told(await bus.sagas(order).history(saga_id)), record.steps[1].status]


async def advance_one(bus: ev.Bus, desk: Desk, order: Any, saga_id: str) -> None:
    """Run the first step alone: the worker stops while it is under way, and lets it end."""
    under_way, goes_on = asyncio.Event(), asyncio.Event()

    async def wait(_: Context) -> None:
        under_way.set()
        await goes_on.wait()

    desk.hooks["reserve"] = wait
    async with bus.running():
        await under_way.wait()
        asyncio.get_running_loop().call_later(0.0, goes_on.set)  # when the worker has been told to stop
    assert (await bus.sagas(order).get(saga_id)).steps[0].status == "done"


async def test_a_step_that_takes_too_long_has_an_unknown_outcome(connect: Connect) -> None:
    desk = Desk()
    desk.hooks["charge"] = lambda _: for_ever()
    record, history = await run(connect, desk, steps={"charge": {"unknown": "undo", "timeout_s": 0.02}})
    assert record.status == "compensated" and desk.acts == ["reserve", "charge", "refund", "release"]
    assert "unknown" in told(history) and "longer than 0.02 s" in record.error


async def test_a_step_without_undo_whose_outcome_is_not_known_parks_its_saga(connect: Connect) -> None:
    desk = Desk()
    desk.hooks["ship"] = lambda _: for_ever()
    record, _ = await run(connect, desk, steps={"ship": {"timeout_s": 0.02, "retry": ev.Retry(attempts=1)}})
    assert record.status == "parked" and "step ship may be done and has no undo" in record.why


# Cancel and time-out


async def test_trap_37_cancelling_a_saga_while_a_step_runs_compensates_that_step_too(connect: Connect) -> None:
    desk = Desk()
    app, order = order_app(desk)
    goes_on = asyncio.Event()

    async def wait(_: Context) -> None:
        await goes_on.wait()

    desk.hooks["charge"] = wait
    async with connect(app) as bus, bus.running():
        saga_id = await bus.start(order, Order(number=7))
        await eventually(lambda: "charge" in desk.acts)
        assert (await bus.sagas(order).cancel(saga_id, why="customer called")).status == "cancelling"
        assert (await bus.sagas(order).cancel(saga_id)).status == "cancelling"
        goes_on.set()
        record = await bus.sagas(order).wait(saga_id, timeout_s=WAIT_S)
        assert (record.status, record.why) == ("compensated", "customer called")
        assert desk.acts == ["reserve", "charge", "refund", "release"]
        assert (await bus.sagas(order).cancel(saga_id)).status == "compensated"  # it has ended: nothing to do


async def test_trap_37_a_saga_between_its_attempts_is_cancelled_at_once(connect: Connect) -> None:
    desk = Desk()
    desk.fails("charge", ConnectionError("?"))
    app, order = order_app(desk, steps={"charge": {"retry": ev.Retry(wait_s=3600.0, wait_s_max=3600.0, jitter="none")}})
    async with connect(app) as bus, bus.running():
        saga_id = await bus.start(order, Order(number=7))
        await eventually(lambda: told_of(bus, order, saga_id, "attempt failed"))
        await bus.sagas(order).cancel(saga_id)
        record = await bus.sagas(order).wait(saga_id, timeout_s=WAIT_S)
        assert record.status == "compensated" and desk.acts == ["reserve", "charge", "refund", "release"]


async def told_of(bus: ev.Bus, order: Any, saga_id: str, what: str) -> bool:
    return what in told(await bus.sagas(order).history(saga_id))


async def test_trap_37_a_cancel_before_anything_ran_undoes_nothing(connect: Connect) -> None:
    desk = Desk()
    app, order = order_app(desk)
    async with connect(app) as bus:
        saga_id = await bus.start(order, Order(number=7))
        assert (await bus.sagas(order).cancel(saga_id)).status == "compensated"
        async with bus.running():
            await eventually(lambda: nothing_left(bus))
    assert desk.acts == []


async def nothing_left(bus: ev.Bus) -> bool:
    return (await bus.backlog("saga.order", "workers")).total == 0


async def test_trap_37_a_saga_that_takes_too_long_compensates(
    connect: Connect, sagas: Inspector, caplog: pytest.LogCaptureFixture
) -> None:
    """Its time ends at its last step. A machine that stood still would not get there in a short time."""
    desk = Desk()
    desk.fails("ship", ev.Snooze(0.01))
    app, order = order_app(desk, timeout_s=3600.0)
    async with connect(app) as bus, bus.running():
        saga_id = await bus.start(order, Order(number=7))
        await eventually(lambda: "ship" in desk.acts)
        assert max(await sagas.due_s()) - await sagas.now_s() == pytest.approx(3600.0, abs=60.0)
        waiting: Any = await sagas.raw.zrange(sagas.keys.delayed, 0, -1)
        await sagas.raw.zadd(sagas.keys.delayed, dict.fromkeys(waiting, 0.0), xx=True)
        record = await bus.sagas(order).wait(saga_id, timeout_s=WAIT_S)
    assert record.status == "compensated" and record.why == "it took longer than 3600 s"
    assert desk.acts[:2] == ["reserve", "charge"] and desk.acts[-2:] == ["refund", "release"]
    assert "waits for the server" not in caplog.text  # to bring the message about it is no error


# Parked


async def test_an_undo_that_fails_for_ever_parks_its_saga_and_is_retried_by_an_operator(connect: Connect) -> None:
    desk = Desk()
    desk.fails("ship", ev.Reject("no van"))
    desk.fails("refund", ConnectionError("?"))
    app, order = order_app(desk)
    async with connect(app) as bus, bus.running():
        saga_id = await bus.start(order, Order(number=7))
        sagas = bus.sagas(order)
        record = await sagas.wait(saga_id, timeout_s=WAIT_S)
        assert (record.status, record.step, record.act) == ("parked", "charge", "undo")
        assert record.why == "the undo of step charge failed: ConnectionError: ?"
        assert [saga.id for saga in await sagas.list(status="parked")] == [saga_id]
        assert (await sagas.cancel(saga_id)).status == "parked"
        del desk.hooks["refund"]
        await sagas.retry(saga_id)
        assert (await sagas.wait(saga_id, timeout_s=WAIT_S)).status == "compensated"
        assert desk.acts[-2:] == ["refund", "release"]
        assert await bus.dead_letters("saga.order", "workers").find() == []


async def test_a_step_without_undo_that_must_be_undone_parks_its_saga(connect: Connect) -> None:
    desk = Desk()
    desk.fails("ship", ev.Reject("no van"))
    app, order = order_app(desk, steps={"charge": {"undo": None}})
    async with connect(app) as bus, bus.running():
        sagas = bus.sagas(order)
        saga_id = await bus.start(order, Order(number=7))
        record = await sagas.wait(saga_id, timeout_s=WAIT_S)
        assert record.status == "parked" and record.why.startswith("step charge is done and has no undo")
        with pytest.raises(ev.InvalidArgument, match="no undo"):
            await sagas.retry(saga_id)
        await sagas.resolve(saga_id, as_="undone")
        assert (await sagas.wait(saga_id, timeout_s=WAIT_S)).status == "compensated"
        assert desk.acts == ["reserve", "charge", "ship", "release"]


@pytest.mark.parametrize(
    ("as_", "status", "acts"),
    [
        ("completed", "completed", []),
        ("compensated", "compensated", []),
        ("done", "completed", ["ship"]),
        ("undone", "compensated", ["release"]),
    ],
)
async def test_a_parked_saga_is_resolved(connect: Connect, as_: Any, status: str, acts: list[str]) -> None:
    desk = Desk()
    desk.hooks["charge"] = lambda _: for_ever()
    app, order = order_app(desk, steps={"charge": {"unknown": "park", "timeout_s": 0.02}})
    async with connect(app) as bus, bus.running():
        sagas = bus.sagas(order)
        saga_id = await bus.start(order, Order(number=7))
        assert (await sagas.wait(saga_id, timeout_s=WAIT_S)).status == "parked"
        await sagas.resolve(saga_id, as_=as_)
        assert (await sagas.wait(saga_id, timeout_s=WAIT_S)).status == status
        assert desk.acts == ["reserve", "charge", *acts]
        with pytest.raises(ev.InvalidArgument, match=f"it is {status}"):
            await sagas.resolve(saga_id, as_=as_)


# Versions


async def test_a_saga_keeps_its_version_and_waits_for_a_worker_that_has_it(
    connect: Connect, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventlib.sagas.runner.LEFT_FOR_S", 0.05)
    old, new = Desk(), Desk()
    app, order = order_app(old)
    newer_app, _ = order_app(new, version=2)
    async with connect(app) as bus, connect(newer_app) as newer:
        saga_id = await bus.start(order, Order(number=7))
        with caplog.at_level(logging.WARNING):
            async with newer.running():
                await eventually(lambda: waits_for(bus, order, saga_id, "a worker with version 1"))
                async with bus.running():
                    record = await bus.sagas(order).wait(saga_id, timeout_s=WAIT_S)
        assert (record.status, record.waits_for) == ("completed", "")
        assert (old.acts, new.acts) == (["reserve", "charge", "ship"], [])
        assert sum("version 1" in message for message in caplog.messages) == 1


async def waits_for(bus: ev.Bus, order: Any, saga_id: str, what: str) -> bool:
    return (await bus.sagas(order).get(saga_id)).waits_for == what


# Bad input


async def test_a_result_that_cannot_be_kept_fails_its_step(connect: Connect) -> None:
    app = ev.App("shop")
    undone = list[str]()

    async def upload(saga: Context) -> str:
        return "x" * (1_048_577 if saga.input.number else 10)

    async def remove(saga: Context) -> None:
        undone.append("upload")

    order = app.saga("order", ev.Step(upload, undo=remove), input=Order)
    async with connect(app) as bus, bus.running():
        record = await bus.sagas(order).wait(await bus.start(order, Order(number=1)), timeout_s=WAIT_S)
        assert record.status == "compensated" and undone == ["upload"]
        assert "at most 1,048,576 are kept" in record.why and "store the content elsewhere" in record.why


async def test_what_cannot_be_started_or_found_is_refused(connect: Connect) -> None:
    app, order = order_app(Desk())
    async with connect(app) as bus:
        with pytest.raises(ev.InvalidArgument, match="starts with a Order, not with"):
            await bus.start(order, OrderShipped(number=1))
        with pytest.raises(ev.InvalidArgument, match="give what"):
            bus.sagas(Desk())  # type: ignore[call-overload]
        with pytest.raises(ev.InvalidArgument, match="printable ASCII"):
            await bus.start(order, Order(number=1), key="a b")
        with pytest.raises(ev.InvalidArgument, match="'order' is not a saga"):
            await bus.start("order", Order(number=1))  # type: ignore[arg-type]
        with pytest.raises(ev.InvalidArgument, match="nothing to run for"):
            async with bus.running(sagas=["ordre"]):
                pass
        sagas: ev.Sagas[Any] = bus.sagas("order")
        for call in (
            sagas.get("x"),
            sagas.history("x"),
            sagas.cancel("x"),
            sagas.retry("x"),
            sagas.wait("x", timeout_s=1),
        ):
            with pytest.raises(ev.MissingSaga, match="no saga x"):
                await call
        saga_id = await bus.start(order, Order(number=1))
        with pytest.raises(ev.InvalidArgument, match="timeout_s=nan"):
            await sagas.wait(saga_id, timeout_s=float("nan"))
        for refused in (sagas.retry(saga_id), sagas.resolve(saga_id, as_="done")):
            with pytest.raises(ev.InvalidArgument, match="it is running; only a parked saga"):
                await refused
        with pytest.raises(ev.InvalidArgument, match="is one of"):
            await sagas.resolve(saga_id, as_="gone")  # type: ignore[arg-type]
        with pytest.raises(ev.InvalidArgument, match="is one of"):
            await sagas.list(status="gone")  # type: ignore[arg-type]
        with pytest.raises(ev.WaitTimeout, match=f"saga {saga_id} of 'order' is still running after 0.01 s"):
            await sagas.wait(saga_id, timeout_s=0.01)
    with pytest.raises(ev.BusClosed):
        await bus.start(order, Order(number=1))


async def test_one_saga_alone_is_run(connect: Connect) -> None:
    desk = Desk()
    app, order = order_app(desk)

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None: ...

    async with connect(app) as bus:
        async with bus.running(sagas=["order"]):
            assert [health.stream for health in bus.health()] == ["saga.order"]
            await bus.sagas(order).wait(await bus.start(order, Order(number=1)), timeout_s=WAIT_S)
        async with bus.running(groups=["billing"]):
            assert [health.stream for health in bus.health()] == ["orders"]
        async with bus.running():
            assert len(bus.health()) == 2
