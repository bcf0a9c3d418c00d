"""Metrics: they count what happened, their names follow the conventions, and their number depends on declarations."""

import asyncio
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis.asyncio as redis
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

import eventlib as ev
from eventlib.broker.streams import StreamCommands
from eventlib.consume import settlement
from eventlib.policy import Lease
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.waiting import eventually
from tests.probing import ask, get, samples, value
from tests.shop import AT_ONCE, Connect, OrderPlaced, new_app, orders

pytestmark = pytest.mark.one_server  # what is tested is the client's own side

BILLING = {"stream": "orders", "group": "billing"}
# Source: the rules of promlint, which `promtool check metrics` applies: names, units, `_total` and help texts.
ABBREVIATED = {"s", "ms", "us", "ns", "sec", "b", "kb", "mb", "m", "h", "d", "c"}
NO_BASE_UNITS = {"milliseconds", "microseconds", "nanoseconds", "minutes", "hours", "days", "kilobytes", "megabytes"}
KINDS = {"gauge", "counter", "histogram", "summary"}


def app_with_failures() -> ev.App:
    """Orders below 10 are handled; the tens fail once, others fail always. A task too."""
    app = ev.App("shop")
    failed = set[int]()

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        if event.number >= 10 and (event.number % 10 or event.number not in failed):
            failed.add(event.number)
            raise ValueError(event.number)

    @app.task(queue="mail")
    async def send(number: int) -> None: ...

    app_with_failures.send = send  # type: ignore[attr-defined]
    return app


def complaints(text: str) -> list[str]:
    """What promlint would say of an exposition."""
    counters = re.findall(r"# TYPE (\S+) counter", text)
    found = [f"{name} is a counter" for name in counters if not name.endswith("_total")]
    for family in text_string_to_metric_families(text):
        name, words = family.name, set(family.name.split("_"))
        if not family.documentation:
            found.append(f"{name}: no help text")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            found.append(f"{name}: not in snake case")
        if words & (ABBREVIATED | NO_BASE_UNITS | KINDS):
            found.append(f"{name}: {words & (ABBREVIATED | NO_BASE_UNITS | KINDS)}")
        for sample in family.samples:
            if family.type == "gauge" and sample.name.endswith(("_total", "_count", "_sum", "_bucket")):
                found.append(f"{sample.name} is a {family.type}")
            if family.type != "histogram" and "le" in sample.labels:
                found.append(f"{sample.name} looks like a histogram")
            if any(not re.fullmatch(r"[a-z_]+", label) for label in sample.labels):
                found.append(f"{sample.name}: labels {sorted(sample.labels)}")
    return found


async def test_deliveries_and_publishes_are_counted(connect: Connect) -> None:
    app = app_with_failures()
    async with connect(app) as bus:
        url = bus.serve_health(0).url
        async with bus.running():
            await bus.publish_many(orders(1, 2, 3, 10, 11))
            await bus.publish(OrderPlaced(number=4), id="four", unique_for_s=60.0)
            await bus.publish(OrderPlaced(number=4), id="four", unique_for_s=60.0)
            handle = await bus.enqueue(app_with_failures.send, delay_s=3600.0)(1)  # type: ignore[attr-defined, arg-type]
            await bus.drained("orders", "billing")
            await bus.pause(queue="mail")
            text = (await get(url, "/metrics")).text
            await handle.cancel()
    found = {
        name: value(text, f"eventlib_{name}", **BILLING)
        for name in (
            "deliveries_handled_total",
            "deliveries_failed_total",
            "deliveries_retried_total",
            "deliveries_dead_total",
            "deliveries_taken_over_total",
            "leases_lost_total",
            "lag_seconds_count",
            "handling_seconds_count",
            "dead_letters",
        )
    }
    assert list(found.values()) == [5.0, 4.0, 3.0, 1.0, 0.0, 0.0, 5.0, 9.0, 1.0], found
    assert value(text, "eventlib_events_published_total", stream="orders") == 7.0
    assert value(text, "eventlib_events_duplicate_total", stream="orders") == 1.0
    assert value(text, "eventlib_stream_entries", stream="orders") == 6.0
    assert value(text, "eventlib_backlog_entries", **BILLING, state="waiting") == 0.0
    assert value(text, "eventlib_queue_tasks", queue="mail", state="delayed") == 1.0
    assert value(text, "eventlib_queue_waiting_tasks", queue="mail", priority="normal") == 0.0
    assert value(text, "eventlib_queue_paused", queue="mail") == 1.0
    assert value(text, "eventlib_ready") == value(text, "eventlib_look_success") == 1.0
    assert 0.0 < (value(text, "eventlib_handling_seconds_sum", **BILLING) or 0.0) < 5.0


