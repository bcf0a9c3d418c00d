"""What is compared with what, and the target of each."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, TypeVar

from benchmarks import library, raw, requests, sagas, tasks

COUNT = 20_000  # events in one turn of a consumer or of a bulk publisher
LATENESS, FLOOR_LATENESS, REQUEST_LATENESS = "load_lateness_p99", "floor_lateness_p99", "request_lateness_p99"
LATE_MS = 1.0  # if the load is later than this, the machine is too busy to measure latencies
IN_TURN = 10_000  # events in one turn of single publishes, each awaited before the next
OUTSTANDING = 5_000  # requests at once
REQUESTS_IN_TURN = 1_000  # in one turn of requests that wait for one another
IN_BURSTS = 50_000  # events in one turn of a thousand publishes at once: fewer take too short a time to measure

T = TypeVar("T")
Side = Literal["workbench", "peer"]
Measure = Callable[[str, str], tuple[float, ...]]  # takes a server's URL and a namespace; one figure for each row


@dataclass(frozen=True, slots=True)
class Target:
    """What the ratio of the workbench's figure to the peer's should be."""

    side: Literal["at least", "below"]
    ratio: float

    def met(self, ratio: float) -> bool:
        return ratio >= self.ratio if self.side == "at least" else ratio < self.ratio

    def __str__(self) -> str:
        return f"{self.side} {self.ratio:g} x"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result."""

    name: str
    what: str
    unit: str
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides that take turns; each turn of a side gives a figure for every row."""

    rows: tuple[Row, ...]
    workbench: Measure
    peer: Measure
    turns_a_round: int = 1  # of each side: the machine's drift matters less to many short turns next to each other


def turn(name: str, side: Side, url: str, namespace: str) -> tuple[float, ...]:
    """One turn of a side of the comparison whose first row is `name`. Garbage of the turn before is collected first."""
    [comparison] = (each for each in comparisons() if each.rows[0].name == name)
    gc.collect()
    gc.freeze()
    return (comparison.workbench if side == "workbench" else comparison.peer)(url, namespace)


def comparisons() -> list[Comparison]:
    """All comparisons, in the order of the result."""
    return [*_speeds(), *_metrics(), *_latencies(), *_requests(), *_tasks(), *_sagas(), *_simulators()]


def _speeds() -> list[Comparison]:
    per_s = "events/s"
    return [
        Comparison(
            (Row("publish_many", "publish_many / redis-py pipeline", per_s, Target("at least", 1.3)),),
            _one(library.publish_many, COUNT),
            _one(raw.pipeline, COUNT),
        ),
        Comparison(
            (Row("make_and_publish_many", "the same, events made on the clock / the pipeline", per_s),),
            _one(library.make_and_publish_many, COUNT),
            _one(raw.pipeline, COUNT),
        ),
        Comparison(
            (Row("publish_concurrent", "1,000 publish at once / one by one", per_s, Target("at least", 10.0)),),
            _one(library.publish_concurrently, IN_BURSTS),
            _one(library.publish_in_turn, IN_TURN),
            turns_a_round=3,
        ),
        Comparison(
            (Row("handle", "one-event handlers / FastStream's", per_s, Target("at least", 8.0)),),
            _one(library.handle, COUNT),
            _faststream_handle,
        ),
        Comparison(
            (Row("handle_batches", "batch handlers / FastStream's", per_s, Target("at least", 1.5)),),
            _one(library.handle_batches, 3 * COUNT),
            _faststream_handle_batches,
            turns_a_round=3,
        ),
    ]


def _metrics() -> list[Comparison]:
    return [
        Comparison(
            (
                Row(
                    "metrics",
                    "one-event handlers, metrics scraped every second / no histograms, not scraped",
                    "events/s",
                    Target("at least", 0.97),
                ),
                Row("metrics_cpu", "the same, processor time", "us/event", Target("below", 1.03)),
            ),
            _all(library.handle_scraped, 3 * COUNT),
            _all(library.handle_uncounted, 3 * COUNT),
            turns_a_round=3,
        ),
        Comparison(
            (
                Row(
                    "otel_metrics",
                    "one-event handlers, OpenTelemetry metrics collected every second / none",
                    "events/s",
                ),
                Row("otel_metrics_cpu", "the same, processor time", "us/event"),
            ),
            _all(library.handle_instrumented, 3 * COUNT),
            _all(library.handle_untold, 3 * COUNT),
            turns_a_round=3,
        ),
    ]


def _latencies() -> list[Comparison]:
    return [
        Comparison(
            (
                Row("latency_p50", "latency at 100/s, p50 / FastStream's", "ms", Target("below", 0.7)),
                Row("latency_p99", "latency at 100/s, p99 / FastStream's", "ms", Target("below", 0.7)),
                Row(LATENESS, "how late the load was, p99 / FastStream's", "ms"),
            ),
            lambda url, namespace: asyncio.run(library.latency(url, namespace)),
            _faststream_latency,
            turns_a_round=6,
        ),
        Comparison(
            (
                Row("floor_p50", "latency at 100/s, p50 / two bare connections'", "ms"),
                Row("floor_p99", "latency at 100/s, p99 / two bare connections'", "ms"),
                Row(FLOOR_LATENESS, "how late the load was, p99 / two bare connections'", "ms"),
            ),
            lambda url, namespace: asyncio.run(library.latency(url, namespace)),
            lambda url, namespace: asyncio.run(raw.latency(url, namespace)),
        ),
    ]


def _requests() -> list[Comparison]:
    return [
        Comparison(
            (
                Row("request_p50", "request and reply at 100/s, p50 / one delivery", "ms", Target("below", 2.2)),
                Row("request_p99", "request and reply at 100/s, p99 / one delivery", "ms"),
                Row(REQUEST_LATENESS, "how late the load was, p99 / one delivery's", "ms"),
            ),
            lambda url, namespace: asyncio.run(requests.round_trip(url, namespace)),
            lambda url, namespace: asyncio.run(library.latency(url, namespace)),
            turns_a_round=3,
        ),
        Comparison(
            (Row("requests_at_once", "5,000 requests outstanding / one by one", "requests/s"),),
            _one(requests.at_once, OUTSTANDING),
            _one(requests.in_turn, REQUESTS_IN_TURN),
        ),
    ]


def _tasks() -> list[Comparison]:
    per_s = "events/s"
    return [
        Comparison(
            (Row("taskiq_publish", "publish one by one / taskiq's", per_s),),
            _one(library.publish_in_turn, IN_TURN),
            _taskiq_publish,
        ),
        Comparison(
            (Row("taskiq_handle", "one-event handlers / taskiq's tasks", per_s),),
            _one(library.handle, COUNT),
            _taskiq_handle,
        ),
        Comparison(
            (Row("tasks_taskiq", "tasks one by one / taskiq's", "tasks/s", Target("at least", 3.0)),),
            _one(tasks.handle_events, COUNT),
            _taskiq_handle,
        ),
        Comparison(
            (Row("tasks_streaq", "no-op tasks one by one / streaq's", "tasks/s", Target("at least", 10.0)),),
            _one(tasks.handle, COUNT),
            _streaq_handle,
        ),
        Comparison(
            (Row("enqueue_streaq", "enqueue in batches / streaq's", "tasks/s", Target("at least", 3.0)),),
            _one(tasks.enqueue_many, COUNT),
            _streaq_enqueue,
            turns_a_round=3,
        ),
    ]


def _sagas() -> list[Comparison]:
    return [
        Comparison(
            (Row("saga_steps", "steps of sagas / plain one-event handlers", "1/s"),),
            _one(sagas.steps, IN_TURN),
            _one(library.handle, COUNT),
        ),
    ]


def _simulators() -> list[Comparison]:
    return [
        Comparison(
            (Row("simulator", "simulate quickstart / bare SimPy", "messages/s", Target("at least", 0.5)),),
            lambda *_: (_simulator().quickstart(),),
            lambda *_: (_simulator().bare(),),
            turns_a_round=3,
        ),
        Comparison(
            (Row("simulator_full", "simulate retries, leases, dead letters / bare SimPy", "messages/s"),),
            lambda *_: (_simulator().full(),),
            lambda *_: (_simulator().bare(),),
            turns_a_round=3,
        ),
        Comparison(
            (
                Row(
                    "simulator_metrics",
                    "rows counted as they come / kept and measured",
                    "messages/s",
                    Target("at least", 0.9),
                ),
            ),
            lambda *_: (_simulator().full_without_rows(),),
            lambda *_: (_simulator().full_measured(),),
            turns_a_round=3,
        ),
        Comparison(
            (Row("sweep", "sweep 64 points on two processes / on one", "points/s", Target("at least", 1.8)),),
            lambda *_: (_simulator().swept(2),),
            lambda *_: (_simulator().swept(1),),
        ),
        Comparison(
            (Row("planner", "plan how-many-consumers on two processes / on one", "s", Target("below", 0.7)),),
            lambda *_: (_simulator().planned_s(2),),
            lambda *_: (_simulator().planned_s(1),),
        ),
        Comparison(
            (Row("timer_lateness_p99", "timers of live runs, lateness p99 / asyncio's", "ms"),),
            lambda *given: _timers().lateness(*given),
            lambda *given: _timers().lateness_of_asyncio(*given),
        ),
    ]


def _simulator() -> ModuleType:
    """The simulator's side. It imports much, which every turn of another comparison would wait for."""
    from benchmarks import simulator

    return simulator


