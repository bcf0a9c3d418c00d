"""Claims about the four patterns: request and response, fire and forget, saga, fan-out."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack

from pydantic import BaseModel

import eventlib as ev
from eventlib.testing import fault_proxy
from sim.claims.bus import OrderPlaced, orders
from sim.claims.claim import claim, holds
from sim.claims.site import Site, drains, happens, raised
from sim.evidence.claims import Finding


class _Quote(ev.Event, type="claims.quote.requested", version=1, stream="requests"):
    number: int


class _Quoted(ev.Event, type="claims.quote.given", version=1, stream="quotes"):
    number: int


@claim(
    "S25",
    "Request and response",
    theme="patterns",
    how="50 requests are made at once by two clients and answered by a service after random short waits; one more "
    "request is of a kind that is never answered.",
    threshold="every caller gets the reply to its own request; the unanswered one times out",
)
async def requests(site: Site) -> Finding:
    app = ev.App("quotes")

    @app.subscribe(_Quote, group="quoting")
    async def quote(event: _Quote, delivery: ev.Delivery) -> None:
        await asyncio.sleep(0.001 * (event.number * 7 % 10))
        if event.number >= 0:
            await delivery.bus.publish(_Quoted(number=event.number))

    async def ask(client: ev.Client, number: int) -> bool:
        return (await client.request(_Quote(number=number), _Quoted, timeout_s=5.0)).number == number

    async with (
        site.connect(app) as service,
        service.running(),
        site.client("shop") as shop,
        site.client("desk") as desk,
    ):
        replies = await asyncio.gather(
            *(ask((shop, desk)[number % 2], number) for number in range(50)), return_exceptions=True
        )
        async with raised(ev.WaitTimeout) as timed_out:
            await shop.request(_Quote(number=-1), _Quoted, timeout_s=0.3)
    own = sum(reply is True for reply in replies)
    text = f"{own} of 50 callers got their own reply; the unanswered request "
    return holds(own == 50 and bool(timed_out), f"{text}{'timed out' if timed_out else 'did not time out'}", own=own)


@claim(
    "S26",
    "Fire and forget",
    theme="patterns",
    how="A publisher that waits for no consumer publishes 20 notifications while no service runs, 5 of them while "
    "Redis cannot be reached; then the service starts.",
    threshold="no publish takes over 1 s, and the service handles each notification once",
)
async def fire_and_forget(site: Site) -> Finding:
    app, notified, longest_s = ev.App("signal"), list[int](), 0.0

    @app.subscribe(OrderPlaced, group="signal")
    async def notify(event: OrderPlaced, _: ev.Delivery) -> None:
        notified.append(event.number)

    spool = ev.Spool(site.folder / "signal.spool")
    async with fault_proxy(site.url) as network, site.client("shop", url=network.url, outage_policy=spool) as shop:
        for event in orders(20):
            if event.number == 15:
                network.refusing = True
                network.cut()
            begun_s = time.perf_counter()
            await shop.publish(event)
            longest_s = max(longest_s, time.perf_counter() - begun_s)
        network.refusing = False
        async with site.connect(app) as bus, bus.running():
            await happens(lambda: len(notified) >= 20)
            await drains(bus, "orders", ["signal"])
    once = Counter(notified) == Counter(range(20))
    text = f"{len(set(notified))} of 20 handled{', each once' if once else ''}; the longest publish took "
    return holds(once and longest_s < 1.0, f"{text}{1000 * longest_s:.0f} ms", publish_s_max=longest_s)


class _Upload(BaseModel):
    file_id: str
    pages: int


@claim(
    "S27",
    "Sagas: workflows of several steps that are rolled back when one fails",
    theme="patterns",
    how="The file saga (upload, extract, embed, index, notify) runs once to its end and once with an embedding that is "
    "rejected; each step and each undo is noted.",
    threshold="the first one completes; of the second, what was done is undone in reverse order, and nothing else",
)
async def saga(site: Site) -> Finding:
    app, done = ev.App("files"), dict[str, list[str]]()

    async def note(of: ev.SagaContext[_Upload], what: str) -> None:
        done.setdefault(of.input.file_id, []).append(what)

    async def upload(of: ev.SagaContext[_Upload]) -> None:
        await note(of, "upload")

    async def drop(of: ev.SagaContext[_Upload]) -> None:
        await note(of, "undo upload")

    async def extract(of: ev.SagaContext[_Upload]) -> None:
        await note(of, "extract")

    async def forget(of: ev.SagaContext[_Upload]) -> None:
        await note(of, "undo extract")

    async def embed(of: ev.SagaContext[_Upload]) -> None:
        if of.input.pages > 1000:
            raise ev.Reject("too long to embed")
        await note(of, "embed")

    async def index(of: ev.SagaContext[_Upload]) -> None:
        await note(of, "index")

    async def notify(of: ev.SagaContext[_Upload]) -> None:
        await note(of, "notify")

    process = app.saga(
        "file",
        ev.Step(upload, undo=drop),
        ev.Step(extract, undo=forget),
        ev.Step(embed, undo=ev.NOTHING_TO_UNDO),
        ev.Step(index, undo=ev.NOTHING_TO_UNDO),
        ev.Step(notify),
        input=_Upload,
    )
    ended = dict[str, str]()
    async with site.connect(app) as bus, bus.running():
        for file_id, pages in (("short", 12), ("long", 5000)):
            started = await bus.start(process, _Upload(file_id=file_id, pages=pages))
            async with raised(ev.WaitTimeout):
                ended[file_id] = (await bus.sagas(process).wait(started, timeout_s=5.0)).status
    held = ended == {"short": "completed", "long": "compensated"}
    held = held and done.get("short") == ["upload", "extract", "embed", "index", "notify"]
    held = held and done.get("long") == ["upload", "extract", "undo extract", "undo upload"]
    text = "; ".join(f"{name}: {ended.get(name, 'not ended')} by {', '.join(steps)}" for name, steps in done.items())
    return holds(held, text)


@claim(
    "S28",
    "Fan-out: one event reaches several services",
    theme="patterns",
    how="100 uploads go to four groups: one extracts, one embeds and always fails, one notifies slowly, one indexes "
    "and starts only later.",
    threshold="the three groups that can handle each upload once, whatever the others do; the failing one gives up all",
)
async def fan_out(site: Site) -> Finding:
    app, handled, count = ev.App("files"), Counter[tuple[str, int]](), 100

    def subscribe(group: str, work_s: float) -> None:
        app.group(group, concurrency=4)

        @app.subscribe(OrderPlaced, group=group, retry=ev.Retry(attempts=2, wait_s=0.0))
        async def handle(event: OrderPlaced, _: ev.Delivery) -> None:
            await asyncio.sleep(work_s)
            if group == "embed":
                raise ConnectionError("the model does not answer")
            handled[group, event.number] += 1

    groups = {"extract": 0.0, "embed": 0.0, "notify": 0.01, "index": 0.0}
    for group, work_s in groups.items():
        subscribe(group, work_s)
    async with site.connect(app) as bus, AsyncExitStack() as running:
        await running.enter_async_context(bus.running(groups=["extract", "embed", "notify"]))
        await bus.publish_many(orders(count))
        await drains(bus, "orders", ["extract", "embed", "notify"])
        await running.enter_async_context(bus.running(groups=["index"]))
        await drains(bus, "orders", ["index"])
        dead = (await bus.backlog("orders", "embed")).dead
    counts = {group: sum(of == group for of, _ in handled) for group in groups}
    once = all(calls == 1 for calls in handled.values())
    text = (
        f"{', '.join(f'{group} {number}' for group, number in counts.items() if group != 'embed')} of {count} handled"
    )
    held = once and dead == count and all(number == count for group, number in counts.items() if group != "embed")
    return holds(held, f"{text}{', each once' if once else ''}; {dead} given up by embed", dead=dead)
