"""Claims about running it: probes, monitoring, configuration, and deploys without a pause."""

import asyncio
import importlib.util
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import numpy as np

import eventlib as ev
from eventlib.testing import fault_proxy
from sim.claims.bus import OrderPlaced, orders
from sim.claims.claim import claim, holds, unknown
from sim.claims.manifests import problems_of_compose, problems_of_kubernetes
from sim.claims.scraping import samples_of, status_of
from sim.claims.site import Site, drains, happens
from sim.evidence.claims import Finding

_ASK_S = 0.1  # between two questions over HTTP


@claim(
    "S36",
    "Health check endpoints for all services",
    theme="operations",
    how="A service's /livez, /readyz, /healthz and /metrics are asked over HTTP while all is well, while Redis cannot "
    "be reached, and when it is back.",
    threshold="all answer 200; without Redis only /livez, /metrics do, and /readyz and /healthz 503; then all do again",
)
async def endpoints(site: Site) -> Finding:
    app, paths = ev.App("claims"), ("/livez", "/readyz", "/healthz", "/metrics")

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(_: OrderPlaced, __: ev.Delivery) -> None: ...

    async def are(*wanted: int) -> bool:
        seen[:] = [await status_of(server.url, path) for path in paths]
        return seen == list(wanted)

    seen = list[int]()
    async with fault_proxy(site.url) as network, site.connect(app, url=network.url) as bus, bus.running():
        server = bus.serve_health(0, deaf_s=1.5)
        well = await happens(lambda: are(200, 200, 200, 200), 3.0, every_s=_ASK_S)
        text = f"well: {seen}"
        network.refusing = True
        network.cut()
        away = await happens(lambda: are(200, 503, 503, 200), 6.0, every_s=_ASK_S)
        text += f", Redis away: {seen}"
        network.refusing = False
        back = await happens(lambda: are(200, 200, 200, 200), 6.0, every_s=_ASK_S)
        text += f", back: {seen}"
    return holds(well and away and back, f"{text} of {', '.join(paths)}")


@claim(
    "S37",
    "Streams are monitored: length, consumer lag, errors",
    theme="operations",
    how="A stream is brought into a known state: 30 entries, of which one group has handled 18, given up 2, holds 4 "
    "and has not read 6; the library's numbers and the samples of /metrics are compared with it.",
    threshold="length 30, waiting 6, pending 4, dead 2, in both",
)
async def monitoring(site: Site) -> Finding:
    app, go_on, held = ev.App("claims"), asyncio.Event(), list[int]()
    app.group("billing", concurrency=4)

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=1))
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        if event.number < 2:
            raise ConnectionError("the bank does not answer")
        if event.number >= 20:
            held.append(event.number)
            await go_on.wait()

    known = {"length": 30, "waiting": 6, "pending": 4, "dead": 2}
    async with site.connect(app) as bus, bus.running():
        await bus.publish_many(orders(20))
        await drains(bus, "orders", ["billing"])
        await bus.publish_many(orders(30)[20:])
        await happens(lambda: len(held) == 4)
        backlog, health = await bus.backlog("orders", "billing"), await bus.stream_health("orders")
        told = {"length": health.entries, "waiting": backlog.waiting, "pending": backlog.pending, "dead": backlog.dead}
        url = bus.serve_health(0).url
        metrics = dict[str, int]()

        async def scraped() -> bool:
            metrics.update(_stream_metrics(await samples_of(url)))
            return metrics == known

        await happens(scraped, 5.0, every_s=_ASK_S)
        go_on.set()
    text = ", ".join(f"{name} {number}" for name, number in told.items())
    same = "the same" if metrics == told else str(metrics)
    return holds(told == known and metrics == known, f"library: {text}; /metrics: {same}")


def _stream_metrics(samples: dict[str, float]) -> dict[str, int]:
    names = {
        "length": ("eventlib_stream_entries", ""),
        "waiting": ("eventlib_backlog_entries", 'state="waiting"'),
        "pending": ("eventlib_backlog_entries", 'state="pending"'),
        "dead": ("eventlib_dead_letters", ""),
    }
    return {
        what: int(sum(value for each, value in samples.items() if each.startswith(f"{name}{{") and label in each))
        for what, (name, label) in names.items()
    }


@claim(
    "S43",
    "Docker Compose for local development",
    theme="operations",
    how="The Compose file is judged by the Compose schema and read: Redis has a health check, keeps its data and is "
    "waited for. No container is started: that needs a Docker engine.",
    threshold="the schema is kept, and nothing of that is missing",
    elsewhere=True,
)
async def compose(site: Site) -> Finding:
    found = await asyncio.to_thread(problems_of_compose)
    if isinstance(found, str):
        return unknown(found)
    return holds(not found, "; ".join(found) or "valid by the Compose schema; Redis is checked, kept and waited for")


