"""OpenTelemetry's metrics: the instruments of its messaging conventions, and the same numbers as `/metrics`."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.semconv._incubating.metrics import messaging_metrics as conventions

import eventlib as ev
from eventlib import measuring, opentelemetry
from eventlib.health import probes
from eventlib.opentelemetry.metrics import RECORDS_PER_S, OpenTelemetryMeter, _Thinned
from eventlib.testing import eventually
from tests.probing import get, samples
from tests.shop import AT_ONCE, Connect, OrderPlaced, orders

pytestmark = pytest.mark.one_server  # what is tested is the client's own side

Labels = frozenset[tuple[str, Any]]
BILLING = {"stream": "orders", "group": "billing"}
ABOUT = {"messaging.system": "redis", "messaging.destination.name": "orders"}
OF_BILLING = {**ABOUT, "messaging.consumer.group.name": "billing"}


class Reader:
    """What the SDK would export."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader])

    def metrics(self) -> dict[str, Any]:
        """Metrics by name."""
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> dict[Labels, Any]:
        """The points of a metric by their attributes; none, where it has none."""
        found = self.metrics().get(name)
        return {} if found is None else {frozenset(point.attributes.items()): point for point in found.data.data_points}

    async def value(self, name: str, attributes: dict[str, Any]) -> float | None:
        """The value of one point, collected in another thread, as readers do."""
        points = await asyncio.to_thread(self.points, name)
        point = points.get(frozenset(attributes.items()))
        return None if point is None else point.value


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    opentelemetry.instrument(meter_provider=made.provider)
    yield made
    opentelemetry.uninstrument()
    made.provider.shutdown()
    assert measuring.active is None and probes.when_closed is None


def app_with_failures() -> ev.App:
    """Orders below 10 are handled, the others fail twice and are dead."""
    app = ev.App("shop")

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2, wait_s=0.0))
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        if event.number >= 10:
            raise ValueError(event.number)

    return app


async def test_instruments_have_the_names_and_units_of_the_conventions(connect: Connect, reader: Reader) -> None:
    async with connect(app_with_failures()) as bus, bus.running():
        await bus.publish_many(orders(1, 2, 3, 10))
        await bus.drained("orders", "billing")
        found = await asyncio.to_thread(reader.metrics)
        wanted = MeterProvider([]).get_meter("conventions")
        for create in (
            conventions.create_messaging_client_sent_messages,
            conventions.create_messaging_client_consumed_messages,
            conventions.create_messaging_client_operation_duration,
            conventions.create_messaging_process_duration,
        ):
            instrument: Any = create(wanted)
            metric = found[instrument.name]
            assert (metric.unit, metric.description) == (instrument.unit, instrument.description)
        points = {name: reader.points(name) for name in found if name.startswith("messaging.")}
    sent = {**ABOUT, "messaging.operation.name": "publish"}
    assert points["messaging.client.sent.messages"][frozenset(sent.items())].value == 4
    consumed = {**OF_BILLING, "messaging.operation.name": "process"}
    assert points["messaging.client.consumed.messages"][frozenset(consumed.items())].value == 5
    processed = {**OF_BILLING, "messaging.operation.name": "process", "messaging.operation.type": "process"}
    times = points["messaging.process.duration"]
    assert times[frozenset(processed.items())].count == 3
    assert times[frozenset({**processed, "error.type": "ValueError"}.items())].count == 2
    asked = {
        (dict(labels)["messaging.operation.name"], dict(labels)["messaging.operation.type"]): point.count
        for labels, point in points["messaging.client.operation.duration"].items()
    }
    assert asked.keys() == {("publish", "send"), ("ack", "settle"), ("retry", "settle"), ("dead_letter", "settle")}
    assert asked["retry", "settle"] == asked["dead_letter", "settle"] == 1


async def test_both_ways_show_the_same_numbers(connect: Connect, reader: Reader) -> None:
    """Each number of /metrics has an instrument, under the name that an exporter to Prometheus gives it back."""
    async with connect(app_with_failures()) as bus:
        url = bus.serve_health(0).url
        async with bus.running():
            await bus.publish_many(orders(1, 2, 10))
            await bus.drained("orders", "billing")
        await bus.publish_many(orders(4, 5))
        waits = {**BILLING, "state": "waiting"}
        await eventually(lambda: is_two(reader, waits))  # the server is looked at once a second
        await eventually(lambda: have_left(reader))  # the program is noted twice a second
        found = await asyncio.to_thread(reader.metrics)
        shown = samples((await get(url, "/metrics")).text)
    units = {"s": "_seconds", "By": "_bytes", "": ""}
    told = {}
    for name, metric in found.items():
        if name.startswith("eventlib.") and name != "eventlib.lag":
            total = "_total" if type(metric.data).__name__ == "Sum" else ""
            for point in metric.data.data_points:
                written = name.replace(".", "_") + units[metric.unit] + total
                told[written, frozenset(point.attributes.items())] = point.value
    own = {
        (name, frozenset(labels)): value
        for (name, labels), value in shown.items()
        if name.startswith("eventlib_") and not name.startswith(("eventlib_lag_", "eventlib_handling_"))
    }
    assert told.keys() == own.keys() and len(own) > 25
    moving = [name for name, _ in own if name.endswith("_seconds")]
    assert {each: told[each] for each in told if each[0] not in moving} == {
        each: own[each] for each in own if each[0] not in moving
    }
    assert own["eventlib_backlog_entries", frozenset(waits.items())] == 2
    assert own["eventlib_backlog_oldest_seconds", frozenset(BILLING.items())] > 0


