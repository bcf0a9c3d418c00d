"""The benchmarks measure what they say: a side does all the work or has no speed. None is tested for speed.

The peers' own parts run where they are installed, which `make bench` does.
"""

import asyncio
import importlib
import json
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import redis as blocking
import redis.asyncio as redis
from rich.console import Console
from rich.progress import Progress

from benchmarks import library, memory, raw, requests, server, timers
from benchmarks.__main__ import Turns
from benchmarks.comparisons import Target, comparisons
from benchmarks.evidence import NotDone, Tally
from benchmarks.openloop import COUNT, Stopwatch
from benchmarks.payload import FileUploaded, events
from eventlib import measuring, tracing

TOP = Path(__file__).parents[2]
Side = Callable[..., Coroutine[Any, Any, float]]


@pytest.fixture
def namespace() -> str:
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
async def client(url: str) -> AsyncIterator[redis.Redis]:
    async with redis.Redis.from_url(url) as client:
        yield client


def peer(module: str) -> Any:
    try:
        return importlib.import_module(f"benchmarks.{module}")
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed; `make bench` does it")


async def left_behind(client: redis.Redis, namespace: str) -> list[bytes]:
    return [key async for key in client.scan_iter(f"*{namespace}*")]


@pytest.mark.parametrize(
    "side",
    [
        library.publish_many,
        library.make_and_publish_many,
        library.publish_concurrently,
        library.publish_in_turn,
        library.handle,
        library.handle_batches,
        raw.pipeline,
        requests.at_once,
        requests.in_turn,
    ],
)
async def test_a_side_does_its_work_and_leaves_nothing(
    side: Side, url: str, namespace: str, client: redis.Redis
) -> None:
    assert await side(url, namespace, 700) > 0
    assert not await left_behind(client, namespace)


@pytest.mark.parametrize(
    "side", [library.handle_scraped, library.handle_uncounted, library.handle_instrumented, library.handle_untold]
)
async def test_a_side_that_counts_processor_time_does_its_work(
    side: Callable[[str, str, int], Awaitable[library.Drained]], url: str, namespace: str, client: redis.Redis
) -> None:
    before_s = time.process_time()
    drained = await side(url, namespace, 700)
    spent_us = (time.process_time() - before_s) / 700 * 1e6
    assert drained.per_s > 0 and 0 < drained.cpu_us <= spent_us
    assert not await left_behind(client, namespace)
    assert (measuring.active, tracing.active) == (None, None)


@pytest.mark.parametrize(
    ("module", "side"),
    [
        ("faststream_peer", "handle"),
        ("faststream_peer", "handle_batches"),
        ("taskiq_peer", "publish_in_turn"),
        ("taskiq_peer", "handle"),
    ],
)
async def test_a_peer_does_its_work_and_leaves_nothing(
    module: str, side: str, url: str, namespace: str, client: redis.Redis
) -> None:
    assert await getattr(peer(module), side)(url, namespace, 700) > 0
    assert not await left_behind(client, namespace)


async def test_the_faststream_side_refuses_an_event_that_is_no_file_event(
    url: str, namespace: str, client: redis.Redis
) -> None:
    faststream = peer("faststream_peer")
    seen: list[FileUploaded] = []

    async def handle(event: FileUploaded) -> None:
        seen.append(event)

    good = events(2)
    broker = faststream.subscribed(url, namespace, handle, batch=False)
    await client.xgroup_create(namespace, faststream.GROUP, "0", mkstream=True)
    await broker.start()
    try:
        await broker.publish(good[0], stream=namespace)
        await broker.publish(good[0].model_dump() | {"size_bytes": "many"}, stream=namespace)
        await broker.publish(good[1], stream=namespace)
        async with asyncio.timeout(10.0):
            while len(seen) < 2:  # noqa: ASYNC110 - what its handler saw
                await asyncio.sleep(0.01)
    finally:
        await broker.stop()
        await client.unlink(namespace)
    assert seen == good