@claim(
    "S44",
    "Ready for Kubernetes",
    theme="operations",
    how="The manifests are judged by the schemas of Kubernetes and read: probes, grace, limits, no root. No cluster is "
    "started.",
    threshold="every manifest is valid, and nothing of that is missing",
    elsewhere=True,
)
async def kubernetes(site: Site) -> Finding:
    found = await asyncio.to_thread(problems_of_kubernetes)
    if isinstance(found, str):
        return unknown(found)
    return holds(not found, "; ".join(found) or "valid by the schemas of Kubernetes")


_PROGRAM = """
import asyncio, sys
import eventlib as ev
class Set(ev.Event, type="claims.set", version=1, stream="set"):
    number: int
async def main():
    async with ev.connect(ev.App("claims")) as bus:
        if sys.argv[1:]:
            await bus.publish(Set(number=1))
asyncio.run(main())
"""
_NAMESPACE = "EVENTLIB_BUS_NAMESPACE"


@claim(
    "S45",
    "Configuration is managed by environment variables",
    theme="operations",
    how="A program that sets nothing itself is started with REDIS_URL of the server and a namespace as variables, with "
    "a URL of no server, with a misspelt variable, and with none; it publishes, and its event is looked for.",
    threshold="the event is in that namespace; each of the others says which variable or address is wrong",
    limit_s=60.0,
    elsewhere=True,
)
async def settings(site: Site) -> Finding:
    if importlib.util.find_spec("eventlib.settings") is None:
        return unknown("this version reads REDIS_URL from the environment, and no other setting")
    good = {"REDIS_URL": site.url, _NAMESPACE: site.namespace}
    (status, told), away, misspelt, absent = [
        await asyncio.to_thread(_run, variables, *arguments)
        for variables, *arguments in (
            (good, "publish"),
            ({"REDIS_URL": "redis://127.0.0.1:1/0"},),
            (good | {f"{_NAMESPACE}S": "x"},),
            ({},),
        )
    ]
    async with site.inspector("set", "none") as inspector:
        published = len(await inspector.events())
    clear = ("127.0.0.1" in away[1], _NAMESPACE in misspelt[1], "REDIS_URL" in absent[1])
    text = f"{published} event in the namespace that the variable names; {sum(clear)} of 3 mistakes are named"
    evidence = (told.strip()[-200:],) if status else ()
    return holds(status == 0 and published == 1 and all(clear), text, evidence=evidence)


