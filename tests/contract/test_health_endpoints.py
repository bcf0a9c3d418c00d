"""Probes are told the truth: a blocked loop is not alive, a deaf consumer is not ready, and an outage ends no one."""

import asyncio
import contextlib
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

import eventlib as ev
from eventlib.broker import connections
from eventlib.consume import intake, liveness
from eventlib.health import watch
from eventlib.health.verdicts import Limits, ready
from eventlib.operate import serving
from eventlib.testing import private_server
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.waiting import eventually
from tests.probing import ask, get, status
from tests.shop import Connect, OrderPlaced, new_app

pytestmark = pytest.mark.one_server  # what is tested is the client's own side

DEAF_S = 0.6
BLOCKED_S = 0.5
PROBE_EVERY_S = 0.02  # without a pause, probes alone keep a core busy for as long as the outage lasts


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BLOCK_S", 0.1)
    monkeypatch.setattr(watch, "NOTE_EVERY_S", 0.05)
    monkeypatch.setattr(watch, "ASK_EVERY_S", 0.1)


def waiting_app(**group: float) -> tuple[ev.App, asyncio.Event, asyncio.Event]:
    """An App whose handler has begun, and waits."""
    app, begun, release = ev.App("shop"), asyncio.Event(), asyncio.Event()
    app.group("billing", **group)  # type: ignore[arg-type]

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(_: OrderPlaced, __: ev.Delivery) -> None:
        begun.set()
        await release.wait()

    return app, begun, release


async def becomes(url: str, path: str, wanted: int) -> str:
    """Wait for a status. Returns the text that came with it."""

    async def text() -> str | None:
        reply = await get(url, path)
        return reply.text if reply.status == wanted else None

    return await eventually(text) or ""


async def test_each_path_answers_and_may_not_be_kept(connect: Connect) -> None:
    app, _ = new_app()
    async with connect(app) as bus:
        url = bus.serve_health(0).url
        async with bus.running():
            for path in ("/livez", "/readyz", "/healthz", "/metrics", "/readyz?verbose"):
                found, head = await get(url, path), await get(url, path, "HEAD")
                assert (found.status, head.status, head.text) == (200, 200, ""), path
                assert found.headers["Cache-Control"] == head.headers["Cache-Control"] == "no-store"
                assert int(head.headers["Content-Length"]) > 0 and found.text
                assert found.headers["Server"] == "eventlib"  # and no version
            for path in ("/", "/livez/", "/admin", "/metrics/x"):
                assert await status(url, path) == 404
            for method in ("POST", "PUT", "DELETE", "BREW"):
                refused = await get(url, "/livez", method)
                assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")


async def test_healthz_tells_of_every_consumer_stream_and_queue(connect: Connect) -> None:
    app, handled = new_app()

    @app.task(queue="mail")
    async def send() -> None: ...

    app.schedule("nightly", send, every_s=3600.0)
    async with connect(app) as bus:
        server = bus.serve_health(0)
        async with bus.running(consumer="c1"):
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: handled == [1])
            await bus.drained("orders", "billing")

            async def noted() -> Any:
                told = json.loads((await get(server.url, "/healthz")).text)
                return told if told["consumers"][0]["in_hand"] == 0 and told["groups"][0]["total"] == 0 else None

            told = await eventually(noted)  # what is noted is up to half a second old
    assert (told["alive"], told["ready"], told["problems"]) == (True, True, [])
    assert [(each["stream"], each["group"], each["consumer"]) for each in told["consumers"]] == [
        ("orders", "billing", "c1"),
        ("tasks.mail", "workers", "c1"),
    ]
    assert told["consumers"][0] | {"in_hand": 0, "leaving": False, "running": True} == told["consumers"][0]
    assert [(each["stream"], each["entries"]) for each in told["streams"]] == [("orders", 1)]
    assert [(each["group"], each["total"], each["dead"]) for each in told["groups"]] == [("billing", 0, 0)]
    assert [(each["queue"], each["workers"]) for each in told["queues"]] == [("mail", 1)]
    assert told["schedulers"] == ["mail"]
    assert told["look"]["problem"] is None and told["look"]["age_s"] < 5.0
    assert told["publishing"]["spooled_bytes"] == 0 and told["server"]["problem"] is None


