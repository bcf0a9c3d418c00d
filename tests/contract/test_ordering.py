"""In an ordered group the events of one key are handled one at a time, in order; those of other keys in parallel."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker import scripts
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.broker.keys import GroupKeys
from eventlib.broker.publishing import PublishCommands
from eventlib.broker.reading import OrderedReader
from eventlib.broker.streams import StreamCommands
from eventlib.policy import Lease
from eventlib.records import Entry, NumberedBatch
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.order import Note, faults
from tests.reading import read, read_as
from tests.shop import AT_ONCE, Connect, Record, nothing_left

LEASE_S = 0.3
QUICK = ev.Retry(attempts=3, wait_s=0.004, wait_s_max=0.01)


class StepTaken(ev.Event, type="step.taken", version=1, stream="orders"):
    order_id: str
    step: int


class BillingGroup:
    """An ordered group that records what its handlers do, and waits or fails where the test says so."""

    def __init__(self, *, retry: ev.Retry = AT_ONCE, **group: object) -> None:
        self.app = ev.App("shop")
        self.app.group("billing", **{"ordered_by": "order_id", **group})  # type: ignore[arg-type]
        self.notes: list[Note] = []
        self.attempts: list[tuple[str, int, int]] = []  # key, step, attempt
        self.gates: dict[tuple[str, int], asyncio.Event] = {}
        self.failure_draws: Callable[[str, int, int], Exception | None] = lambda *_: None
        self.work_s: Callable[[], float] = lambda: 0.0

        @self.app.subscribe(StepTaken, group="billing", retry=retry)
        async def bill(event: StepTaken, delivery: ev.Delivery) -> None:
            await self._handle(event.order_id, event.step, delivery)

    async def _handle(self, key: str, step: int, delivery: ev.Delivery) -> None:
        self.notes.append(Note("began", delivery.consumer, key, step))
        self.attempts.append((key, step, delivery.attempt))
        what: str = "failed"
        try:
            if gate := self.gates.get((key, step)):
                await gate.wait()
            await asyncio.sleep(self.work_s())
            error = self.failure_draws(key, step, delivery.attempt)
            if error is None or isinstance(error, ev.Reject):
                what = "done"
            if error:
                raise error
        finally:
            last = what == "done" or delivery.attempt == QUICK.attempts
            self.notes.append(Note("done" if last else "failed", delivery.consumer, key, step))

    def gate(self, key: str, step: int) -> asyncio.Event:
        """Make the handler of this step wait for the returned event."""
        return self.gates.setdefault((key, step), asyncio.Event())

    def began(self) -> list[tuple[str, int]]:
        return [(note.key, note.step) for note in self.notes if note.what == "began"]

    def done(self) -> list[tuple[str, int]]:
        return [(note.key, note.step) for note in self.notes if note.what == "done"]


def steps(key: str, *numbers: int) -> list[StepTaken]:
    return [StepTaken(order_id=key, step=number) for number in numbers]


@asynccontextmanager
async def consumers(bus: ev.Bus, *names: str) -> AsyncIterator[None]:
    async with AsyncExitStack() as running:
        for name in names:
            await running.enter_async_context(bus.running(consumer=name))
        yield


async def no_key_queue_left(inspector: Inspector) -> bool:
    return await inspector.raw.exists(inspector.keys.key_queue_heads, inspector.keys.key_queues) == 0


async def is_parked(bus: ev.Bus, count: int) -> bool:
    return (await bus.backlog("orders", "billing")).parked == count


async def read_and_die(broker: Broker, inspector: Inspector, count: int = 100) -> list[Entry]:
    """Take entries in order as a consumer named "dead", which does nothing more."""
    await ConsumerCommands(broker, inspector.keys, "c1").ensure_group()
    return await read_as(broker, inspector.keys, "dead", count, ordered_by="order_id")


# Order


def failure_draws(key: str, step: int, attempt: int) -> Exception | None:
    """The error of this attempt, if it fails. It is always the same for the same arguments."""
    draw = random.Random(f"{key} {step} {attempt}").random()
    return ev.Reject("no") if draw < 0.03 else ValueError("no") if draw < 0.25 else None


def alone(key: str, count: int) -> list[tuple[str, int, int, Exception | None]]:
    """The model: the attempts that a single consumer makes for the key, in order."""
    seen = []
    for step in range(count):
        for attempt in range(1, QUICK.attempts + 1):
            seen.append((key, step, attempt, failure_draws(key, step, attempt)))
            if not isinstance(seen[-1][3], ValueError):
                break
    return seen


@pytest.mark.parametrize("seed", range(4))
async def test_each_key_gets_the_same_attempts_as_from_a_single_consumer(
    connect: Connect, inspector: Inspector, seed: int
) -> None:
    """Of three consumers two stop and start, with random times and failures. `alone` gives the expected attempts."""
    rng = random.Random(seed)
    counts = {f"{seed}-{n}": rng.randint(5, 20) for n in range(rng.randint(3, 25))}
    turns = [key for key, count in counts.items() for _ in range(count)]
    rng.shuffle(turns)
    billing = BillingGroup(retry=QUICK, concurrency=rng.choice([1, 3, 16]), prefetch=rng.choice([0, 4]))
    billing.failure_draws, billing.work_s = failure_draws, lambda: rng.random() * 0.003
    async with connect(billing.app) as bus, consumers(bus, "a"):
        published: Counter[str] = Counter()
        for number, key in enumerate(turns):
            await bus.publish(StepTaken(order_id=key, step=published[key]))
            published[key] += 1
            if number == len(turns) // 3:
                async with consumers(bus, "b", "c"):
                    await eventually(lambda: len(billing.done()) > len(turns) // 6)
        async with consumers(bus, "b", "c"):
            await eventually(lambda: nothing_left(bus))
        dead_letters = await bus.dead_letters("orders", "billing").find(count=1000)
    model = {key: alone(key, count) for key, count in counts.items()}
    for key, wanted in model.items():
        assert [seen for seen in billing.attempts if seen[0] == key] == [seen[:3] for seen in wanted]
    ends = [(attempt, error) for seen in model.values() for *_, attempt, error in seen if error]
    assert len(dead_letters) == sum(
        isinstance(error, ev.Reject) or attempt == QUICK.attempts for attempt, error in ends
    )
    assert faults(billing.notes) == []
    assert await no_key_queue_left(inspector)


async def test_without_ordered_by_there_is_no_order(connect: Connect) -> None:
    """This proves that the tests of this file can fail."""
    billing = BillingGroup(ordered_by=None)
    gate = billing.gate("A", 0)
    async with connect(billing.app) as bus, consumers(bus, "a"):
        await bus.publish_many(steps("A", 0, 1))
        await eventually(lambda: ("A", 1) in billing.done())
        gate.set()
        await eventually(lambda: nothing_left(bus))
    assert len(faults(billing.notes)) == 1


async def test_a_thousand_keys_keep_their_order(connect: Connect, inspector: Inspector) -> None:
    billing = BillingGroup(concurrency=100, prefetch=100)
    async with connect(billing.app) as bus:
        for step in range(4):
            await bus.publish_many([StepTaken(order_id=f"{n}", step=step) for n in range(1000)])
        async with consumers(bus, "a", "b", "c"):
            await eventually(lambda: len(billing.done()) >= 4_000)
        assert await bus.backlog("orders", "billing") == ev.Backlog(0, 0, 0, 0, 0)
    assert faults(billing.notes) == []
    assert len(set(billing.done())) == len(billing.done()) == 4_000
    assert {note.who for note in billing.notes} == {"a", "b", "c"}
    assert await no_key_queue_left(inspector)


# Parallelism


async def test_events_of_different_keys_run_in_parallel(connect: Connect) -> None:
    """Twenty keys in two consumers: all begin before any ends."""
    billing = BillingGroup(concurrency=10)
    names = [f"order-{n}" for n in range(20)]
    async with connect(billing.app) as bus, consumers(bus, "a", "b"):
        for key in names:
            billing.gate(key, 0)
        await bus.publish_many([event for step in range(3) for key in names for event in steps(key, step)])
        await eventually(lambda: len(billing.began()) == 20)
        assert set(billing.began()) == {(key, 0) for key in names} and billing.done() == []
        for gate in billing.gates.values():
            gate.set()
        await eventually(lambda: len(billing.done()) == 60)
    assert faults(billing.notes) == []


async def test_a_key_with_many_entries_does_not_block_other_keys(connect: Connect) -> None:
    """The entries of other keys are found behind more entries of the hot key than one read looks at."""
    billing = BillingGroup(concurrency=2)
    gate = billing.gate("hot", 0)
    async with connect(billing.app) as bus:
        await bus.publish_many([*steps("hot", *range(700)), *steps("A", 0), *steps("hot", *range(700, 900))])
        await bus.publish_many(steps("B", 0))
        async with consumers(bus, "a"):
            await eventually(lambda: billing.done() == [("A", 0), ("B", 0)])
            await eventually(lambda: seen(bus, ev.Backlog(0, 1, 0, 0, 0, parked=899)))
            gate.set()
            await eventually(lambda: nothing_left(bus), 80.0)  # 900, one after the other
    assert faults(billing.notes) == []
    assert len(billing.done()) == 902


async def test_a_consumer_with_one_handler_does_not_only_take_parked_entries(
    connect: Connect, broker: Broker, inspector: Inspector
) -> None:
    billing = BillingGroup(concurrency=1)
    async with connect(billing.app) as bus:
        await bus.publish_many(steps("hot", *range(300)))
        await read_and_die(broker, inspector)
        await read_and_die(broker, inspector)
        await ConsumerCommands(broker, inspector.keys, "dead").leave()
        assert await is_parked(bus, 299)
        await bus.publish_many(steps("A", 0))
        async with consumers(bus, "a"):
            await eventually(lambda: nothing_left(bus))
    assert billing.done().index(("A", 0)) < 20
    assert faults(billing.notes) == []


async def test_an_idle_consumer_waits_in_a_blocking_read(connect: Connect, raw: redis.Redis) -> None:
    billing = BillingGroup()

    async def waits() -> bool:
        return any(row["cmd"] == "xread" and "b" in row["flags"] for row in await raw.client_list())

    async with connect(billing.app) as bus, consumers(bus, "a"):
        await eventually(waits)
        await bus.publish_many(steps("A", 0))
        await eventually(billing.done)
        await eventually(waits)


# Failures: the next event of a key waits until the retries of the one before it are over


async def test_a_failing_event_blocks_its_own_key_only(connect: Connect) -> None:
    billing = BillingGroup()
    billing.failure_draws = lambda key, step, attempt: ev.RetryAfter(3600.0) if (key, step) == ("A", 0) else None
    async with connect(billing.app) as bus, consumers(bus, "a", "b"):
        await bus.publish_many([*steps("A", 0, 1, 2), *steps("B", 0, 1, 2)])
        await eventually(lambda: billing.done() == [("B", 0), ("B", 1), ("B", 2)])
        await eventually(lambda: seen(bus, ev.Backlog(0, 0, 0, delayed=1, dead=0, parked=2)))
    assert [attempt for attempt in billing.attempts if attempt[0] == "A"] == [("A", 0, 1)]


async def seen(bus: ev.Bus, wanted: ev.Backlog) -> bool:
    return await bus.backlog("orders", "billing") == wanted


@pytest.mark.parametrize("wait_s", [0.0, 0.01])
@pytest.mark.parametrize("error", [ev.Reject("no"), ValueError("no"), ev.Snooze(0.01)])
async def test_the_next_event_of_a_key_is_delivered_when_the_head_is_settled(
    connect: Connect, inspector: Inspector, error: Exception, wait_s: float
) -> None:
    billing = BillingGroup(retry=ev.Retry(attempts=3, wait_s=wait_s, jitter="none"))
    snoozed = iter([error, error, None])
    billing.failure_draws = lambda key, step, attempt: (
        None if step else next(snoozed) if isinstance(error, ev.Snooze) else error
    )
    async with connect(billing.app) as bus, consumers(bus, "a", "b"):
        await bus.publish_many(steps("A", 0, 1, 2))
        await eventually(lambda: ("A", 2) in billing.done())
        await eventually(lambda: nothing_left(bus))
        assert len(await bus.dead_letters("orders", "billing").find()) == (not isinstance(error, ev.Snooze))
    tries = {ev.Reject: [1], ValueError: [1, 2, 3], ev.Snooze: [1, 1, 1]}[type(error)]
    assert billing.attempts == [*(("A", 0, attempt) for attempt in tries), ("A", 1, 1), ("A", 2, 1)]
    assert await no_key_queue_left(inspector)


async def test_a_replayed_dead_letter_waits_for_the_running_event_of_its_key(
    connect: Connect, inspector: Inspector
) -> None:
    """It is no longer in its old order, but it never runs at the same time as another event of its key."""
    billing = BillingGroup()
    billing.failure_draws = lambda key, step, attempt: (
        ev.Reject("no") if step == 0 and len(billing.attempts) == 1 else None
    )
    gate = billing.gate("A", 1)
    async with connect(billing.app) as bus, consumers(bus, "a", "b"):
        await bus.publish_many(steps("A", 0, 1, 2))
        await eventually(lambda: ("A", 1) in billing.began())
        [dead_letter] = await bus.dead_letters("orders", "billing").find()
        back = {b"event": dead_letter.raw[b"event"], b"attempts": b"0", b"origin": dead_letter.origin.encode()}
        await inspector.raw.xadd(inspector.keys.retry, back)  # type: ignore[arg-type]  # invariant dict
        await eventually(lambda: is_parked(bus, 2))
        gate.set()
        await eventually(lambda: len(billing.done()) == 4)
        await eventually(lambda: nothing_left(bus))
    assert billing.done() == [("A", 0), ("A", 1), ("A", 0), ("A", 2)]


# Which entries share a key


def body(**data: object) -> bytes:
    return json.dumps({"specversion": "1.0", "data": data}).encode()


async def handed_out(broker: Broker, inspector: Inspector, *bodies: bytes) -> list[int]:
    """Publish and read all bodies at once. Returns the indexes of those that a consumer gets."""
    await PublishCommands(broker).append(NumberedBatch("orders", 1, bodies), "p1", 3600.0)
    entries = await read_and_die(broker, inspector)
    return [bodies.index(entry.event or b"") for entry in entries]


KEYS = [
    *("A", "a", "", " ", "A B", "A!", "\x00", "A\x00B", "ü", "\u2028", "€" * 40, "x" * 64, "x" * 65, "x" * 100_000),
    *("1", 1, -1, 0, 1.5, 1e300, 2**53, True, False, "true", "null", "-", "#", "s1", "n1"),
]


async def test_different_keys_have_separate_queues(broker: Broker, inspector: Inspector) -> None:
    once = [body(order_id=key, n=1) for key in KEYS]
    again = [body(order_id=key, n=2) for key in KEYS]
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [*once, *again]), "p1", 3600.0)
    heads = await read_and_die(broker, inspector)
    assert [entry.event for entry in heads] == once
    assert await read_and_die(broker, inspector) == []
    assert (await StreamCommands(broker).backlog("orders", "billing")).parked == len(KEYS)
    await ConsumerCommands(broker, inspector.keys, "dead").ack(heads)
    assert [entry.event for entry in await read_and_die(broker, inspector)] == again


@pytest.mark.parametrize("number", [b"100", b"1e2", b"100.0", b"1E+2"])
async def test_a_number_is_the_same_key_however_it_is_written(
    broker: Broker, inspector: Inspector, number: bytes
) -> None:
    assert await handed_out(broker, inspector, body(order_id=100), b'{"data":{"order_id":%b}, "n":2}' % number) == [0]


@pytest.mark.parametrize("number", [2**53 + 1, 2**64, 10**40])
async def test_integers_beyond_double_precision_keep_their_order(
    broker: Broker, inspector: Inspector, number: int
) -> None:
    """Such a number may share a queue with its neighbours. That is less parallel, but never out of order."""
    assert await handed_out(broker, inspector, body(order_id=number, n=1), body(order_id=number, n=2)) == [0]


NO_KEY = [
    body(),
    body(order_id=None),
    body(order_id=["A"]),
    body(order_id={"a": 1}),
    b'{"data":[1]}',
    b'{"data":null}',
    b'{"no":"data"}',
    b"[]",
    b"5",
    b"",
    b"\xff\x00",
    b'{"data":{"order_id":"A"',
    b'{"data":{"order_id":"A","x":' + b"[" * 2000 + b"]" * 2000 + b"}}",
]


async def test_entries_without_a_key_are_unordered_and_block_no_other(broker: Broker, inspector: Inspector) -> None:
    bodies = [*NO_KEY, *(one + b" " for one in NO_KEY), body(order_id="A")]
    assert await handed_out(broker, inspector, *bodies) == list(range(len(bodies)))
    await inspector.add(other=b"field")
    await inspector.raw.xadd(inspector.keys.retry, {"event": body(order_id="A"), "attempts": "0", "origin": "nonsense"})
    assert len(await read_and_die(broker, inspector)) == 2


async def test_undecodable_entries_without_a_key_become_dead_letters_before_waiting_entries(
    connect: Connect, inspector: Inspector
) -> None:
    billing = BillingGroup()
    gate = billing.gate("A", 0)
    async with connect(billing.app) as bus, consumers(bus, "a"):
        await bus.publish_many(steps("A", 0, 1))
        await eventually(lambda: billing.began() == [("A", 0)])
        await inspector.add(
            event=b'{"data":{"order_id":"A"}}'
        )  # it has the key but no envelope: it becomes a dead letter in its turn
        await inspector.add(event=b"no JSON")
        await eventually(lambda: seen(bus, ev.Backlog(0, 1, 0, 0, dead=1, parked=2)))
        gate.set()
        await eventually(lambda: seen(bus, ev.Backlog(0, 0, 0, 0, dead=2)))
    assert billing.done() == [("A", 0), ("A", 1)]


# Whatever happens to a consumer, the order of the key is kept


async def test_a_read_whose_reply_is_lost_loses_neither_entries_nor_order(connect: Connect, url: str) -> None:
    billing = BillingGroup(lease_s=LEASE_S)
    async with fault_proxy(url) as faulty, connect(billing.app, url=faulty.url) as bus, consumers(bus, "a"):
        await bus.publish_many(steps("A", 0))
        await eventually(billing.done)  # so that the server knows the scripts
        faulty.lose_reply_to(scripts.READ_ORDERED.sha.encode())
        await bus.publish_many([*steps("A", 1, 2, 3), *steps("B", 0, 1)])
        await eventually(lambda: nothing_left(bus))
        assert faulty.lost == 1
    assert faults(billing.notes) == []
    assert len(set(billing.done())) == 6


@pytest.mark.parametrize("script", ["ACK", "RETRY", "TO_DEAD_LETTERS"])
async def test_a_settlement_whose_reply_is_lost_releases_one_event_of_the_key(
    connect: Connect, url: str, script: str
) -> None:
    billing = BillingGroup(lease_s=LEASE_S)
    errors = {"ACK": None, "RETRY": ValueError("no"), "TO_DEAD_LETTERS": ev.Reject("no")}
    billing.failure_draws = lambda key, step, attempt: errors[script] if attempt == 1 else None
    sha = getattr(scripts, script).sha.encode()
    async with fault_proxy(url) as faulty, connect(billing.app, url=faulty.url) as bus, consumers(bus, "a"):
        await bus.publish_many(steps("A", 0))
        await eventually(billing.done)
        await eventually(lambda: nothing_left(bus))
        faulty.lose_reply_to(sha)
        await bus.publish_many(steps("A", 1, 2, 3))
        await eventually(lambda: len(billing.done()) == 4)
        await eventually(lambda: nothing_left(bus))
        assert faulty.lost == 1
    assert faults(billing.notes) == []
    assert len(billing.attempts) == (8 if script == "RETRY" else 4)


async def test_the_head_of_a_dead_consumer_is_taken_over_before_those_behind_it(
    connect: Connect, broker: Broker, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lease, "sweep_wait_s", lambda *_: 0.05)
    billing = BillingGroup(lease_s=30.0)  # no machine stands still for so long: live consumers keep their entries
    async with connect(billing.app) as bus:
        await bus.publish_many([*steps("A", 0, 1, 2), *steps("B", 0, 1)])
        heads = await read_and_die(broker, inspector)
        assert len(heads) == 2
        for head in heads:
            await inspector.take_over(head.id, "dead", idle_ms=60_000)
        async with consumers(bus, "a", "b"):
            await bus.publish_many(steps("A", 3))
            await eventually(lambda: nothing_left(bus))
    assert faults(billing.notes) == []
    assert {(key, step, 2 if step == 0 else 1) for key, step in billing.done()} == set(billing.attempts)
    assert len(billing.attempts) == 6


@pytest.mark.usefixtures("early_sweeps")
async def test_a_poison_head_becomes_a_dead_letter_and_its_key_goes_on(
    connect: Connect, broker: Broker, inspector: Inspector
) -> None:
    billing = BillingGroup()
    async with connect(billing.app) as bus:
        await bus.publish_many(steps("A", 0, 1))
        [head] = await read_and_die(broker, inspector)
        await inspector.take_over(head.id, "dead", idle_ms=60_000, deliveries=AT_ONCE.attempts)
        async with consumers(bus, "a"):
            await eventually(lambda: nothing_left(bus))
        [dead_letter] = await bus.dead_letters("orders", "billing").find()
    assert dead_letter.reason == "poison"
    assert billing.attempts == [("A", 1, 1)]


async def test_a_consumer_that_lost_the_head_does_not_release_the_next_event(
    broker: Broker, inspector: Inspector
) -> None:
    """Another consumer has taken the head over. Only the new owner's settlement counts."""
    await PublishCommands(broker).append(
        NumberedBatch("orders", 1, [body(order_id="A", n=1), body(order_id="A", n=2), body(order_id="B")]), "p1", 3600.0
    )
    head, other = await read_and_die(broker, inspector)
    for entry in (head, other):
        await inspector.take_over(entry.id, "successor")
    assert await ConsumerCommands(broker, inspector.keys, "dead").ack([head, other]) == {
        (False, head.id),
        (False, other.id),
    }
    assert await StreamCommands(broker).backlog("orders", "billing") == ev.Backlog(0, 2, 0, 0, 0, parked=1)
    for _ in range(2):
        assert await ConsumerCommands(broker, inspector.keys, "successor").ack([head, other]) == set()
    assert await StreamCommands(broker).backlog("orders", "billing") == ev.Backlog(0, 0, retrying=1, delayed=0, dead=0)


