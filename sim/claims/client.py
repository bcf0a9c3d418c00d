"""Claims about the client: publishing, convenience, reconnecting, waiting, and going on while Redis is away."""

import asyncio
import time

import eventlib as ev
from eventlib.catalog import EVENTS, STREAMS
from eventlib.client.catalog_methods import CatalogMethods
from eventlib.events.schema import Event, spec_of
from eventlib.testing import fault_proxy
from sim.claims.bus import OrderPlaced, orders
from sim.claims.claim import claim, holds
from sim.claims.samples import sample
from sim.claims.site import Site, drains, happens, raised
from sim.evidence.claims import Finding


def _taking_all(app: ev.App, taken: list[Event]) -> None:
    """Let group `readers` take every event of the catalog."""

    async def take(event: Event, _: ev.Delivery) -> None:
        taken.append(event)

    for each in EVENTS:
        app.subscribe(each, group="readers")(take)


@claim(
    "S16",
    "One simple interface to publish and subscribe, for every service",
    theme="client",
    how="A client publishes an event of each type of the catalog with one call; a program that subscribed to all types "
    "with one handler notes what it gets.",
    threshold="each event arrives once and equal to what was published",
)
async def publish_subscribe(site: Site) -> Finding:
    app, taken = ev.App("claims"), list[Event]()
    _taking_all(app, taken)
    events = [sample(each) for each in EVENTS]
    async with site.connect(app) as bus, bus.running(), site.client("publisher") as client:
        for event in events:
            await client.publish(event)
        await happens(lambda: len(taken) >= len(events))
    same = sum(event in taken for event in events)
    text = f"{same} of {len(events)} events of {len(STREAMS)} streams arrived equal, in {len(taken)} calls"
    return holds(same == len(taken) == len(events), text, arrived=same)


@claim(
    "S17",
    "Convenience methods for common event types",
    theme="client",
    how="The client's own method of each event type of the catalog is called with the fields of an event, and what "
    "arrives is compared with that event.",
    threshold="every event type has a method, and each publishes its event",
)
async def methods(site: Site) -> Finding:
    app, taken = ev.App("claims"), list[Event]()
    _taking_all(app, taken)
    named = {name for name in vars(CatalogMethods) if name.startswith("publish_")}
    async with site.connect(app) as bus, bus.running(), site.client("publisher") as client:
        for each in EVENTS:
            name = f"publish_{spec_of(each).type.replace('.', '_')}"
            if name in named:
                await getattr(client, name)(**dict(sample(each)))
        await happens(lambda: len(taken) >= len(EVENTS), 3.0)
    same = sum(sample(each) in taken for each in EVENTS)
    return holds(same == len(EVENTS), f"{same} of {len(EVENTS)} methods publish their event", methods=len(named))


@claim(
    "S18",
    "Connections are managed, with automatic reconnection",
    theme="client",
    how="All connections of a consumer and a publisher are cut three times, the third time for half a second; after "
    "each cut an event is published and handled, without any call that reconnects.",
    threshold="all events are handled once, each within 3 s of the network's return",
)
async def reconnection(site: Site) -> Finding:
    app, handled = ev.App("claims"), list[int]()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        handled.append(event.number)

    waits_s = list[float]()
    async with fault_proxy(site.url) as network, site.connect(app, url=network.url) as bus, bus.running():
        for number, away_s in enumerate((0.0, 0.0, 0.5)):
            network.refusing = away_s > 0
            network.cut()
            publishing = asyncio.create_task(bus.publish(OrderPlaced(number=number)))
            await asyncio.sleep(away_s)
            network.refusing = False
            begun_s = time.perf_counter()
            await happens(lambda number=number: number in handled, 4.0)  # type: ignore[misc]  # a default, for the loop
            waits_s.append(time.perf_counter() - begun_s)
            async with raised(TimeoutError, ev.EventlibError), asyncio.timeout(1.0):
                await publishing
    text = (
        f"handled {handled} of [0, 1, 2], {', '.join(f'{wait:.2f} s' for wait in waits_s)} after the network's return"
    )
    return holds(handled == [0, 1, 2] and max(waits_s) < 3.0, text, wait_s_max=max(waits_s))