async def test_it_closes_with_the_bus(connect: Connect) -> None:
    app, _ = new_app()
    async with connect(app) as bus:
        servers = [bus.serve_health(0), bus.serve_health(0)]
        assert servers[0].port != servers[1].port
        assert [await status(server.url, "/livez") for server in servers] == [200, 200]
    for server in servers:
        with pytest.raises(ConnectionRefusedError):
            await get(server.url, "/livez")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("eventlib-health")]
    with pytest.raises(ev.BusClosed):
        bus.serve_health(0)
    with pytest.raises(ev.BusClosed):
        ev.health_app(bus)


async def test_a_port_in_use_and_other_bad_arguments_are_told_in_a_line(connect: Connect) -> None:
    app, _ = new_app()
    async with connect(app) as bus:
        port = bus.serve_health(0).port
        with pytest.raises(ev.InvalidArgument, match=rf"port {port} of 127\.0\.0\.1 is in use; give another one, or 0"):
            bus.serve_health(port)
        for wrong in (-1, 65_536, "80"):
            with pytest.raises(ev.InvalidArgument, match="a port from 0 to 65535"):
                bus.serve_health(wrong)  # type: ignore[arg-type]
        with pytest.raises(ev.InvalidArgument, match="a host of this machine"):
            bus.serve_health(0, "203.0.113.1")
        for limit in (0.0, -1.0, float("nan"), "5"):
            with pytest.raises(ev.InvalidArgument, match="blocked_s="):
                bus.serve_health(0, blocked_s=limit)  # type: ignore[arg-type]
            with pytest.raises(ev.InvalidArgument, match="deaf_s="):
                ev.health_app(bus, deaf_s=limit)  # type: ignore[arg-type]


async def test_trap_42_a_blocked_loop_is_neither_alive_nor_ready_and_recovers(connect: Connect) -> None:
    """A thread asks, while the loop does nothing but wait for that thread."""
    app, _ = new_app()
    async with connect(app) as bus, bus.running():
        url = bus.serve_health(0, blocked_s=BLOCKED_S).url
        await becomes(url, "/readyz", 200)
        seen, unheard_s = list[tuple[int, str]](), list[float]()
        done, watching = threading.Event(), bus._probes._watch
        assert watching is not None

        def probe() -> None:
            while (reply := ask(url, "/livez")).status == 200:
                time.sleep(0.02)
            unheard_s.append(time.monotonic() - watching._noted_at_s)
            seen.extend(
                [(reply.status, reply.text)] + [ask(url, path)[:2] for path in ("/readyz", "/healthz", "/metrics")]
            )
            done.set()

        threading.Thread(target=probe).start()
        assert done.wait(30.0)  # blocks the loop
        assert unheard_s[0] >= BLOCKED_S
        [live, ready, health, metrics] = seen
        assert live[0] == ready[0] == health[0] == 503
        assert "the event loop has not gone on for" in live[1] and "a handler may block it" in ready[1]
        assert json.loads(health[1])["look"]["problem"] == "the event loop does not go on"
        assert metrics[0] == 200 and "eventlib_look_success 0.0" in metrics[1]
        assert [await status(url, path) for path in ("/livez", "/readyz", "/healthz")] == [200, 200, 200]


class Clock:
    """A monotonic clock that goes on only where a test says so, however long the machine stands still."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self._begun_s = time.monotonic()

    def monotonic(self) -> float:
        return self._begun_s + self.passed_s


async def test_trap_43_a_deaf_consumer_is_unready_within_ten_seconds(
    connect: Connect, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the limits that hold where none are given. It runs, and its connection stands, but no reply comes."""
    clock, (app, _) = Clock(), new_app()
    for module in (liveness, watch):
        monkeypatch.setattr(module, "time", clock)
    async with fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus, bus.running():
        health = bus.serve_health(0).url
        await becomes(health, "/readyz", 200)
        faulty.swallowing = True
        clock.passed_s = 4.0
        assert await status(health, "/readyz") == 200
        clock.passed_s = 8.5
        told = await becomes(health, "/readyz", 503)
        live = await status(health, "/livez")
        faulty.swallowing = False
        faulty.cut()  # or leaving waits for a reply that was swallowed
        [deaf_s] = re.findall(r"orders/billing has heard nothing for ([\d.]+) s", told)
        assert float(deaf_s) < 10.0 and live == 200