async def test_a_head_that_is_given_back_stays_the_head_of_its_key(connect: Connect) -> None:
    billing = BillingGroup(concurrency=1, prefetch=4)
    gate = billing.gate("A", 0)
    async with connect(billing.app) as bus:
        await bus.publish_many([event for step in range(3) for key in "ABCD" for event in steps(key, step)])
        async with consumers(bus, "a"):
            await eventually(lambda: is_parked(bus, 8))
            await eventually(billing.began)
            asyncio.get_running_loop().call_soon(gate.set)  # after the stop, which comes without a pause
        assert billing.done() == [("A", 0)]
        # B, C and D go back, and A's next one has been released
        assert await bus.backlog("orders", "billing") == ev.Backlog(0, 0, retrying=4, delayed=0, dead=0, parked=7)
        async with consumers(bus, "b"):
            await eventually(lambda: nothing_left(bus))
    assert faults(billing.notes) == []
    assert len(billing.attempts) == 12
    assert {attempt for *_, attempt in billing.attempts} == {1}


async def test_starting_and_stopping_many_times_keeps_the_order(connect: Connect) -> None:
    """A stop may cut off a read whose entries are already on their way."""
    billing = BillingGroup(concurrency=4, prefetch=4)
    async with connect(billing.app) as bus:

        async def publish_all() -> None:
            for step in range(30):
                for key in "ABCDE":
                    await bus.publish(StepTaken(order_id=key, step=step))

        publishing = asyncio.create_task(publish_all())
        while not publishing.done():
            async with consumers(bus, "a", "b"):
                await bus.backlog("orders", "billing")
        await publishing
        async with consumers(bus, "a"):
            await eventually(lambda: nothing_left(bus))
    assert faults(billing.notes) == []
    assert len(billing.attempts) == 150


