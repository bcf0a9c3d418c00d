"""An event that ends its consumers takes no bystander with it, though consumers that end hold other events too."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.policy import Lease
from eventlib.testing import Inspector, eventually
from tests.shop import Connect, OrderPlaced, Record, orders

pytestmark = pytest.mark.one_server  # what is tested is the client's own side

LEASE_S = 0.4
POISON = 13


def new_app(log: Path, attempts: int, batch: int, ordered_by: str | None) -> ev.App:
    """A group whose handler kills its own process at one number, and notes what it handled."""
    app = ev.App("shop")
    app.group("billing", lease_s=LEASE_S, concurrency=50, ordered_by=ordered_by)
    retry = ev.Retry(attempts=attempts, wait_s=0.0, jitter="none")

    async def handle(numbers: list[int]) -> None:
        await asyncio.sleep(0.02)  # all that came together have begun
        if POISON in numbers:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(0.02)
        with log.open("a", encoding="utf-8") as lines:
            lines.writelines(f"{number}\n" for number in numbers)

    if batch:

        @app.subscribe_batch(OrderPlaced, group="billing", size=batch, retry=retry)
        async def bill_many(events: ev.Batch[OrderPlaced]) -> None:
            await handle([event.number for event in events.events])

    else:

        @app.subscribe(OrderPlaced, group="billing", retry=retry)
        async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
            await handle([event.number])

    return app


async def consume(url: str, namespace: str, log: str, attempts: int, batch: int, ordered_by: str | None) -> None:
    app = new_app(Path(log), attempts, batch, ordered_by)
    async with ev.connect(app, url, namespace=namespace) as bus, bus.running():
        await asyncio.Event().wait()


def supervise(run: Callable[..., Coroutine[Any, Any, None]], *settings: Any) -> None:
    """Run a consumer, and start it again whenever it has ended. A fork needs no time to import."""
    while True:
        if not (child := os.fork()):
            asyncio.run(run(*settings))
        os.waitpid(child, 0)


@contextmanager
def supervised(module: str, run: str, *settings: object) -> Iterator[None]:
    program = f"import json; from {module} import {run}; from {__name__} import supervise; "
    program += f"supervise({run}, *json.loads({json.dumps(settings)!r}))"
    supervisor = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    try:
        yield
    finally:
        os.killpg(supervisor.pid, signal.SIGKILL)
        supervisor.wait()


@pytest.mark.parametrize(("attempts", "batch", "ordered_by"), [(2, 0, None), (3, 10, None), (3, 0, "number")])
async def test_a_poison_event_takes_no_bystander_with_it(
    connect: Connect, url: str, namespace: str, tmp_path: Path, attempts: int, batch: int, ordered_by: str | None
) -> None:
    log = tmp_path / "handled"
    log.touch()
    async with connect(ev.App("shop")) as bus:
        await bus.publish_many(orders(*range(1, 21)))
        with supervised(__name__, "consume", url, namespace, str(log), attempts, batch, ordered_by):
            await eventually(lambda: all_settled(bus), 60.0)
        dead = await bus.dead_letters("orders", "billing").find()
    assert {int(line) for line in log.read_text(encoding="utf-8").split()} == set(range(1, 21)) - {POISON}
    assert [(json.loads(letter.event or b"")["data"]["number"], letter.reason) for letter in dead] == [
        (POISON, "poison")
    ]


async def all_settled(bus: ev.Bus) -> bool:
    return (await bus.backlog("orders", "billing")).total == 0


async def suspects(inspector: Inspector, connect: Connect, count: int) -> list[str]:
    """Entries that were delivered twice to consumers that ended."""
    async with connect(ev.App("shop")) as bus:
        await bus.publish_many(orders(*range(count)))
    ids = await inspector.read_and_die(count)
    for id_ in ids:
        await inspector.take_over(id_, "dead", idle_ms=60_000, deliveries=2)
    return ids


async def test_a_sweep_takes_one_suspect_and_leaves_the_others_uncounted(
    connect: Connect, inspector: Inspector, broker: Broker
) -> None:
    first, *rest = await suspects(inspector, connect, 4)
    commands = ConsumerCommands(broker, inspector.keys, "c1")
    more, taken, left = await commands.sweep(1.0, 10, 60.0, attempts=9)
    assert ([entry.id for entry in taken], more, left) == ([first], False, 3)
    assert (await commands.sweep(1.0, 10, 60.0, attempts=9, may_take_suspect=False)).entries == []
    rows = {row.id: (row.consumer, row.deliveries) for row in await inspector.pending()}
    assert rows == {first: ("c1", 3)} | dict.fromkeys(rest, ("(suspects)", 2))
    _, [second], _ = await ConsumerCommands(broker, inspector.keys, "c2").sweep(1.0, 10, 60.0, attempts=9)
    assert (second.id, second.deliveries) == (rest[0], 3), "another consumer takes the next one, at once"


async def test_suspects_are_taken_over_after_all_others(connect: Connect, inspector: Inspector, broker: Broker) -> None:
    """What ended its consumers may be among the others. They are found behind more suspects than one sweep looks at."""
    await suspects(inspector, connect, 30)
    async with connect(ev.App("shop")) as bus:
        await bus.publish_many(orders(100, 101))
    others = await inspector.read_and_die(2)
    for id_ in others:
        await inspector.take_over(id_, "dead", idle_ms=60_000, deliveries=1)
    commands = ConsumerCommands(broker, inspector.keys, "c1")
    for may_take_suspect in (True, False):
        found = [await commands.sweep(1.0, 10, 60.0, attempts=9, may_take_suspect=may_take_suspect) for _ in range(5)]
        taken = [entry.id for each in found for entry in each.entries]
        if may_take_suspect:
            assert taken[:2] == others and len(taken) > 2
        else:
            assert taken == []
        assert found[-1].suspects_left >= 27


@pytest.mark.parametrize("others_first", [True, False])
async def test_a_suspect_is_handled_beside_nothing_else_that_was_taken_over(
    connect: Connect, inspector: Inspector, others_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, running, beside = ev.App("shop"), set[int](), dict[int, set[int]]()
    app.group("billing", lease_s=0.3)
    record, chances, free_stuck = Record(), 0, ConsumerCommands.free_stuck

    async def count(commands: ConsumerCommands) -> int:
        """Count the chances to sweep: this call comes before each of them."""
        nonlocal chances
        chances += 1
        return await free_stuck(commands)

    monkeypatch.setattr(ConsumerCommands, "free_stuck", count)

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        running.add(event.number)
        begun_at = chances
        await eventually(lambda: chances >= begun_at + 3)  # over a lease: those of the others have ended
        beside[event.number] = set(running)
        await asyncio.sleep(0)  # all that ended together have looked
        running.remove(event.number)

    await suspects(inspector, connect, 3)
    async with connect(app) as bus:
        await bus.publish_many(orders(100, 101))
        for id_ in await inspector.read_and_die(2):
            await inspector.take_over(id_, "dead", idle_ms=60_000 if others_first else 0, deliveries=1)
        async with bus.running(observe=record):
            await eventually(lambda: record.count("acked") == 5)
    assert [beside[suspect] for suspect in range(3)] == [{0}, {1}, {2}]
    assert beside[100] | beside[101] == {100, 101}


async def test_suspects_follow_one_another_at_once(
    connect: Connect, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first one, no sweep would come for an hour."""
    app, running, most, handled = ev.App("shop"), 0, 0, list[int]()
    app.group("billing", lease_s=30.0)
    record = Record()
    monkeypatch.setattr(Lease, "sweep_wait_s", lambda *_: 3600.0 if most else 0.05)

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        handled.append(event.number)

    await suspects(inspector, connect, 10)
    async with connect(app) as bus, bus.running(observe=record):
        await eventually(lambda: record.count("acked") == 10)
    assert (sorted(handled), most) == (list(range(10)), 1)
