"""Claims about the bus: what is published stays, groups share the work, and nothing that fails is lost."""

import asyncio
import time
from collections import Counter

import eventlib as ev
from eventlib.testing import private_server
from sim.claims.claim import claim, holds
from sim.claims.levels import at_least, core
from sim.claims.site import Site, drains, happens
from sim.declare.faults.kill import Kill
from sim.declare.loads.constant import ConstantLoad
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.declare.service_times.constant import ConstantTime
from sim.evidence.checks import check
from sim.evidence.claims import Finding
from sim.evidence.metrics import totals
from sim.worlds.live import run_live


class OrderPlaced(ev.Event, type="claims.order.placed", version=1, stream="orders"):
    number: int


def orders(count: int) -> list[OrderPlaced]:
    return [OrderPlaced(number=number) for number in range(count)]


@claim(
    "S6",
    "Messages persist in Redis Streams",
    theme="bus",
    how="Events are published to a server of the claim's own that writes its file before it answers (appendfsync "
    "always), handled by a group, and the server is killed with SIGKILL in the middle of further publishes; when it is "
    "up again, every acknowledged event is looked for.",
    threshold="0 acknowledged events are missing",
)
async def persistence(site: Site) -> Finding:
    app, acknowledged = ev.App("claims"), list[int]()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(_: OrderPlaced, __: ev.Delivery) -> None: ...

    async def publish(bus: ev.Bus, first: int) -> None:
        for number in range(first, first + 400):
            await bus.publish(OrderPlaced(number=number))
            acknowledged.append(number)

    with private_server("--appendfsync", "always") as server:
        async with site.connect(app, url=server.url) as bus:
            async with bus.running():
                await publish(bus, 0)
                await drains(bus, "orders", ["billing"])
            publishing = asyncio.create_task(publish(bus, 400))
            await happens(lambda: len(acknowledged) >= 600)
            server.kill()
            known = list(acknowledged)
            server.start()
            await publishing
        async with ev.testing.Inspector.open(server.url, "orders", "billing", namespace=site.namespace) as inspector:
            kept = Counter(_number(fields[b"event"]) for fields in await inspector.events())
    missing = [number for number in acknowledged if number not in kept]
    twice = sum(count > 1 for count in kept.values())
    text = f"{len(missing)} of {len(acknowledged)} missing after SIGKILL ({len(known)} were acknowledged before it)"
    return holds(not missing and not twice, f"{text}; {twice} stored twice", missing=len(missing), twice=twice)


def _number(event: bytes) -> int:
    return int(event.rpartition(b'"number":')[2].rstrip(b"} "))


@claim(
    "S7",
    "Consumer groups process in parallel and balance the load",
    theme="bus",
    how="400 events go to two groups of two consumers each, whose handlers take 5 ms; every call is noted.",
    threshold="each group handles each event once, and each of its two consumers at least a quarter of them",
)
async def groups(site: Site) -> Finding:
    app, calls = ev.App("claims"), list[tuple[str, str, int]]()

    def subscribe(group: str) -> None:
        app.group(group, concurrency=4)

        @app.subscribe(OrderPlaced, group=group)
        async def handle(event: OrderPlaced, delivery: ev.Delivery) -> None:
            calls.append((group, delivery.consumer, event.number))
            await asyncio.sleep(0.005)

    count = 400
    for group in ("billing", "shipping"):
        subscribe(group)
    async with (
        site.connect(app) as one,
        site.connect(app) as other,
        one.running(consumer="one"),
        other.running(consumer="other"),
    ):
        await one.publish_many(orders(count))
        await drains(one, "orders", ["billing", "shipping"])
    once = sorted((group, number) for group, _, number in calls) == sorted(
        (group, number) for group in ("billing", "shipping") for number in range(count)
    )
    shares = Counter((group, consumer) for group, consumer, _ in calls)
    least = min(shares.values(), default=0) / count if len(shares) == 4 else 0.0
    text = f"{len(calls)} calls of {2 * count}{', each event once a group' if once else ''}; "
    return holds(once and least >= 0.25, f"{text}the least busy consumer did {least:.0%}", least_share=least)


@claim(
    "S8",
    "At-least-once delivery with acknowledgements",
    theme="bus",
    how="A live run: two consumer processes handle 200 events a second, one of them is killed with SIGKILL at work and "
    "comes back; and an event is looked at while its handler runs, and after it.",
    threshold="0 acknowledged publishes are lost; an event is pending until its handler has ended, and not after it",
    limit_s=40.0,
)
async def at_least_once(site: Site) -> Finding:
    live = await run_live(_killed(site.samples(2, 6)), [0], repeats=site.samples(1, 3), url=site.url)
    lost = next(one for one in check(live) if one.name == "lost")
    during, after = await _pending(site)
    total = totals([live])
    text = f"{lost.violations} lost of {total.published} publishes with {total.killed} SIGKILL; pending while its "
    text += f"handler runs: {during}, after it: {after}"
    held = lost.verdict == "true" and total.killed > 0 and (during, after) == (1, 0)
    return holds(held, text, evidence=(f"history check: {lost.claim}: {lost.detail}",), lost=lost.violations)