async def test_a_head_is_not_mistaken_for_lost_in_any_place(broker: Broker, inspector: Inspector) -> None:
    """The head goes through every place that an entry can be in."""
    at = inspector.keys

    async def still_waits() -> bool:
        return (
            await ConsumerCommands(broker, at, "c1").free_stuck() == 0
            and (await StreamCommands(broker).backlog("orders", "billing")).parked == 1
        )

    await PublishCommands(broker).append(
        NumberedBatch("orders", 1, [body(order_id="A", n=1), body(order_id="A", n=2)]), "p1", 3600.0
    )
    [entry] = await read_and_die(broker, inspector)
    assert await still_waits()
    for delay_s in (0.05, 0.0):
        await ConsumerCommands(broker, at, "dead").retry(entry, delay_s)
        assert await still_waits()
        if delay_s:
            await eventually(lambda: is_promoted(broker, inspector))
            assert await still_waits()
        [entry] = await read_and_die(broker, inspector)
        assert await still_waits()
        await ConsumerCommands(broker, at, "dead").leave()
        assert await still_waits()
        [entry] = await read_and_die(broker, inspector)
        await inspector.raw.xclaim(at.retry, "billing", "dead", 0, [entry.id], idle=60_000, justid=True)
        _, [taken], _ = await ConsumerCommands(broker, at, "successor").sweep(1.0, 10, 0.0)
        assert await still_waits()
        await inspector.raw.xclaim(at.retry, "billing", "dead", 0, [taken.id], justid=True)
    assert await ConsumerCommands(broker, at, "dead").ack([entry]) == set()
    assert await StreamCommands(broker).backlog("orders", "billing") == ev.Backlog(0, 0, retrying=1, delayed=0, dead=0)


