"""Claims about speed and order, measured beside what this machine can do at best."""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from dataclasses import replace

import numpy as np

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.publishing import BATCH_LIMIT, PublishCommands
from eventlib.broker.streams import StreamCommands
from eventlib.events.envelope import write
from eventlib.records import NumberedBatch
from sim.claims.bus import OrderPlaced, orders
from sim.claims.claim import claim, holds
from sim.claims.levels import at_least, at_most, core
from sim.claims.loads import file_uploaded, publish_burst, steady_load
from sim.claims.site import Site, drains, happens
from sim.evidence.checks import check
from sim.evidence.claims import Finding
from sim.evidence.history import KIND
from sim.worlds.live import run_live


@claim(
    "S30",
    "50,000 messages a second, published in a burst",
    theme="performance",
    how="One process publishes 25,000 typed events of about 470 bytes with publish_many, encoded, sent and "
    "acknowledged, several times; the limit is the same bytes, written beforehand, through one connection.",
    threshold="50,000 events a second, by the interval over the bursts",
    noisy=True,
)
async def burst(site: Site) -> Finding:
    events = [file_uploaded(index) for index in range(25_000)]
    async with core() as had:
        values = [await publish_burst(site.url, events) for _ in range(site.samples(4, 12))]
    bodies = [write(event, "claims")[1] for event in events]
    limit = max([await _written_beforehand(site, bodies) for _ in range(2)])
    return at_least(50_000, values, "/s", limit=limit, limit_of="the same bytes written beforehand", share=had.share)


async def _written_beforehand(site: Site, bodies: list[bytes]) -> float:
    """Appends a second of bodies that are there already, in batches of the library's size."""
    broker = Broker(site.url, site.namespace)
    try:
        await broker.check()
        commands = PublishCommands(broker)
        begun_s = time.perf_counter()
        for first in range(0, len(bodies), BATCH_LIMIT):
            await commands.append(
                NumberedBatch("files", first + 1, bodies[first : first + BATCH_LIMIT]), "claims", 60.0
            )
        return len(bodies) / (time.perf_counter() - begun_s)
    finally:
        await broker.close()


@claim(
    "S31",
    "1,000 messages a second, sustained processing",
    theme="performance",
    how="A live run of 3 s, or four of them with --full: an open-loop load of 2,000 events a second on two consumer "
    "processes whose handlers take 2 ms, retries and leases on; what is handled in each half second is counted.",
    threshold="1,000 events a second handled, by the interval over half seconds, and 0 lost",
    limit_s=40.0,
    noisy=True,
)
async def processing(site: Site) -> Finding:
    scenario = steady_load()
    async with core() as had:
        live = await run_live(scenario, [0], repeats=site.samples(1, 4), url=site.url)
    rows, half_s = live.rows, 0.5
    handled = rows[rows["kind"] == KIND["handled"]]
    offered_s = scenario.offered_load.duration_s
    values = [
        float(((at_s >= first) & (at_s < first + half_s)).sum() / half_s)
        for run in range(len(live.runs))
        for at_s in [handled["t_s"][handled["run"] == run]]
        for first in np.arange(half_s, offered_s, half_s)
    ]
    lost = next(one for one in check(live) if one.name == "lost")
    found = at_least(1000, values, "/s", limit=2000.0, limit_of="the load that is offered", share=had.share)
    return found if lost.verdict == "true" else holds(False, f"{found.measured}; {lost.detail}")


@claim(
    "S32",
    "Sub-millisecond latency within a service",
    theme="performance",
    how="A service publishes 100 events a second and handles them itself; the time from the call of publish to the "
    "begin of the handler is taken. The limit is a bare question to the server and its answer, twice.",
    threshold="a median below 1 ms, by the interval over five parts",
    noisy=True,
)
async def latency(site: Site) -> Finding:
    app, begun_s, latencies_s = ev.App("claims"), dict[int, float](), list[float]()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        latencies_s.append(time.perf_counter() - begun_s[event.number])

    count = site.samples(200, 1000)
    async with core() as had, site.connect(app) as bus, bus.running():
        for number in range(count):
            begun_s[number] = time.perf_counter()
            await bus.publish(OrderPlaced(number=number))
            await asyncio.sleep(0.01)
        await happens(lambda: len(latencies_s) == count)
    round_trip_ms = 1000 * await _round_trip_s(site)
    medians_ms = [1000 * float(np.median(part)) for part in np.array_split(latencies_s, 5)]
    p99_ms = 1000 * float(np.quantile(latencies_s, 0.99))
    of = f"two bare round trips (p99 of the events {p99_ms:.2f} ms)"
    return at_most(1.0, medians_ms, "ms", limit=2 * round_trip_ms, limit_of=of, share=had.share)


