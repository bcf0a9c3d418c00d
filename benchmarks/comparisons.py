"""What is compared with what, and the target of each."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from benchmarks import ours, raw, simulator

COUNT = 20_000  # events in one turn of a consumer or of a bulk publisher
LATENESS, FLOOR_LATENESS = "load_lateness_p99", "floor_lateness_p99"
LATE_MS = 1.0  # later than this, and the machine was too busy for latencies to mean much
IN_TURN = 10_000  # events in one turn of single publishes, each awaited before the next
IN_BURSTS = 50_000  # in one turn of a thousand publishes at once: fewer last a tenth of a second, which says little
PER_S = "events/s"

T = TypeVar("T")
Side = Literal["ours", "peer"]
Measure = Callable[[str, str], tuple[float, ...]]  # takes a server's URL and a namespace; one figure for each row


@dataclass(frozen=True, slots=True)
class Target:
    """What the ratio of ours to the peer's ought to be."""

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
    ours: Measure
    peer: Measure
    turns_a_round: int = 1  # of each side: many short ones, next to each other, see less of the machine's drift


def turn(name: str, side: Side, url: str, namespace: str) -> tuple[float, ...]:
    """One turn of a side of the comparison whose first row is `name`. It pays for no garbage of the turn before."""
    [comparison] = (each for each in comparisons() if each.rows[0].name == name)
    gc.collect()
    gc.freeze()
    return (comparison.ours if side == "ours" else comparison.peer)(url, namespace)


def comparisons() -> list[Comparison]:
    """All of them, in the order of the result."""
    return [*_speeds(), *_latencies(), *_other_peers()]


def _speeds() -> list[Comparison]:
    return [
        Comparison(
            (Row("publish_many", "publish_many / redis-py pipeline", PER_S, Target("at least", 1.3)),),
            _one(ours.publish_many, COUNT),
            _one(raw.pipeline, COUNT),
        ),
        Comparison(
            (Row("make_and_publish_many", "the same, made in the clock / the pipeline", PER_S),),
            _one(ours.make_and_publish_many, COUNT),
            _one(raw.pipeline, COUNT),
        ),
        Comparison(
            (Row("publish_concurrent", "1,000 publish at once / one by one", PER_S, Target("at least", 10.0)),),
            _one(ours.publish_concurrently, IN_BURSTS),
            _one(ours.publish_in_turn, IN_TURN),
            turns_a_round=3,
        ),
        Comparison(
            (Row("handle", "one-event handlers / FastStream's", PER_S, Target("at least", 8.0)),),
            _one(ours.handle, COUNT),
            _faststream_handle,
        ),
        Comparison(
            (Row("handle_batches", "batch handlers / FastStream's", PER_S, Target("at least", 1.5)),),
            _one(ours.handle_batches, 3 * COUNT),
            _faststream_handle_batches,
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
            lambda url, namespace: asyncio.run(ours.latency(url, namespace)),
            _faststream_latency,
            turns_a_round=6,
        ),
        Comparison(
            (
                Row("floor_p50", "latency at 100/s, p50 / two bare connections'", "ms"),
                Row("floor_p99", "latency at 100/s, p99 / two bare connections'", "ms"),
                Row(FLOOR_LATENESS, "how late the load was, p99 / two bare connections'", "ms"),
            ),
            lambda url, namespace: asyncio.run(ours.latency(url, namespace)),
            lambda url, namespace: asyncio.run(raw.latency(url, namespace)),
        ),
    ]


def _other_peers() -> list[Comparison]:
    return [
        Comparison(
            (Row("taskiq_publish", "publish one by one / taskiq's", PER_S),),
            _one(ours.publish_in_turn, IN_TURN),
            _taskiq_publish,
        ),
        Comparison(
            (Row("taskiq_handle", "one-event handlers / taskiq's tasks", PER_S),),
            _one(ours.handle, COUNT),
            _taskiq_handle,
        ),
        Comparison(
            (Row("simulator", "simulate quickstart / bare SimPy", "messages/s"),),
            lambda *_: (simulator.quickstart(),),
            lambda *_: (simulator.bare(),),
        ),
    ]


def _one(measure: Callable[..., Coroutine[Any, Any, float]], *args: int) -> Measure:
    """Of a coroutine function that gives one figure, on plain asyncio."""
    return lambda url, namespace: (asyncio.run(measure(url, namespace, *args)),)


# The peers, each on uvloop, which their own command lines take where it is installed. They are development extras, so
# they are imported where they are measured: the rest runs without them.


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


def _on_uvloop(work: Coroutine[Any, Any, T]) -> T:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