async def is_promoted(broker: Broker, inspector: Inspector) -> bool:
    moved = (await ConsumerCommands(broker, inspector.keys, "c1").promote(10)).moved
    return moved == 1


@pytest.mark.parametrize("how", ["ack", "retry", "dead-letter", "leave"])
async def test_a_head_that_is_deleted_while_its_handler_runs_can_be_settled_and_releases_the_next_event(
    broker: Broker, inspector: Inspector, how: str
) -> None:
    await PublishCommands(broker).append(
        NumberedBatch("orders", 1, [body(order_id="A", n=1), body(order_id="A", n=2)]), "p1", 3600.0
    )
    [head] = await read_and_die(broker, inspector)
    await inspector.raw.xdel(inspector.keys.stream, head.id)
    if how == "ack":
        await ConsumerCommands(broker, inspector.keys, "dead").ack([head])
    elif how == "retry":
        await ConsumerCommands(broker, inspector.keys, "dead").retry(head, 60.0)
    elif how == "dead-letter":
        await ConsumerCommands(broker, inspector.keys, "dead").to_dead_letters(head, {"reason": "exhausted"})
    else:
        await ConsumerCommands(broker, inspector.keys, "dead").leave()
    dead = int(how == "dead-letter")
    assert await StreamCommands(broker).backlog("orders", "billing") == ev.Backlog(
        0, 0, retrying=1, delayed=0, dead=dead
    )