class _Answered(ev.Event, type="claims.answered", version=1, stream="answers"):
    number: int


@claim(
    "S19",
    "Wait for an event, for request and response",
    theme="client",
    how="Twenty callers wait at once, each for the event with its own correlation id; the events are published in "
    "reverse order, among others with foreign ids; one more caller waits for an event that never comes.",
    threshold="each caller gets its own event; the last one gets a time-out after its 0.3 s",
)
async def waiting(site: Site) -> Finding:
    got, open_ = dict[int, int](), asyncio.Event()
    async with site.client("shop") as client:
        begun = 0

        async def wait(number: int) -> None:
            nonlocal begun
            async with client.waiting_for(_Answered, correlation_id=f"c{number}", timeout_s=3.0) as answer:
                begun += 1
                await open_.wait()
            got[number] = answer.event.number

        async with raised(BaseExceptionGroup) as failed, asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(wait(number))
            await happens(lambda: begun == 20)
            for number in reversed(range(20)):
                await client.publish(_Answered(number=-1), correlation_id=f"foreign{number}")
                await client.publish(_Answered(number=number), correlation_id=f"c{number}")
            open_.set()
        begun_s = time.perf_counter()
        never = client.waiting_for(_Answered, correlation_id="never", timeout_s=0.3)
        async with raised(ev.EventWaitTimeout) as timed_out, never:
            pass
        waited_s = time.perf_counter() - begun_s
    own = sum(number == of for number, of in got.items())
    text = f"{own} of 20 callers got their own event; the one without an event "
    text += f"{'timed out' if timed_out else 'ended without an error'} after {waited_s:.2f} s"
    return holds(own == 20 and bool(timed_out) and waited_s < 1.0 and not failed, text, own=own)


@claim(
    "S20",
    "Errors are handled with graceful degradation",
    theme="client",
    how="Redis is made unreachable: a client that spools publishes three events, another one that fails publishes one; "
    "a handler raises for every second event meanwhile. Then Redis is back.",
    threshold="spooled publishes return within 1 s and arrive once; the failing one says so within 3 s; a handler's "
    "error stops no other event",
)
async def degradation(site: Site) -> Finding:
    app, handled = ev.App("claims"), list[int]()

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=1))
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        if event.number % 2:
            raise ConnectionError("the bank does not answer")
        handled.append(event.number)

    spool = ev.Spool(site.folder / "events.spool")
    async with fault_proxy(site.url) as network, site.connect(app) as bus, bus.running():
        async with (
            site.client("spooling", url=network.url, outage_policy=spool) as spooling,
            site.client("failing", url=network.url, outage_policy=ev.Fail()) as failing,
        ):
            network.refusing = True
            network.cut()
            begun_s = time.perf_counter()
            for number in (100, 102, 104):
                await spooling.publish(OrderPlaced(number=number))
            spooled_s = time.perf_counter() - begun_s
            async with raised(ev.BrokerUnavailable) as told:
                await failing.publish(OrderPlaced(number=106))
            told_s = time.perf_counter() - begun_s - spooled_s
            await bus.publish_many(orders(10))
            network.refusing = False
            await happens(lambda: len(handled) >= 8)
        await drains(bus, "orders", ["billing"])
    expected = [0, 2, 4, 6, 8, 100, 102, 104]
    text = f"3 publishes spooled in {spooled_s:.2f} s; the other client "
    text += f"{'said so' if told else 'said nothing'} after {told_s:.2f} s; {len(handled)} of 8 events handled once"
    return holds(sorted(handled) == expected and bool(told) and spooled_s < 1.0 and told_s < 3.0, text)