async def have_left(reader: Reader) -> bool:
    """Whether it is noted that the consumers have ended."""
    ready = await reader.value("eventlib.ready", {})
    return not ready and await reader.value("eventlib.consumer_paused", BILLING) is None


async def test_tasks_that_are_enqueued_are_sent_messages_and_events_are_not_counted_twice(
    connect: Connect, reader: Reader
) -> None:
    app = ev.App("shop")

    @app.task(queue="mail", unique_by=["number"])
    async def receipt(number: int) -> None: ...

    async with connect(app) as bus:
        url = bus.serve_health(0).url
        await bus.publish_many(orders(1, 2))
        await bus.tasks.enqueue_many([receipt.call(number) for number in range(3)])
        with pytest.raises(ev.UniqueKeyInUse):
            await bus.enqueue(receipt)(2)
        sent = await asyncio.to_thread(reader.points, "messaging.client.sent.messages")
        asked = await asyncio.to_thread(reader.points, "messaging.client.operation.duration")
        shown = samples((await get(url, "/metrics")).text)
    counted = {
        (labels["messaging.destination.name"], labels.get("error.type")): point.value
        for labels, point in ((dict(each), point) for each, point in sent.items())
    }
    assert counted == {("orders", None): 2, ("tasks.mail", None): 3, ("tasks.mail", "_OTHER"): 1}
    timed = {
        (labels["messaging.destination.name"], labels.get("error.type")): point.count
        for labels, point in ((dict(each), point) for each, point in asked.items())
    }
    assert timed == {("orders", None): 1, ("tasks.mail", None): 1, ("tasks.mail", "eventlib.errors.UniqueKeyInUse"): 1}
    totals = {
        (name.removeprefix("eventlib_").removesuffix("_total"), *dict(labels).values()): value
        for (name, labels), value in shown.items()
        if name.startswith(("eventlib_events_", "eventlib_tasks_"))
    }
    assert totals == {
        ("events_published", "orders"): 2,
        ("events_duplicate", "orders"): 0,
        ("events_unpublished", "orders"): 0,
        ("tasks_enqueued", "mail"): 3,
        ("tasks_unenqueued", "mail"): 1,
    }


async def is_two(reader: Reader, waits: dict[str, Any]) -> bool:
    return await reader.value("eventlib.backlog_entries", waits) == 2


async def test_what_was_counted_stays_when_its_bus_closes(connect: Connect, reader: Reader) -> None:
    sent, counted = {**ABOUT, "messaging.operation.name": "publish"}, list[float | None]()
    for _ in range(2):
        async with connect(ev.App("shop")) as bus, connect(ev.App("beside")) as beside:
            await bus.publish_many(orders(1, 2))
            await beside.publish_many(orders(3))
            counted.append(await reader.value("messaging.client.sent.messages", sent))
        counted.append(await reader.value("messaging.client.sent.messages", sent))
    assert counted == [3, 3, 6, 6]
    assert await reader.value("eventlib.ready", {}) is None  # a gauge of a bus that has closed would be a lie


async def test_a_provider_that_was_replaced_is_told_nothing_and_goes_on_when_it_is_back(
    connect: Connect, reader: Reader
) -> None:
    sent, other, counted = {**ABOUT, "messaging.operation.name": "publish"}, Reader(), list[float | None]()
    async with connect(ev.App("shop")) as bus:
        await bus.publish_many(orders(1, 2))
        for provider in (other.provider, None, reader.provider):
            if provider is None:
                opentelemetry.uninstrument()
            else:
                opentelemetry.instrument(meter_provider=provider)
            counted += [await each.value("messaging.client.sent.messages", sent) for each in (reader, other)]
    counted.append(await reader.value("messaging.client.sent.messages", sent))  # it closes, and what it counted stays
    other.provider.shutdown()
    assert counted == [None, 2, None, None, 2, None, 2]