class SlowReader(OrderedReader):
    """A reader whose next read waits until `go` is set."""

    def __init__(self, broker: Broker, group: GroupKeys) -> None:
        super().__init__(broker, group, "c1", 1.0, "order_id")
        self.sent, self.go = asyncio.Event(), asyncio.Event()

    async def hand_out(self, count: int, bytes_max: int | None = None) -> tuple[list[Entry], tuple[str, str] | None]:
        self.sent.set()
        await self.go.wait()
        return await super().hand_out(count, bytes_max)


async def test_a_cancelled_read_ends_before_its_consumer_leaves(
    broker: Broker, inspector: Inspector, url: str, namespace: str
) -> None:
    """Otherwise the server would give the head to a consumer that is gone, and the key would wait for the lease."""
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [body(order_id="A")]), "p1", 3600.0)
    await ConsumerCommands(broker, inspector.keys, "c1").ensure_group()
    slow = SlowReader(broker, inspector.keys)
    reading = asyncio.create_task(read(slow, 10))
    await slow.sent.wait()
    reading.cancel()
    done, _ = await asyncio.wait({reading}, timeout=0.01)
    assert not done
    slow.go.set()
    await asyncio.wait({reading})
    assert reading.cancelled()
    assert await ConsumerCommands(broker, inspector.keys, "c1").leave() == 1
    await slow.close()