async def test_both_formats_parse_and_break_no_rule_of_promlint(connect: Connect) -> None:
    app = app_with_failures()
    async with connect(app) as bus, bus.running():
        url = bus.serve_health(0).url
        await bus.publish_many(orders(1, 11))
        await bus.drained("orders", "billing")
        plain = await get(url, "/metrics")
        newer = await get(url, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert plain.headers["Content-Type"].startswith("text/plain; version=")
    assert newer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    own = {family.name for family in text_string_to_metric_families(plain.text) if family.name.startswith("eventlib_")}
    assert own == {family.name for family in open_metrics(newer.text) if family.name.startswith("eventlib_")}  # type: ignore[no-untyped-call]
    assert len(own) > 25 and not complaints(plain.text)


def test_the_rules_find_faults() -> None:
    for bad in ("lag_ms 1", "lagSeconds 1", "handled_total 1", "lag_gauge 1"):
        assert complaints(f"# HELP {bad.split()[0]} x\n# TYPE {bad.split()[0]} gauge\n{bad}\n"), bad
    assert complaints("# HELP handled x\n# TYPE handled counter\nhandled 1\n")
    assert complaints("# TYPE lag_seconds gauge\nlag_seconds 1\n")


async def test_trap_45_the_number_of_series_depends_on_declarations_alone(connect: Connect) -> None:
    """Not on events, errors, runs or consumers; and what was counted stays when its consumer has ended."""
    app = app_with_failures()

    async def with_consumers() -> str | None:
        """What is shown when it is noted, as twice a second, that both consumers run."""
        text = (await get(url, "/metrics")).text
        return text if text.count("\neventlib_consumer_paused{") == 2 else None

    async with connect(app) as bus:
        url = bus.serve_health(0).url
        series, handled = list[set[object]](), list[float | None]()
        for number in range(3):
            async with bus.running(consumer=f"worker-{number}"):
                await bus.publish_many(orders(number, 100 + number * 7))
                await bus.drained("orders", "billing")
                text = await eventually(with_consumers) or ""
                series.append(set(samples(text)))
                handled.append(value(text, "eventlib_deliveries_handled_total", **BILLING))
                assert "worker-" not in text
        ended = (await get(url, "/metrics")).text
        assert value(ended, "eventlib_deliveries_handled_total", **BILLING) == handled[-1]
    assert series[0] == series[1] == series[2]
    assert None not in handled and handled == sorted(set(handled))  # type: ignore[type-var]


async def test_a_takeover_and_a_lost_lease_are_counted_where_they_happen(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that renews nothing loses its entry to another program."""
    app, release, begun = ev.App("shop"), asyncio.Event(), list[str]()
    app.group("billing", lease_s=0.3)

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        begun.append(delivery.consumer)
        if delivery.consumer == "slow":
            await release.wait()

    async with connect(app) as slow, connect(app) as other:
        urls = [bus.serve_health(0).url for bus in (slow, other)]
        with monkeypatch.context() as patched:
            patched.setattr(Lease, "renew_every_s", 0.9)
            patched.setattr(Lease, "sweep_wait_s", lambda *_: 0.1 if begun else 3600.0)  # the slow one never sweeps
            async with slow.running(consumer="slow"):
                await slow.publish(OrderPlaced(number=1))
                await eventually(lambda: begun == ["slow"])
                async with other.running(consumer="other"):
                    await eventually(lambda: "other" in begun)
                    await eventually(lambda: slow.counts()["orders", "billing"].lost == 1)
                    texts = [(await get(url, "/metrics")).text for url in urls]
                release.set()
    lost = [value(text, "eventlib_leases_lost_total", **BILLING) for text in texts]
    taken = [value(text, "eventlib_deliveries_taken_over_total", **BILLING) for text in texts]
    assert (lost, taken) == ([1.0, 0.0], [0.0, 1.0])


async def test_the_lag_is_from_appending_to_handling(connect: Connect, raw: redis.Redis) -> None:
    """They are handled when they are 300 ms old by the clock of the server."""
    app, _ = new_app()
    async with connect(app) as bus:
        await bus.publish_many(orders(*range(40)))
        published_s, micros = await raw.time()

        async def are_old() -> bool:
            now_s, now_micros = await raw.time()
            return bool(now_s - published_s + (now_micros - micros) / 1e6 >= 0.3)

        await eventually(are_old)
        async with bus.running():
            await bus.drained("orders", "billing")
            await bus.publish(OrderPlaced(number=99))
            await bus.drained("orders", "billing")
            lag = bus.counts()["orders", "billing"].lag
            assert sum(lag.counts) == 41  # each counts, though not each was looked at
            assert lag.total >= 40 * 0.25
            assert lag.total < 41 * 20.0


async def test_while_much_is_handled_some_lags_stand_for_all(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    app = ev.App("shop")
    looks = list[int]()

    @app.subscribe_batch(OrderPlaced, group="billing", size=500)
    async def bill(batch: ev.Batch[OrderPlaced]) -> None: ...

    async with connect(app) as bus, bus.running():
        await eventually(lambda: next(iter(bus._running._running))._session.clock.known)
        [consumer] = bus._running._running
        lag = consumer.counts.lag
        monkeypatch.setattr(type(lag), "add", lambda own, _, times=1: looks.append(times) if own is lag else None)
        await bus.publish_many(orders(*range(500)))
        await bus.drained("orders", "billing")
    assert sum(looks) == 500 and max(looks) >= settlement._LAG_OF_EVERY
    assert len(looks) < 100


async def test_a_scrape_asks_once_for_the_backlog_of_each_group(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, backlog = list[tuple[str, str]](), StreamCommands.backlog

    async def counted(self: StreamCommands, stream: str, group: str) -> ev.Backlog:
        asked.append((stream, group))
        return await backlog(self, stream, group)

    monkeypatch.setattr(StreamCommands, "backlog", counted)
    app, _ = new_app()

    @app.subscribe(OrderPlaced, group="audit")
    async def note(_: OrderPlaced, __: ev.Delivery) -> None: ...

    async with connect(app) as bus:
        server = bus.serve_health(0)
        async with bus.running(groups=["billing"]):  # the server knows nothing of the other group
            await bus.publish_many(orders(1))
        asked.clear()
        text = (await get(server.url, "/metrics")).text
    assert sorted(asked) == [("orders", "audit"), ("orders", "billing")]
    assert value(text, "eventlib_backlog_entries", stream="orders", group="audit", state="waiting") == 1.0


async def test_a_server_that_is_away_leaves_counters_and_no_old_numbers(connect: Connect, url: str) -> None:
    app, handled = new_app()
    async with fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus, bus.running():
        address = bus.serve_health(0).url
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: handled == [1])
        assert "eventlib_backlog_entries{" in (await get(address, "/metrics")).text
        faulty.refusing = True
        faulty.cut()

        async def failed() -> str:
            text = (await get(address, "/metrics")).text
            return text if value(text, "eventlib_look_success") == 0.0 else ""

        text = await eventually(failed)
        assert value(text, "eventlib_deliveries_handled_total", **BILLING) == 1.0
        assert "eventlib_backlog_entries{" not in text
        faulty.refusing = False

        async def reconnected() -> bool:
            text = (await get(address, "/metrics")).text
            return "eventlib_backlog_entries{" in text and (value(text, "eventlib_reconnects_total") or 0.0) >= 1.0

        await eventually(reconnected)


async def test_a_spool_tells_its_size(connect: Connect, url: str, tmp_path: Path) -> None:
    app, spool = ev.App("shop"), ev.Spool(tmp_path / "shop.spool")
    async with fault_proxy(url) as faulty, connect(app, url=faulty.url, outage_policy=spool) as bus:
        address = bus.serve_health(0).url
        faulty.refusing = True
        faulty.cut()
        await bus.publish(OrderPlaced(number=1))

        async def spooled() -> bool:
            return (value((await get(address, "/metrics")).text, "eventlib_spool_bytes") or 0.0) > 100.0

        await eventually(spooled)
        assert value((await get(address, "/metrics")).text, "eventlib_spool_limit_bytes") == 256.0 * 2**20
        faulty.refusing = False

        async def replayed() -> bool:
            return value((await get(address, "/metrics")).text, "eventlib_spool_bytes") == 0.0

        await eventually(replayed)


async def test_a_scrape_while_the_loop_is_blocked_gets_the_counters(connect: Connect) -> None:
    app, handled = new_app()
    async with connect(app) as bus, bus.running():
        url = bus.serve_health(0).url
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: handled == [1])
        texts, done = list[str](), threading.Event()

        def scrape() -> None:
            texts.append(ask(url, "/metrics").text)
            done.set()

        threading.Thread(target=scrape).start()
        assert done.wait(30.0)  # blocks the loop
    assert value(texts[0], "eventlib_deliveries_handled_total", **BILLING) == 1.0
    assert value(texts[0], "eventlib_look_success") == 0.0


async def test_without_the_extra_the_line_that_installs_it_is_told(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "eventlib.health.metrics", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    app, _ = new_app()
    async with connect(app) as bus:
        url = bus.serve_health(0).url
        found = await get(url, "/metrics")
        assert found.status == 404 and "pip install 'event-workbench[metrics]'" in found.text
        assert (await get(url, "/livez")).status == 200


def test_importing_the_library_brings_no_server_and_no_metrics() -> None:
    program = "import sys, eventlib; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"http.server", "prometheus_client", "eventlib.health.watch", "eventlib.operate.serving"}
    assert not heavy & set(done.stdout.split())