async def test_attributes_are_few_whatever_happens(connect: Connect, reader: Reader) -> None:
    app = ev.App("shop")

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        raise type(f"Error{event.number}", (Exception,), {})

    async with connect(app) as bus:
        for number in range(2):
            async with bus.running(consumer=f"worker-{number}"):
                await bus.publish_many(orders(*range(number * 30, number * 30 + 30)))
                await bus.drained("orders", "billing")
        found = await asyncio.to_thread(reader.metrics)
    errors = [point.attributes["error.type"] for point in found["messaging.process.duration"].data.data_points]
    assert len(errors) == 21 and "_OTHER" in errors
    for name, metric in found.items():
        for point in metric.data.data_points:
            assert not {"worker-0", "worker-1"} & {*map(str, point.attributes.values())}, name
            assert len(metric.data.data_points) <= 25, name


async def test_a_blocked_loop_and_its_own_thread_stop_no_collection(connect: Connect, reader: Reader) -> None:
    async with connect(app_with_failures()) as bus, bus.running():
        assert reader.points("eventlib.look_success")[frozenset()].value == 0  # it cannot wait for itself
        collecting = asyncio.create_task(asyncio.to_thread(reader.metrics))
        await asyncio.sleep(0)
        time.sleep(0.5)  # noqa: ASYNC251 - a handler that blocks
        assert "eventlib.ready" in await collecting

        async def both_know() -> bool:
            """What another thread has just seen, this one knows too."""
            seen = await reader.value("eventlib.look_success", {})
            return bool(seen and reader.points("eventlib.look_success")[frozenset()].value)

        await eventually(both_know)


async def test_nothing_is_watched_or_recorded_where_nothing_is_instrumented(connect: Connect) -> None:
    async with connect(app_with_failures()) as bus, bus.running():
        await bus.publish_many(orders(1))
        await bus.drained("orders", "billing")
        assert bus._probes.watch is None and measuring.active is None
    opentelemetry.instrument()  # the program sets no provider: no reader ever asks
    try:
        async with connect(app_with_failures()) as bus, bus.running():
            await bus.publish_many(orders(1))
            await bus.drained("orders", "billing")
            assert bus._probes.watch is None and isinstance(measuring.active, OpenTelemetryMeter)
    finally:
        opentelemetry.uninstrument()


def test_very_many_are_thinned_out_by_number_and_few_are_all_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def recorded_in_a_second(thinned: _Thinned, calls: int) -> int:
        recorded = 0
        for _ in range(calls):
            clock[0] += 1.0 / calls
            recorded += thinned.times(1)
        return recorded

    few, many, burst = _Thinned(), _Thinned(), _Thinned()
    assert [recorded_in_a_second(few, 50) for _ in range(3)] == [50, 50, 50]
    first, *later = [recorded_in_a_second(many, 20_000) for _ in range(4)]
    assert first < 10 * RECORDS_PER_S
    assert all(RECORDS_PER_S * 0.9 <= each <= RECORDS_PER_S * 2 for each in later)
    assert sum(recorded_in_a_second(many, 50) for _ in range(10)) >= 250  # soon all again
    assert sum(burst.times() for _ in range(150)) > RECORDS_PER_S  # at once, and then few
    assert [recorded_in_a_second(burst, 20) for _ in range(4)][2:] == [20, 20]
    assert _Thinned().times(1_000_000) == RECORDS_PER_S


class Told:
    """A meter that notes what it is told of handlers: whether they failed, and how many calls each stands for."""

    def __init__(self, *, all_wanted: bool) -> None:
        self.handlers = list[tuple[bool, int]]()
        self._all_wanted = all_wanted

    def handled(self, stream: str, group: str, took_s: float, error: BaseException | None, stands_for: int) -> bool:
        assert (stream, group) == ("orders", "billing") and took_s >= 0.0
        self.handlers.append((error is not None, stands_for))
        return self._all_wanted

    def late(self, *_: object) -> None: ...

    def asked(self, *_: object) -> None: ...


@pytest.mark.parametrize("all_wanted", [True, False])
async def test_of_many_calls_that_succeed_one_in_four_is_told_and_every_failure(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, all_wanted: bool
) -> None:
    told, app = Told(all_wanted=all_wanted), ev.App("shop")
    monkeypatch.setattr(measuring, "active", told)
    app.group("billing", concurrency=10, prefetch=500)

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=1))
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        if event.number % 100 == 99:
            raise ValueError(event.number)

    async with connect(app) as bus:
        await bus.publish_many(orders(*range(2_000)))
        async with bus.running():
            await bus.drained("orders", "billing")
    failures = [stands_for for failed, stands_for in told.handlers if failed]
    successes = [stands_for for failed, stands_for in told.handlers if not failed]
    assert failures == [1] * 20
    if all_wanted:  # it finds them few
        assert successes == [1] * 1_980
    else:
        assert len(successes) < 2_000 / 3 and set(successes) <= {1, 2, 3, 4}
        # A call that is due to be told and fails stands for itself alone, not for the three before it.
        assert 2_000 - 4 * 20 - 3 <= sum(successes) <= 2_000