# After damage from outside, such as deleted entries or keys, no key stays blocked


async def lose_entry(inspector: Inspector, _: Entry) -> None:
    await inspector.raw.xtrim(inspector.keys.stream, maxlen=0, approximate=False)


async def lose_consumer(inspector: Inspector, _: Entry) -> None:
    await inspector.raw.xgroup_delconsumer(inspector.keys.stream, "billing", "dead")


async def lose_by_ack(inspector: Inspector, head: Entry) -> None:
    await inspector.raw.xack(inspector.keys.stream, "billing", head.id)


async def lose_heads(inspector: Inspector, _: Entry) -> None:
    await inspector.raw.unlink(inspector.keys.key_queue_heads)
    await inspector.raw.xgroup_delconsumer(inspector.keys.stream, "billing", "dead")


async def lose_stream(inspector: Inspector, _: Entry) -> None:
    await inspector.raw.unlink(inspector.keys.stream)


@pytest.mark.parametrize("lose", [lose_entry, lose_consumer, lose_by_ack, lose_heads, lose_stream])
async def test_a_key_queue_continues_after_its_head_was_lost(
    connect: Connect, broker: Broker, inspector: Inspector, lose: Callable[[Inspector, Entry], object]
) -> None:
    billing = BillingGroup(lease_s=LEASE_S)
    async with connect(billing.app) as bus:
        await bus.publish_many(steps("A", 0, 1, 2, 3))
        [head] = await read_and_die(broker, inspector)
        await lose(inspector, head)  # type: ignore[misc]  # a coroutine
        async with consumers(bus, "a"):
            await bus.publish_many(steps("A", 4))
            await eventually(lambda: nothing_left(bus))
    assert billing.done() == [("A", 1), ("A", 2), ("A", 3), ("A", 4)]
    assert await no_key_queue_left(inspector)


@pytest.mark.parametrize("place", ["delayed", "retry", "read from retry"])
async def test_a_key_queue_continues_after_its_head_was_lost_during_a_retry(
    connect: Connect, broker: Broker, inspector: Inspector, place: str
) -> None:
    billing = BillingGroup(lease_s=LEASE_S)
    async with connect(billing.app) as bus:
        await bus.publish_many(steps("A", 0, 1, 2))
        [head] = await read_and_die(broker, inspector)
        await ConsumerCommands(broker, inspector.keys, "dead").retry(head, 60.0 if place == "delayed" else 0.0)
        assert await ConsumerCommands(broker, inspector.keys, "c1").free_stuck() == 0  # nothing is lost yet
        if place == "delayed":
            await inspector.raw.unlink(inspector.keys.delayed)
        elif place == "retry":
            await inspector.raw.xtrim(inspector.keys.retry, maxlen=0, approximate=False)
        else:
            [again] = await read_and_die(broker, inspector)
            assert again.retried and await ConsumerCommands(broker, inspector.keys, "c1").free_stuck() == 0
            await inspector.raw.xack(inspector.keys.retry, "billing", again.id)
        async with consumers(bus, "a"):
            await eventually(lambda: billing.done() == [("A", 1), ("A", 2)])