def _run(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    own = ("REDIS_", "EVENTLIB_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    done = subprocess.run(command, env=kept | environment, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stderr


@claim(
    "S46",
    "Graceful shutdown",
    theme="operations",
    how="A consumer that is asked to stop while it runs two handlers and holds six more events leaves; another one, "
    "which had nothing to do, takes what is given back.",
    threshold="the running handlers end, each event is handled once, and the rest is taken over within 1 s, long "
    "before the lease of 30 s ends",
)
async def shutdown(site: Site) -> Finding:
    app, begun, handled = ev.App("claims"), list[int](), list[int]()
    app.group("billing", concurrency=2, prefetch=6)

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        begun.append(event.number)
        await asyncio.sleep(0.2)
        handled.append(event.number)

    async with site.connect(app) as bus, site.connect(app) as other:
        await bus.publish_many(orders(8))
        async with bus.running(grace_s=10.0):
            await happens(lambda: len(begun) == 2)
        ended, left = sorted(handled), (await bus.backlog("orders", "billing")).total
        begun_s = time.perf_counter()
        async with other.running():
            await happens(lambda: len(begun) >= 4, 3.0)
            taken_s = time.perf_counter() - begun_s
            await drains(bus, "orders", ["billing"])
    once = sorted(begun) == sorted(handled) == list(range(8))
    text = f"{len(ended)} running handlers ended, {left} events given back and taken after {taken_s:.2f} s"
    held = once and len(ended) == 2 and left == 6 and taken_s < 1.0
    return holds(held, f"{text}{'; each handled once' if once else f'; begun {begun}, handled {handled}'}")


def _version_2() -> Any:
    class Order(ev.Event, type="claims.order.placed", version=2, stream="orders"):
        number: int
        currency: str

        @ev.upcast(1, example={"number": 1})
        def _with_currency(data: dict[str, Any]) -> dict[str, Any]:
            return data | {"currency": "EUR"}

    return Order


@claim(
    "S47",
    "Zero-downtime deploys: services are updated independently",
    theme="operations",
    how="Four consumers of version 1 are replaced one by one by consumers of version 2 of the event while 250 events a "
    "second are published; at last the publisher changes to version 2 too.",
    threshold="each event is handled once, none is given up, and the longest time without a handled event is under "
    "0.5 s",
)
async def deploys(site: Site) -> Finding:
    new, handled, at_s = _version_2(), Counter[int](), list[float]()

    def app_of(event_class: type[ev.Event]) -> ev.App:
        app = ev.App("claims")
        app.group("billing", concurrency=4)

        @app.subscribe(event_class, group="billing")
        async def bill(event: Any, _: ev.Delivery) -> None:
            await asyncio.sleep(0.004)
            handled[event.number] += 1
            at_s.append(time.perf_counter())

        return app

    published, stop = 0, asyncio.Event()

    async def publish(bus: ev.Bus) -> None:
        nonlocal published
        while not stop.is_set():
            made = new(number=published, currency="USD") if upgraded.is_set() else OrderPlaced(number=published)
            published += 1
            await bus.publish(made)
            await asyncio.sleep(0.004)

    old_app, new_app, upgraded = app_of(OrderPlaced), app_of(new), asyncio.Event()
    async with site.connect(ev.App("shop")) as shop, AsyncExitStack() as last:
        old = [AsyncExitStack() for _ in range(4)]
        for stack in old:
            bus = await stack.enter_async_context(site.connect(old_app))
            await stack.enter_async_context(bus.running())
        publishing = asyncio.create_task(publish(shop))
        for stack in old:
            await asyncio.sleep(0.2)
            bus = await last.enter_async_context(site.connect(new_app))
            await last.enter_async_context(bus.running())
            await stack.aclose()
        upgraded.set()
        await asyncio.sleep(0.3)
        stop.set()
        await publishing
        await drains(shop, "orders", ["billing"])
        dead = (await shop.backlog("orders", "billing")).dead
    once = handled == Counter(range(published))
    gap_s = float(np.diff(at_s).max())
    text = f"{sum(handled.values())} calls for {published} events, {dead} given up; longest pause {1000 * gap_s:.0f} ms"
    return holds(once and not dead and gap_s < 0.5, text, pause_s_max=gap_s)


@claim(
    "S48",
    "Faults are isolated: the failure of one service does not cascade",
    theme="operations",
    how="A service handles a steady load alone, and then beside one that fails every event, one that hangs and one "
    "that is not there; the lag of the first one is compared.",
    threshold="each of its events is handled once, and its median lag grows by less than 50 ms",
)
async def isolation(site: Site) -> Finding:
    app, begun_s, lags_s = ev.App("claims"), dict[int, float](), dict[int, float]()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        lags_s[event.number] = time.perf_counter() - begun_s[event.number]

    @app.subscribe(OrderPlaced, group="failing", retry=ev.Retry(attempts=3, wait_s=0.0))
    async def fail(_: OrderPlaced, __: ev.Delivery) -> None:
        raise ConnectionError("always")

    @app.subscribe(OrderPlaced, group="hanging")
    async def hang(_: OrderPlaced, __: ev.Delivery) -> None:
        await asyncio.Event().wait()

    @app.subscribe(OrderPlaced, group="away")
    async def away(_: OrderPlaced, __: ev.Delivery) -> None: ...

    async def load(bus: ev.Bus, first: int) -> float:
        for number in range(first, first + 100):
            begun_s[number] = time.perf_counter()
            await bus.publish(OrderPlaced(number=number))
            await asyncio.sleep(0.005)
        await happens(lambda: len(lags_s) == first + 100)
        return float(np.median([lags_s.get(number, np.inf) for number in range(first, first + 100)]))

    async with site.connect(app) as bus, bus.running(groups=["billing"]):
        alone_s = await load(bus, 0)
        async with site.connect(app) as other, other.running(groups=["failing", "hanging"], grace_s=0.1):
            beside_s = await load(bus, 100)
            dead = (await bus.backlog("orders", "failing")).dead
    text = (
        f"median lag {1000 * alone_s:.1f} ms alone, {1000 * beside_s:.1f} ms beside them; {len(lags_s)} of 200 handled"
    )
    held = len(lags_s) == 200 and beside_s - alone_s < 0.05
    return holds(held, f"{text}; {dead} given up by the failing one", alone_s=alone_s, beside_s=beside_s)