@pytest.mark.parametrize("side", [library.latency, raw.latency, requests.round_trip])
async def test_a_latency_is_positive_and_leaves_nothing(
    side: Callable[..., Coroutine[Any, Any, tuple[float, float, float]]],
    url: str,
    namespace: str,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.openloop.RATE_PER_S", 1000.0)
    p50_ms, p99_ms, late_ms = await side(url, namespace)
    assert 0.0 < p50_ms <= p99_ms
    assert late_ms >= 0.0
    assert not await left_behind(client, namespace)


# The evidence


async def read_by(client: redis.Redis, stream: str, count: int) -> list[bytes]:
    """As many entries, pending for group `bench`."""
    await client.xgroup_create(stream, "bench", "0", mkstream=True)
    for _ in range(count):
        await client.xadd(stream, {"event": b""})
    read: Any = client.xreadgroup
    [(_, entries)] = await read("bench", "one", {stream: ">"})
    return [id_ for id_, _ in entries]


async def test_a_run_that_handled_and_acknowledged_every_event_once_counts_as_done(
    namespace: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.evidence._STILL_S", 0.05)
    ids = await read_by(client, namespace, 3)
    tally = Tally(3)
    for event in events(3):
        tally.saw(event)
    with pytest.raises(NotDone, match="3 of 3 events are still pending"):
        await tally.complete(client, namespace, "bench")
    await client.xack(namespace, "bench", *ids)
    await tally.complete(client, namespace, "bench")
    await client.unlink(namespace)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ([0, 1], "stood still for 0 s with 2 of 3 events handled"),
        ([0, 1, 1], "1 of 3 events were not handled, others more than once"),
    ],
)
async def test_a_run_with_missing_or_doubled_events_does_not_count_as_done(
    seen: list[int], why: str, namespace: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.evidence._STILL_S", 0.05)
    await client.xgroup_create(namespace, "bench", "0", mkstream=True)
    tally, load = Tally(3), events(3)
    for index in seen:
        tally.saw(load[index])
    with pytest.raises(NotDone, match=why):
        await tally.complete(client, namespace, "bench")
    await client.unlink(namespace)


async def test_a_run_whose_events_were_not_validated_does_not_count_as_done(
    namespace: str, client: redis.Redis
) -> None:
    class Unvalidated:
        size_bytes = 0

    await client.xgroup_create(namespace, "bench", "0", mkstream=True)
    tally = Tally(1)
    unvalidated: Any = Unvalidated()
    tally.saw(unvalidated)
    with pytest.raises(NotDone, match="given a Unvalidated"):
        await tally.complete(client, namespace, "bench")
    await client.unlink(namespace)


# The server


def test_a_private_server_never_rewrites_its_file() -> None:
    with server.serving(None) as url, blocking.Redis.from_url(url) as client:
        assert client.config_get("auto-aof-rewrite-percentage") == {"auto-aof-rewrite-percentage": "0"}


def test_a_given_server_is_used_as_it_is() -> None:
    with server.serving("redis://elsewhere") as url:
        assert url == "redis://elsewhere"


async def test_a_server_is_calm_when_it_has_freed_what_was_deleted(
    url: str, namespace: str, client: redis.Redis
) -> None:
    await client.sadd(namespace, *range(100_000))
    await client.unlink(namespace)
    assert await asyncio.to_thread(server.calm, url)
    assert (await client.info("memory"))["lazyfree_pending_objects"] == 0


async def test_a_server_is_not_calm_before_it_must_have_synced_what_was_written(url: str) -> None:
    began_at = asyncio.get_running_loop().time()
    assert await asyncio.to_thread(server.calm, url)
    assert asyncio.get_running_loop().time() - began_at > 1.0  # Source: redis.conf, appendfsync everysec


async def test_waiting_for_a_calm_server_has_a_timeout(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_BUSY_WITH", ("used_memory",))
    monkeypatch.setattr(server, "_CALM_S", 0.05)
    assert not await asyncio.to_thread(server.calm, url)


def test_every_turn_waits_for_a_calm_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def never_calm(url: str) -> bool:
        asked.append(url)
        return False

    monkeypatch.setattr(server, "calm", never_calm)
    monkeypatch.setattr("benchmarks.__main__._process", lambda: ThreadPoolExecutor(1))  # no process that imports all
    [comparison] = (each for each in comparisons() if each.rows[0].name == "publish_many")
    comparison = replace(comparison, turns_a_round=2)
    told = StringIO()
    with Progress(console=Console(file=told)) as progress:
        measured = Turns(comparison, 1, progress)
        measured.round(url)
    [result] = measured.results()
    assert asked == [url] * 2 * 2
    assert result.workbench > 0
    assert "publish_many: the server was never calm" in told.getvalue()


@pytest.mark.parametrize("name", ["publish_many", "publish_concurrent"])
def test_the_side_that_begins_changes_with_every_turn_and_round(
    name: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    took: list[str] = []

    def noted(name: str, side: str, *_: str) -> tuple[float, ...]:
        took.append(side)
        return (2.0 if side == "workbench" else 1.0,)

    monkeypatch.setattr(server, "calm", lambda _: True)
    monkeypatch.setattr("benchmarks.__main__.turn", noted)
    monkeypatch.setattr("benchmarks.__main__._process", lambda: ThreadPoolExecutor(1))
    [comparison] = (each for each in comparisons() if each.rows[0].name == name)
    with Progress(console=Console(file=StringIO())) as progress:
        measured = Turns(comparison, 4, progress)
        for _ in range(4):
            measured.round(url)
    pair = ["workbench", "peer", "peer", "workbench"]
    assert took == pair * (2 * comparison.turns_a_round)
    [result] = measured.results()
    assert result.ratios == (2.0,) * (4 * comparison.turns_a_round)


async def test_latency_counts_from_the_time_an_event_was_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stall of the load itself is part of the latency of what it held up."""
    monkeypatch.setattr("benchmarks.openloop.RATE_PER_S", 5000.0)
    stopwatch = Stopwatch()
    stalls = iter([0.0] * (COUNT // 2) + [0.2])

    async def publish(event: FileUploaded) -> None:
        await asyncio.sleep(0)
        if stall := next(stalls, 0.0):
            end = asyncio.get_running_loop().time() + stall
            while asyncio.get_running_loop().time() < end:
                pass  # blocks the loop, and so the load
        stopwatch.saw(event)

    await stopwatch.drive(publish)
    _, p99_ms, late_ms = stopwatch.figures_ms()
    assert p99_ms > 150.0
    assert late_ms > 150.0


async def test_a_load_whose_events_never_arrive_has_no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.openloop.RATE_PER_S", 50_000.0)
    monkeypatch.setattr("benchmarks.openloop._LAST_S", 0.05)

    async def lose(event: FileUploaded) -> None:
        pass

    with pytest.raises(NotDone, match=f"{COUNT} of {COUNT} events were never handled"):
        await Stopwatch().drive(lose)


# Memory


def test_memory_is_sampled_while_a_backlog_drains(url: str, namespace: str) -> None:
    shares: list[float] = []
    found = asyncio.run(memory.measure(url, namespace, 3000, shares.append))
    assert 1.0 < found.start <= found.max < 10_000.0
    assert shares[-1] == 1.0


def test_a_leak_shows_as_a_slope_of_the_memory() -> None:
    """Fifty bytes kept an event are fifty megabytes a million events; the growth of the beginning is none."""
    flat = [(n / 10, n * 10_000, 150.0 if n < 10 else 180.0) for n in range(101)]
    leaking = [(seconds, handled, mb + 50.0 * handled / 1e6) for seconds, handled, mb in flat]
    assert memory.summary(flat).slope == pytest.approx(0.0, abs=1e-6)
    assert memory.summary(flat).max == 180.0
    assert memory.summary(leaking).slope == pytest.approx(50.0)
    assert memory.summary(leaking).drained_per_s == pytest.approx(100_000)


def test_a_drain_that_was_sampled_once_has_no_slope() -> None:
    assert memory.summary([(0.0, 0, 150.0), (0.1, 1000, 180.0), (0.2, 1000, 181.0)]).slope == 0.0


# Targets and the command


def test_a_target_is_met_or_not() -> None:
    assert Target("at least", 8.0).met(8.0)
    assert not Target("at least", 8.0).met(7.99)
    assert Target("below", 0.7).met(0.69)
    assert not Target("below", 0.7).met(0.7)
    assert str(Target("at least", 8.0)) == "at least 8 x"


def test_every_figure_has_a_name_of_its_own() -> None:
    names = [row.name for comparison in comparisons() for row in comparison.rows]
    assert len(set(names)) == len(names)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=TOP, check=False, capture_output=True, text=True
    )


def test_the_command_writes_what_it_measured(url: str, tmp_path: Path) -> None:
    written = tmp_path / "results.json"
    done = bench("--only", "publish_many", "--rounds", "1", "--url", url, "--json", str(written))
    assert done.returncode == 0, done.stderr
    [(name, row)] = json.loads(written.read_text()).items()
    assert name == "publish_many"
    assert set(row) == {"workbench", "peer", "ratio", "unit"}
    assert row["ratio"] == pytest.approx(row["workbench"] / row["peer"])
    assert "at least 1.3 x" in done.stdout
    assert "Redis" in done.stdout or "Valkey" in done.stdout


def test_the_command_shows_an_example() -> None:
    done = bench("--help")
    assert done.returncode == 0
    assert "Example: python -m benchmarks --only handle" in done.stdout


def test_timers_are_late_by_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "COUNT", 20)
    [ours], [asyncios] = timers.lateness("", ""), timers.lateness_of_asyncio("", "")
    assert ours > 0 and asyncios > 0