@pytest.mark.parametrize("count", [3, 1200])
async def test_blocked_key_queues_are_freed_in_limited_steps(broker: Broker, inspector: Inspector, count: int) -> None:
    await PublishCommands(broker).append(
        NumberedBatch("orders", 1, [body(order_id=f"{n % count}", n=n) for n in range(2 * count)]), "p1", 3600.0
    )
    assert len(await read_and_die(broker, inspector, 2 * count)) == count
    assert await ConsumerCommands(broker, inspector.keys, "c1").free_stuck() == 0
    await inspector.raw.xgroup_delconsumer(inspector.keys.stream, "billing", "dead")
    freed = [await ConsumerCommands(broker, inspector.keys, "c1").free_stuck() for _ in range(8)]
    assert sum(freed) == count and max(freed) < 1000
    assert await StreamCommands(broker).backlog("orders", "billing") == ev.Backlog(
        0, 0, retrying=count, delayed=0, dead=0
    )


async def test_all_key_queues_without_a_head_are_freed(broker: Broker, inspector: Inspector) -> None:
    await PublishCommands(broker).append(
        NumberedBatch("orders", 1, [body(order_id=f"{n % 1200}", n=n) for n in range(3600)]), "p1", 3600.0
    )
    await read_and_die(broker, inspector, 3600)
    await inspector.raw.unlink(inspector.keys.key_queue_heads)
    assert [await ConsumerCommands(broker, inspector.keys, "c1").free_stuck() for _ in range(4)] == [
        500,
        500,
        200,
        0,
    ]


async def test_a_key_queue_without_a_head_continues_when_the_next_entry_of_its_key_is_read(
    broker: Broker, inspector: Inspector
) -> None:
    """The new entry does not overtake the parked ones, and they need not wait for a sweep."""
    await PublishCommands(broker).append(
        NumberedBatch("orders", 1, [body(order_id="A", n=1), body(order_id="A", n=2)]), "p1", 3600.0
    )
    await read_and_die(broker, inspector)
    await inspector.raw.unlink(inspector.keys.key_queue_heads)
    await PublishCommands(broker).append(NumberedBatch("orders", 3, [body(order_id="A", n=3)]), "p1", 3600.0)
    assert await read_and_die(broker, inspector) == []
    [entry] = await read_and_die(broker, inspector)
    assert entry.event == body(order_id="A", n=2)
    assert (await StreamCommands(broker).backlog("orders", "billing")).parked == 1


async def test_a_group_that_is_destroyed_and_created_again_keeps_the_order(
    connect: Connect, inspector: Inspector
) -> None:
    """Events under way may be repeated, parked events come once, and no event is lost."""
    billing = BillingGroup(lease_s=LEASE_S)
    gates = [billing.gate("A", 1), billing.gate("B", 0)]
    async with connect(billing.app) as bus, consumers(bus, "a", "b"):
        await bus.publish_many([*steps("A", 0, 1, 2, 3), *steps("B", 0, 1)])
        await eventually(lambda: {("A", 1), ("B", 0)} <= set(billing.began()))
        for stream in (inspector.keys.stream, inspector.keys.retry):
            await inspector.raw.xgroup_destroy(stream, "billing")
        await bus.publish_many(steps("C", 0))
        await eventually(lambda: ("C", 0) in billing.done())
        for gate in gates:
            gate.set()
        await eventually(lambda: nothing_left(bus))
    assert set(billing.done()) == {*(("A", n) for n in range(4)), ("B", 0), ("B", 1), ("C", 0)}
    firsts = list(dict.fromkeys(billing.done()))
    assert [step for key, step in firsts if key == "A"] == [0, 1, 2, 3]
    assert [step for key, step in firsts if key == "B"] == [0, 1]
    assert await no_key_queue_left(inspector)


async def test_a_second_copy_of_a_head_is_dropped(broker: Broker, inspector: Inspector) -> None:
    """The head waits for its retry. The group is created again and reads the entry anew, which must not deliver it."""
    await PublishCommands(broker).append(
        NumberedBatch("orders", 1, [body(order_id="A", n=1), body(order_id="A", n=2)]), "p1", 3600.0
    )
    [head] = await read_and_die(broker, inspector)
    await ConsumerCommands(broker, inspector.keys, "dead").retry(head, 60.0)
    await inspector.raw.xgroup_destroy(inspector.keys.stream, "billing")
    assert await read_and_die(broker, inspector) == []
    assert await StreamCommands(broker).backlog("orders", "billing") == ev.Backlog(0, 0, 0, delayed=1, dead=0, parked=1)


async def test_a_second_copy_of_a_head_that_is_settled_releases_no_event(broker: Broker, inspector: Inspector) -> None:
    """The copy was added to the retry stream and was read without regard to the order."""
    await PublishCommands(broker).append(
        NumberedBatch("orders", 1, [body(order_id="A", n=1), body(order_id="A", n=2)]), "p1", 3600.0
    )
    [head] = await read_and_die(broker, inspector)
    copy = {b"event": head.event, b"attempts": b"0", b"origin": head.id.encode()}

    async def read_copy() -> Entry:
        await inspector.raw.xadd(inspector.keys.retry, copy)  # type: ignore[arg-type]  # invariant dict
        [id_] = await inspector.read_and_die(retried=True)
        return Entry(True, id_, head.id, head.event)

    assert await ConsumerCommands(broker, inspector.keys, "dead").ack([await read_copy()]) == set()
    assert await ConsumerCommands(broker, inspector.keys, "dead").to_dead_letters(
        await read_copy(), {"reason": "rejected"}
    )
    assert await StreamCommands(broker).backlog("orders", "billing") == ev.Backlog(0, 1, 0, 0, dead=1, parked=1)