def _timers() -> ModuleType:
    """The timers of live runs, imported late for the same reason."""
    from benchmarks import timers

    return timers


def _one(measure: Callable[..., Coroutine[Any, Any, float]], *args: int) -> Measure:
    """The measure of a coroutine function that gives one figure, on plain asyncio."""
    return lambda url, namespace: (asyncio.run(measure(url, namespace, *args)),)


def _all(measure: Callable[..., Coroutine[Any, Any, tuple[float, ...]]], *args: int) -> Measure:
    """The measure of a coroutine function that gives a figure for each row, on plain asyncio."""
    return lambda url, namespace: asyncio.run(measure(url, namespace, *args))


# The peers run on uvloop, which their own command lines use if it is installed. They are development extras, so each is
# only imported when it is measured: the other comparisons run without it.


def _faststream_handle(url: str, namespace: str) -> tuple[float, ...]:
    from benchmarks import faststream_peer

    return (_on_uvloop(faststream_peer.handle(url, namespace, COUNT)),)


def _faststream_handle_batches(url: str, namespace: str) -> tuple[float, ...]:
    from benchmarks import faststream_peer

    return (_on_uvloop(faststream_peer.handle_batches(url, namespace, 3 * COUNT)),)


def _faststream_latency(url: str, namespace: str) -> tuple[float, ...]:
    from benchmarks import faststream_peer

    return _on_uvloop(faststream_peer.latency(url, namespace))


def _taskiq_publish(url: str, namespace: str) -> tuple[float, ...]:
    from benchmarks import taskiq_peer

    return (_on_uvloop(taskiq_peer.publish_in_turn(url, namespace, IN_TURN)),)


def _taskiq_handle(url: str, namespace: str) -> tuple[float, ...]:
    from benchmarks import taskiq_peer

    return (_on_uvloop(taskiq_peer.handle(url, namespace, COUNT)),)


def _streaq_handle(url: str, namespace: str) -> tuple[float, ...]:
    from benchmarks import streaq_peer

    return (_on_uvloop(streaq_peer.handle(url, namespace, COUNT // 4)),)


def _streaq_enqueue(url: str, namespace: str) -> tuple[float, ...]:
    from benchmarks import streaq_peer

    return (_on_uvloop(streaq_peer.enqueue_many(url, namespace, COUNT)),)


def _on_uvloop(work: Coroutine[Any, Any, T]) -> T:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