def _killed(duration_s: float) -> Scenario:
    return Scenario(
        name="a kill",
        load=ConstantLoad(kind="constant", event="order.placed", rate_per_s=200, duration_s=duration_s),
        services={
            "billing": Service(
                consumes="order.placed",
                consumers=2,
                concurrency=4,
                lease_s=0.8,
                service_time=ConstantTime(kind="constant", mean_s=0.01),
            )
        },
        faults=(Kill(kind="kill", service="billing", consumer=0, at_s=0.6, back_after_s=0.3),),
        drain_s=10,
    )


async def _pending(site: Site) -> tuple[int, int]:
    """How many events are pending while the handler of the only one runs, and after it."""
    app, begun, go_on = ev.App("claims"), asyncio.Event(), asyncio.Event()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(_: OrderPlaced, __: ev.Delivery) -> None:
        begun.set()
        await go_on.wait()

    async with site.connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        await begun.wait()
        during = (await bus.backlog("orders", "billing")).pending
        go_on.set()
        await drains(bus, "orders", ["billing"])
        return during, (await bus.backlog("orders", "billing")).pending


@claim(
    "S9",
    "A dead-letter queue keeps failed messages",
    theme="bus",
    how="One event of ten fails at every attempt; it is tried as often as its policy says, looked for in the "
    "dead-letter queue, and replayed when its handler is mended.",
    threshold="3 attempts, then 1 dead letter with its error and its own bytes; after the replay it is handled",
)
async def dead_letters(site: Site) -> Finding:
    app, attempts, handled, broken = ev.App("claims"), list[int](), list[int](), [True]

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=3, wait_s=0.0))
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        if event.number == 7 and broken[0]:
            attempts.append(delivery.attempt)
            raise ConnectionError("the bank does not answer")
        handled.append(event.number)

    async with site.connect(app) as bus, bus.running():
        await bus.publish_many(orders(10))
        await drains(bus, "orders", ["billing"])
        letters = bus.dead_letters("orders", "billing")
        dead = await letters.find()
        broken[0] = False
        await letters.replay(ev.Selection(ids=[each.id for each in dead])) if dead else None
        await happens(lambda: 7 in handled, 3.0)
    told = [(each.reason, each.error, _number(each.event or b"")) for each in dead]
    kept = told == [("exhausted", "ConnectionError: the bank does not answer", 7)]
    again = sorted(handled) == list(range(10))
    text = f"attempts {attempts}; dead letters {told or 'none'}; {'handled' if again else 'not handled'} after a replay"
    return holds(attempts == [1, 2, 3] and kept and again, text, dead=len(dead))


@claim(
    "S10",
    "1,000 messages a second, sustained, on the bus",
    theme="bus",
    how="For 3 s, or 15 s with --full, one process publishes typed events one by one at 1,500 a second, whether or not "
    "the bus keeps up, and handles them; what is handled in each half second is counted.",
    threshold="1,000 events a second handled, by the interval over half seconds",
    noisy=True,
)
async def sustained(site: Site) -> Finding:
    app, at_s = ev.App("claims"), list[float]()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(_: OrderPlaced, __: ev.Delivery) -> None:
        at_s.append(time.perf_counter())

    offered, duration_s = 1500.0, float(site.samples(3, 15))
    async with core() as had, site.connect(app) as bus, bus.running():
        limit = await _calls_per_s(bus)
        at_s.clear()
        begun_s = time.perf_counter()
        await _publish_at(bus, offered, duration_s)
        handled = await drains(bus, "orders", ["billing"])
    windows = Counter(int((at - begun_s) / 0.5) for at in at_s if at < begun_s + duration_s)
    values = [windows[number] / 0.5 for number in range(int(duration_s / 0.5))]
    found = at_least(1000, values, "/s", limit=limit, limit_of="publishes without a pace", share=had.share)
    return found if handled else holds(False, f"{found.measured}; a backlog was left")


async def _calls_per_s(bus: ev.Bus) -> float:
    """How many publishes a second this process can make, handled as they come."""
    begun_s = time.perf_counter()
    for _ in range(3):
        await asyncio.gather(*(bus.publish(event) for event in orders(1000)))
    await drains(bus, "orders", ["billing"])
    return 3000 / (time.perf_counter() - begun_s)


async def _publish_at(bus: ev.Bus, per_s: float, duration_s: float) -> None:
    """Open-loop: each event is due at its time, however long those before it took."""
    begun_s = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(per_s * duration_s)):
            wait_s = begun_s + number / per_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            tasks.create_task(bus.publish(OrderPlaced(number=number)))