async def test_a_head_that_the_new_group_will_read_again_is_not_treated_as_lost(
    broker: Broker, inspector: Inspector
) -> None:
    """A group that was created again has no pending entries, and will still read the head."""
    await PublishCommands(broker).append(
        NumberedBatch("orders", 1, [body(order_id="A", n=1), body(order_id="A", n=2)]), "p1", 3600.0
    )
    [head] = await read_and_die(broker, inspector)
    await inspector.raw.xgroup_destroy(inspector.keys.stream, "billing")
    await ConsumerCommands(broker, inspector.keys, "c1").ensure_group()
    assert await ConsumerCommands(broker, inspector.keys, "c1").free_stuck() == 0
    assert [entry.id for entry in await read_and_die(broker, inspector)] == [head.id]


# A group whose setting `ordered_by` changes


async def test_parked_entries_are_drained_when_the_group_is_no_longer_ordered(
    connect: Connect, inspector: Inspector
) -> None:
    ordered, plain = BillingGroup(), BillingGroup(ordered_by=None)
    gate = ordered.gate("A", 0)
    async with connect(ordered.app) as bus:
        await bus.publish_many([*steps("A", *range(50)), *steps("B", *range(50))])
        async with consumers(bus, "a"):
            await eventually(lambda: is_parked(bus, 49))
            await eventually(lambda: ("B", 49) in ordered.done())
            asyncio.get_running_loop().call_soon(gate.set)
        async with connect(plain.app) as other, consumers(other, "b"):
            await eventually(lambda: nothing_left(other))
    assert plain.done() == [("A", n) for n in range(1, 50)]  # with nothing new beside them even in order
    assert await no_key_queue_left(inspector)


async def test_a_group_can_become_ordered_while_handlers_run(connect: Connect, inspector: Inspector) -> None:
    plain, ordered = BillingGroup(ordered_by=None), BillingGroup()
    gate = plain.gate("A", 0)
    async with connect(plain.app) as bus, consumers(bus, "a"):
        await bus.publish_many(steps("A", 0, 1, 2))
        await eventually(lambda: set(plain.done()) == {("A", 1), ("A", 2)})
        async with connect(ordered.app) as other, consumers(other, "b"):
            await other.publish_many(steps("B", *range(20)))
            await eventually(lambda: ("B", 19) in ordered.done() + plain.done())
            gate.set()
            await eventually(lambda: nothing_left(bus))
    assert len(plain.done() + ordered.done()) == 23
    assert await no_key_queue_left(inspector)


async def test_ordered_and_unordered_consumers_of_one_group_lose_no_event(
    connect: Connect, inspector: Inspector
) -> None:
    """During a deployment both may run. The order is not kept yet, but no event is lost."""
    plain, ordered = BillingGroup(ordered_by=None), BillingGroup()
    async with connect(plain.app) as bus, connect(ordered.app) as other, consumers(bus, "a"), consumers(other, "b"):
        for step in range(60):
            await bus.publish_many([event for key in "ABC" for event in steps(key, step)])
        await eventually(lambda: nothing_left(bus))
    assert sorted(plain.done() + ordered.done()) == sorted((key, step) for key in "ABC" for step in range(60))
    assert await no_key_queue_left(inspector)


# Looking at the backlog


async def test_parked_entries_count_as_backlog_and_are_deleted_by_delete_all(connect: Connect, broker: Broker) -> None:
    billing = BillingGroup()
    async with connect(billing.app) as bus:
        await bus.publish_many([*steps("A", 0, 1, 2), *steps("B", 0)])
        at = broker.keys.group("orders", "billing")
        await ConsumerCommands(broker, at, "c1").ensure_group()
        await read_as(broker, at, "dead", 10, ordered_by="order_id")
        backlog = await bus.backlog("orders", "billing")
        assert backlog == ev.Backlog(0, pending=2, retrying=0, delayed=0, dead=0, parked=2) and backlog.total == 4
        await bus.delete_all()
        assert await bus.backlog("orders", "billing") == ev.Backlog(0, 0, 0, 0, 0)


async def test_groups_and_streams_have_separate_key_queues(connect: Connect) -> None:
    class Moved(ev.Event, type="parcel.moved", version=1, stream="parcels"):
        order_id: str

    billing, moved, audited = BillingGroup(), list[str](), list[int]()
    billing.app.group("audit", ordered_by="order_id")

    @billing.app.subscribe(Moved, group="billing")
    async def move(event: Moved, _: ev.Delivery) -> None:
        moved.append(event.order_id)

    @billing.app.subscribe(StepTaken, group="audit")
    async def audit(event: StepTaken, _: ev.Delivery) -> None:
        audited.append(event.step)

    gate, record = billing.gate("A", 0), Record()
    async with connect(billing.app) as bus, bus.running(observe=record):
        await bus.publish_many([*steps("A", 0, 1, 2), Moved(order_id="A")])
        await eventually(lambda: moved == ["A"] and audited == [0, 1, 2])
        assert billing.done() == []
        gate.set()
        await eventually(lambda: record.count("acked") == 7)