@pytest.mark.parametrize("fault", ["refusing", "swallowing"])
async def test_trap_41_an_outage_makes_unready_and_never_unlive(
    connect: Connect, url: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two faults: the server is away, and a network that drops everything without an error."""
    app, begun, release = waiting_app(lease_s=0.3)
    async with fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus, bus.running():
        health = bus.serve_health(0, deaf_s=DEAF_S).url
        await bus.publish(OrderPlaced(number=1))
        await begun.wait()
        assert (await becomes(health, "/readyz", 200)) == "ready\n"
        live, stop = list[int](), asyncio.Event()

        async def keep_probing() -> None:
            while not stop.is_set():
                live.append(await status(health, "/livez"))
                await asyncio.sleep(PROBE_EVERY_S)

        probing = asyncio.create_task(keep_probing())
        monkeypatch.setattr(connections, "REPLY_TIMEOUT_S", 0.5)
        monkeypatch.setattr(watch, "LOOK_WITHIN_S", 0.3)
        setattr(faulty, fault, True)
        if fault == "refusing":
            faulty.cut()
        why = await becomes(health, "/readyz", 503)
        assert "orders/billing has heard nothing for" in why or "the server has not answered for" in why
        await eventually(lambda: "could not renew its leases" in ask_ready(bus))
        told = await get(health, "/healthz")
        document = json.loads(told.text)
        assert told.status == 503 and document["alive"] and not document["ready"]
        await becomes_problem(health)
        setattr(faulty, fault, False)
        await becomes(health, "/readyz", 200)
        stop.set()
        await probing
        assert set(live) == {200} and len(live) > 3
        release.set()


def ask_ready(bus: ev.Bus) -> str:
    """What keeps the program from being ready, as it was noted last."""
    seen = bus._probes._watch
    assert seen is not None
    return "\n".join(ready(seen.snapshot, 0.0, Limits(deaf_s=DEAF_S)).problems)


async def becomes_problem(url: str) -> None:
    """Wait until a look at the server has failed."""

    async def problem() -> str | None:
        found: str | None = json.loads((await get(url, "/healthz")).text)["look"]["problem"]
        return found

    await eventually(problem)


async def test_a_publisher_alone_is_unready_while_its_server_is_away(binary: Path) -> None:
    with private_server(binary=binary) as server:
        async with ev.connect(ev.App("shop"), server.url, outage_policy=ev.Fail()) as bus:
            url = bus.serve_health(0, deaf_s=DEAF_S).url
            await becomes(url, "/readyz", 200)
            server.kill()
            assert "the server has not answered for" in await becomes(url, "/readyz", 503)
            assert await status(url, "/livez") == 200
            server.start()
            await becomes(url, "/readyz", 200)


async def test_a_program_that_leaves_is_alive_and_not_ready(connect: Connect) -> None:
    app, begun, release = waiting_app()
    async with connect(app) as bus:
        url = bus.serve_health(0).url
        assert await status(url, "/readyz") == 200  # it publishes only, so far

        async def look() -> tuple[int, str]:
            text = await becomes(url, "/readyz", 503)
            return await status(url, "/livez"), text

        async with bus.running():
            await bus.publish(OrderPlaced(number=1))
            await begun.wait()
            await becomes(url, "/readyz", 200)
            looking = asyncio.create_task(look())
            looking.add_done_callback(lambda _: release.set())
        assert await looking == (200, "orders/billing is leaving\n")
        assert await becomes(url, "/readyz", 503) in ("orders/billing is leaving\n", "its consumers have ended\n")
        await eventually(lambda: ask_ready(bus) == "its consumers have ended")
        async with bus.running():
            await becomes(url, "/readyz", 200)


async def test_a_consumer_that_stays_full_is_not_ready(connect: Connect) -> None:
    app, begun, release = waiting_app(concurrency=1, prefetch=0)
    async with connect(app) as bus, bus.running():
        url = bus.serve_health(0, deaf_s=DEAF_S).url
        await bus.publish(OrderPlaced(number=1))
        await begun.wait()
        assert "orders/billing has been full for" in await becomes(url, "/readyz", 503)
        assert await status(url, "/livez") == 200
        release.set()
        await becomes(url, "/readyz", 200)


async def test_silent_clients_hold_up_no_probe_and_threads_are_few(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0.0 < serving._Handler.timeout <= 5.0
    monkeypatch.setattr(serving._Handler, "timeout", 0.3)
    app, _ = new_app()
    async with connect(app) as bus:
        server = bus.serve_health(0)
        opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(serving.WAITING_MAX + 10)]
        await becomes_open(server.url)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("eventlib-health")]
        assert len(threads) <= serving.THREADS + 1
        for _, writer in opened:
            writer.close()


async def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 5.0 <= serving._REQUEST_S <= 30.0
    monkeypatch.setattr(serving, "_REQUEST_S", 0.3)
    async with connect(new_app()[0]) as bus:
        reader, writer = await asyncio.open_connection("127.0.0.1", bus.serve_health(0).port)
        answer = asyncio.create_task(reader.read())

        async def trickle() -> None:
            while not answer.done():
                writer.write(b"G")
                await asyncio.sleep(0.05)

        async with asyncio.timeout(30.0):
            with contextlib.suppress(ConnectionError):
                await trickle()
        assert answer.done()
        answer.exception()  # it may have been reset
        writer.close()


async def becomes_open(url: str) -> None:
    """Wait for an answer. Until silent clients are cut off, a connection may be closed at once."""
    while True:
        try:
            assert await status(url, "/livez") == 200
            return
        except (ConnectionError, OSError):
            await asyncio.sleep(0.05)


async def test_a_loop_that_was_suspended_may_prove_that_it_goes_on(connect: Connect) -> None:
    """As after a machine slept: what was noted is old, and the loop goes on."""
    app, _ = new_app()
    async with connect(app) as bus:
        url = bus.serve_health(0, blocked_s=BLOCKED_S).url
        seen = bus._probes._watch
        assert seen is not None
        seen._tasks[0].cancel()  # it notes nothing more by itself
        seen._noted_at_s -= 3600.0
        assert await status(url, "/livez") == 200


# As an ASGI app


async def test_the_asgi_app_answers_below_its_mount(connect: Connect) -> None:
    app, _ = new_app()
    async with connect(app) as bus, bus.running():
        mounted = httpx.ASGITransport(ev.health_app(bus), root_path="/health")
        async with httpx.AsyncClient(transport=mounted, base_url="http://shop") as client:
            for path in ("/livez", "/readyz", "/healthz", "/metrics"):
                for prefix in ("/health", ""):  # some servers take the mount's path off
                    found = await client.get(prefix + path)
                    assert found.status_code == 200 and found.headers["cache-control"] == "no-store", path
                head = await client.head(path)
                assert (head.status_code, head.text) == (200, "")
            assert (await client.get("/health/else")).status_code == 404
            refused = await client.post("/livez")
            assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
            assert (await client.get("/healthz")).json()["alive"]


async def test_the_asgi_app_is_unready_when_its_server_is_away(connect: Connect, url: str) -> None:
    app, _ = new_app()
    async with fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus, bus.running():
        transport = httpx.ASGITransport(ev.health_app(bus, deaf_s=DEAF_S))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            assert (await client.get("/readyz")).status_code == 200
            faulty.refusing = True
            faulty.cut()

            async def unready() -> bool:
                return (await client.get("/readyz")).status_code == 503

            await eventually(unready)
            assert (await client.get("/livez")).status_code == 200
            faulty.refusing = False


async def test_the_asgi_app_takes_part_in_the_lifespan(connect: Connect) -> None:
    app, _ = new_app()
    events, sent = iter(["lifespan.startup", "lifespan.shutdown"]), list[str]()

    async def receive() -> dict[str, str]:
        return {"type": next(events)}

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message["type"])

    async with connect(app) as bus:
        await ev.health_app(bus)({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_the_asgi_app_refuses_what_is_no_http(connect: Connect) -> None:
    app, _ = new_app()
    sent = list[object]()

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: object) -> None:
        sent.append(message)

    async with connect(app) as bus:
        await ev.health_app(bus)({"type": "websocket", "path": "/livez"}, receive, send)
        with pytest.raises(ev.InvalidArgument, match="'carrier' is no protocol that it speaks; mount it for HTTP"):
            await ev.health_app(bus)({"type": "carrier"}, receive, send)
    assert sent == [{"type": "websocket.close"}]


async def test_who_asks_in_the_loop_finds_that_it_goes_on(connect: Connect) -> None:
    """Right after a handler has blocked it, and when the bus is closed and notes nothing more."""
    app, _ = new_app()
    async with connect(app) as bus:
        asgi = httpx.ASGITransport(app=ev.health_app(bus, blocked_s=0.1))
        async with httpx.AsyncClient(transport=asgi, base_url="http://here") as client:
            assert (await client.get("/livez")).status_code == 200
            time.sleep(0.2)  # noqa: ASYNC251 - what is tested: a handler that blocks the loop for so long
            assert (await client.get("/livez")).status_code == 200