async def _round_trip_s(site: Site) -> float:
    """The median time of a question and its answer on a connection of its own."""
    broker = Broker(site.url, site.namespace)
    try:
        await broker.check()
        times_s = []
        for _ in range(200):
            begun_s = time.perf_counter()
            await broker.ask("EXISTS", "none")
            times_s.append(time.perf_counter() - begun_s)
        return float(np.median(times_s))
    finally:
        await broker.close()


WAIT_S = 0.04  # what a handler waits for, as for a reply of another service


@claim(
    "S33",
    "Consumers scale linearly",
    theme="performance",
    how="In one process, 1, 2 and 4 consumers, each with its own connections and room for 4 handlers that wait 40 ms, "
    "work off a backlog, in turn, several times; while the first and the last tenth of it do not count, the speed of "
    "four is divided by 4 times that of one. The limit is what handlers that do nothing reach here.",
    threshold="4 consumers handle at least 0.9 times 4 times what one handles, by the interval over repeats",
    noisy=True,
)
async def scaling(site: Site) -> Finding:
    counts = (1, 2, 4)
    async with core() as had:
        handled = [[await _handled_per_s(site, n, 80 * n, WAIT_S) for n in counts] for _ in range(site.samples(3, 8))]
    limit_per_s = await _handled_per_s(site, 1, 3000, 0.0)
    means = np.mean(handled, axis=0)
    efficiency = [four / (4 * one) for one, _, four in handled]
    limit = limit_per_s / (4 * means[0])
    of = "handlers that do nothing"
    found = at_least(0.9, efficiency, "times linear", limit=limit, limit_of=of, share=had.share, ratio=True)
    told = ", ".join(f"{n}: {per_s:.0f}" for n, per_s in zip(counts, means, strict=True))
    return replace(
        found, measured=f"{found.measured}. Consumers and events/s: {told}; doing nothing {limit_per_s:,.0f}"
    )


async def _handled_per_s(site: Site, consumers: int, count: int, wait_s: float) -> float:
    """How many events a second so many consumers work off, between the first and the last tenth of them.

    At the beginning not all consumers have work yet, and at the end not all have some left.
    """
    app, ended_s = ev.App("claims"), list[float]()
    group = f"g{random.randrange(10**9)}"
    app.group(group, concurrency=4 if wait_s else 100)

    @app.subscribe(OrderPlaced, group=group)
    async def handle(_: OrderPlaced, __: ev.Delivery) -> None:
        if wait_s:
            await asyncio.sleep(wait_s)
        ended_s.append(time.perf_counter())

    async with AsyncExitStack() as stack:
        buses = [await stack.enter_async_context(site.connect(app)) for _ in range(consumers)]
        async with site.inspector("orders", group) as inspector:
            await inspector.raw.unlink(inspector.keys.stream)
            await inspector.create()
        for bus in buses:
            await stack.enter_async_context(bus.running())
        await buses[0].publish_many(orders(count))
        await happens(lambda: len(ended_s) >= count, 10.0)
        first, last = len(ended_s) // 10, len(ended_s) - len(ended_s) // 10
        return (last - first) / (ended_s[last - 1] - ended_s[first - 1])


@claim(
    "S34",
    "Order within a stream is first in, first out",
    theme="performance",
    how="Two publishers send 300 events each, at once; their order in the stream is compared with their order of "
    "publishing. A consumer with one handler at a time, and an ordered group with failing handlers, note theirs.",
    threshold="0 events before one that was published earlier by the same publisher, or with the same key",
)
async def order(site: Site) -> Finding:
    app, one_by_one, by_key = ev.App("claims"), list[int](), dict[int, list[int]]()
    app.group("billing", concurrency=1)
    app.group("shipping", concurrency=16, ordered_by="key")

    @app.subscribe(_Keyed, group="billing")
    async def bill(event: _Keyed, _: ev.Delivery) -> None:
        one_by_one.append(event.number)

    @app.subscribe(_Keyed, group="shipping", retry=ev.Retry(attempts=3, wait_s=0.001))
    async def ship(event: _Keyed, delivery: ev.Delivery) -> None:
        await asyncio.sleep(0.0005 * (event.number % 3))
        if event.number % 50 == 0 and delivery.attempt == 1:
            raise ConnectionError("not yet")
        by_key.setdefault(event.key, []).append(event.number)

    count = 300
    async with site.connect(app) as bus, site.client("other") as other:
        await asyncio.gather(
            *(publisher.publish_many(_keyed(first, count)) for first, publisher in ((0, bus), (count, other)))
        )
        async with site.inspector("keyed", "billing") as inspector:
            stored = [_number(fields[b"event"]) for fields in await inspector.events()]
        async with bus.running():
            await drains(bus, "keyed", ["billing", "shipping"], 15.0)
    wrong = _inversions([n for n in stored if n < count]) + _inversions([n for n in stored if n >= count])
    handled_wrong = 0 if one_by_one == stored else sum(a != b for a, b in zip(one_by_one, stored, strict=False)) or 1
    place = {number: index for index, number in enumerate(stored)}
    keyed_wrong = sum(_inversions([place[number] for number in numbers]) for numbers in by_key.values())
    complete = len(stored) == len(one_by_one) == sum(map(len, by_key.values())) == 2 * count
    text = f"out of order are {wrong} of {len(stored)} in the stream, {handled_wrong} handled one by one and "
    text += f"{keyed_wrong} handled by key"
    return holds(complete and wrong == handled_wrong == keyed_wrong == 0, text, stored=len(stored))


class _Keyed(ev.Event, type="claims.keyed", version=1, stream="keyed"):
    number: int
    key: int


def _keyed(first: int, count: int) -> list[_Keyed]:
    return [_Keyed(number=number, key=number % 20) for number in range(first, first + count)]


def _number(event: bytes) -> int:
    return int(event.rpartition(b'"number":')[2].partition(b",")[0])


def _inversions(numbers: list[int]) -> int:
    """How many come after a larger one."""
    return int((np.asarray(numbers) < np.maximum.accumulate(numbers)).sum()) if numbers else 0


@claim(
    "S35",
    "Trimming of streams can be configured",
    theme="performance",
    how="A stream is declared to keep 100 entries of history; 3,000 events are published, and one group handles them "
    "while another one does not; the stream is trimmed, the other group handles its events, and it is trimmed again.",
    threshold="nothing that a group has not handled is trimmed, and then at most 100 entries stay",
)
async def trimming(site: Site) -> Finding:
    app, handled, count = ev.App("claims"), {"billing": 0, "shipping": 0}, 3000
    retention = ev.Retention(keep_entries=100)
    app.stream("orders", retention=retention)

    def subscribe(group: str) -> None:
        @app.subscribe(OrderPlaced, group=group)
        async def handle(_: OrderPlaced, __: ev.Delivery) -> None:
            handled[group] += 1

    for group in handled:
        subscribe(group)
    broker = Broker(site.url, site.namespace)
    lengths = list[int]()
    try:
        await broker.check()
        async with site.connect(app) as bus:
            async with bus.running():  # groups are made, and the stream has been trimmed once
                pass
            await bus.publish_many(orders(count))
            for group in handled:
                async with bus.running(groups=[group]):
                    await drains(bus, "orders", [group])
                while step := await StreamCommands(broker).trim("orders", retention, 0.001, 1000):
                    lengths.append(step.entries)
                    if not step.more:
                        break
                lengths.append((await bus.stream_health("orders")).entries)
    finally:
        await broker.close()
    text = f"{lengths[0]:,} entries with one group behind, {lengths[-1]} after it; handled {handled}"
    held = lengths[0] == count and lengths[-1] <= 100 and all(number == count for number in handled.values())
    return holds(held, text, entries=lengths[-1])
