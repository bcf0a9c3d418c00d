"""`workbench learn` on consumers whose truth is known, and on all that may be wrong with what it is to watch.

These are short forms. `python -m campaigns.learn` has the long ones, with FastStream as well.
"""

import asyncio
import json
import os
import random
import secrets
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis.asyncio as redis
from typer.testing import CliRunner, Result

import eventlib as ev
from eventlib.broker.acl import LOOK
from eventlib.errors import AccessDenied
from eventlib.testing import eventually, fault_proxy, private_server
from sim.claims.standstill import still
from sim.cli.commands import app
from sim.declare.scenario import Scenario
from sim.learn import watch as watch_module
from sim.learn.estimate import learn
from sim.learn.evidence import Evidence
from sim.learn.library_group import NothingToLearn
from sim.learn.recording import Recording
from sim.learn.watch import watch

MEAN_S, CV = 0.02, 0.5
PATIENCE_S = 60.0
GROUP = "billing"
Look = Callable[[float], None]


def nothing(share: float) -> None:
    pass


async def watched(
    url: str, stream: str, for_s: float = 4.0, rate: float = 300.0, progress: Look = nothing, group: str = GROUP
) -> Recording:
    stop = asyncio.Event()
    return await watch(url, stream, group, for_s=for_s, commands_per_s=rate, stop=stop, progress=progress)


async def in_peace(raw: "redis.Redis", measure: Callable[[], Awaitable[Recording]]) -> tuple[Recording, float]:
    """Measure, again where this process or the server stood still meanwhile: that would judge the machine.

    On a machine that never lets them run in peace, the last measurement is judged all the same.

    Returns for how long a busy machine may have an entry in work before it is handled, and after that: as long as the
    server took to answer, twice.
    """
    begun_s = time.monotonic()
    while True:
        silent_s = [0.0]
        with still() as stood_still:
            async with running(_ask(raw, silent_s)):
                record = await measure()
        if max(stood_still.longest_s, *silent_s) < 0.1 or time.monotonic() > begun_s + PATIENCE_S:
            return record, max(0.003, 2 * sum(silent_s) / len(silent_s))


async def _ask(raw: "redis.Redis", took_s: list[float]) -> None:
    """Ask the server again and again, and note how long it took to answer."""
    while True:
        asked_s = time.monotonic()
        await raw.ping()
        took_s.append(time.monotonic() - asked_s)
        await asyncio.sleep(0.02)


class Truth:
    """What consumers do: they sleep for a lognormal time, and note how long it took."""

    def __init__(self) -> None:
        self.took: list[tuple[float, float]] = []  # when it ended, in Unix seconds, and how long it took

    async def work(self, rng: random.Random) -> None:
        began_s = time.time()
        variance = np.log1p(CV**2)
        await asyncio.sleep(rng.lognormvariate(np.log(MEAN_S) - variance / 2, np.sqrt(variance)))
        self.took.append((time.time(), time.time() - began_s))

    def mean_s(self, record: Recording) -> tuple[float, float]:
        """The mean while it was watched, and the standard error of a mean of so many, seen at as many looks."""
        begin, end = record.looks[0][0] / 1e3, record.looks[-1][0] / 1e3
        took = np.array([took for at, took in self.took if begin <= at < end])
        return float(took.mean()), float(took.mean()) * float(np.sqrt(CV**2 / took.size + 1.0 / len(record.looks)))


async def consume(raw: "redis.Redis", stream: str, truth: Truth, *, name: str, count: int) -> None:
    """The loop that everybody writes: read, handle one after the other, acknowledge each."""
    rng = random.Random(name)
    while True:
        reply: Any = await raw.xreadgroup(GROUP, name, {stream: ">"}, count=count, block=500)
        for id_, _ in reply[0][1] if reply else ():
            await truth.work(rng)
            await raw.xack(stream, GROUP, id_)


async def load(send: Callable[[], Awaitable[object]], rate_per_s: float) -> None:
    rng, due = random.Random(7), time.monotonic()
    while True:
        due += rng.expovariate(rate_per_s)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await send()


@asynccontextmanager
async def running(*work: Awaitable[object]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield
    finally:
        while alive := [task for task in tasks if not task.done()]:  # redis-py may swallow a cancellation
            for task in alive:
                task.cancel()
            await asyncio.wait(alive, timeout=0.1)


@asynccontextmanager
async def deployed(
    raw: "redis.Redis", url: str, stream: str, count: int = 1, consumers: int = 2
) -> AsyncIterator[Truth]:
    """Consumers of redis-py alone under a Poisson load, once they are at work. Their load is three fifths."""
    await raw.xgroup_create(stream, GROUP, "0", mkstream=True)
    truth = Truth()
    async with redis.Redis.from_url(url) as client:
        reading = [consume(client, stream, truth, name=f"c{number}", count=count) for number in range(consumers)]
        sending = load(lambda: raw.xadd(stream, {"n": 1}), 0.6 * consumers / MEAN_S)
        async with running(*reading, sending):
            await eventually(lambda: len(truth.took) > 5)
            yield truth


async def close(raw: "redis.Redis", record: Recording, truth: Truth, busy_s: float) -> None:
    learned = learn(record)
    mean_s, error_s = truth.mean_s(record)
    # Four standard errors, and what a busy machine takes to read and to acknowledge.
    assert -4 * error_s < learned.findings["service_time"].value - mean_s < 4 * error_s + busy_s
    begin_ms, end_ms = record.looks[0][0], record.looks[-1][0]
    arrived: Any = await raw.xrange(record.stream, int(begin_ms) + 1, int(end_ms))
    assert learned.findings["arrival_rate"].value == pytest.approx(len(arrived) / record.watched_s, rel=0.02)


@pytest.mark.parametrize(("count", "consumers"), [(1, 2), (10, 1)])
async def test_loops_of_redis_py_are_learned(
    raw: "redis.Redis", url: str, namespace: str, count: int, consumers: int
) -> None:
    stream = f"{namespace}:orders"
    async with deployed(raw, url, stream, count, consumers) as truth:
        record, busy_s = await in_peace(raw, lambda: watched(url, stream))
    await close(raw, record, truth, busy_s)
    found = learn(record)
    assert found.workers.at_once == 1
    assert len(found.consumers.working) == consumers


class Ordered(ev.Event, type="ordered", version=1, stream="orders"):
    """An event of this module."""


class OfKey(ev.Event, type="of_key", version=1, stream="orders"):
    """An event that is handled in the order of its key."""

    key: str


async def test_a_consumer_of_eventlib_is_learned(raw: "redis.Redis", url: str, namespace: str) -> None:
    """Its stream is called by its key; where the namespace is the default, the stream's own name is enough."""
    shop, truth, rng = ev.App("shop"), Truth(), random.Random(3)
    shop.group(GROUP, concurrency=4)

    @shop.subscribe(Ordered, group=GROUP)
    async def handle(event: Ordered, delivery: ev.Delivery) -> None:
        await truth.work(rng)

    async with (
        ev.connect(shop, url, namespace=namespace) as bus,
        bus.running(),
        running(load(lambda: bus.publish(Ordered()), 120.0)),
    ):
        await eventually(lambda: len(truth.took) > 20)
        record, busy_s = await in_peace(raw, lambda: watched(url, f"{namespace}:{{orders}}:events"))
    await close(raw, record, truth, busy_s)
    learned = learn(record)
    assert record.library == "eventlib"
    assert 2 <= learned.workers.at_least <= 4
    assert len(learned.consumers.working) == 1


async def test_what_a_consumer_gives_back_when_it_leaves_has_not_failed(
    raw: "redis.Redis", url: str, namespace: str
) -> None:
    """As in a deployment: it holds entries that it has not begun. Nothing fails here."""
    shop, truth, rng = ev.App("shop"), Truth(), random.Random(3)
    shop.group(GROUP, concurrency=1, prefetch=20)

    @shop.subscribe(Ordered, group=GROUP)
    async def handle(event: Ordered, delivery: ev.Delivery) -> None:
        await truth.work(rng)

    at_once = asyncio.Event()

    async def deploy(bus: ev.Bus) -> None:
        """One consumer leaves, and another one comes."""
        async with bus.running():
            await at_once.wait()
        async with bus.running():
            await asyncio.Event().wait()

    async def send(bus: ev.Bus) -> None:
        await asyncio.gather(*(bus.publish(Ordered()) for _ in range(20)))

    async with ev.connect(shop, url, namespace=namespace) as bus, running(deploy(bus), load(lambda: send(bus), 3.0)):
        await eventually(lambda: len(truth.took) > 20)

        def progress(share: float) -> None:
            if share > 0.4:
                at_once.set()

        record = await watched(url, f"{namespace}:{{orders}}:events", progress=progress)
    learned, evidence = learn(record), Evidence(record)
    assert record.after.retries_added - record.before.retries_added > 5
    assert evidence.added_to_retries.failed == 0 == learned.findings["error_rate"].value
    assert any("given back by consumers that left" in note for note in learned.notes)


async def test_what_is_not_learned_yet_is_refused(raw: "redis.Redis", url: str, namespace: str) -> None:
    """A group that is ordered by key moves entries to its retries that have not failed; so do task queues."""
    shop, held = ev.App("shop"), asyncio.Event()
    shop.group(GROUP, ordered_by="key")

    @shop.subscribe(OfKey, group=GROUP)
    async def handle(event: OfKey, delivery: ev.Delivery) -> None:
        held.set()
        await asyncio.Event().wait()

    @shop.task(queue="mail")
    async def post() -> None: ...

    async with ev.connect(shop, url, namespace=namespace) as bus, bus.running(grace_s=0.1):
        await bus.publish(OfKey(key="a"))
        await held.wait()
        with pytest.raises(NothingToLearn, match="is ordered by key, which is not modelled yet"):
            await watched(url, f"{namespace}:{{orders}}:events")
        with pytest.raises(NothingToLearn, match="holds tasks or sagas, which are not learned yet"):
            await watched(url, f"{namespace}:{{tasks.mail}}:events", group="workers")


async def test_looking_for_other_streams_keeps_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the stream is missing. The time is made up: it passes only where the command waits."""
    now_s, sent = 0.0, []

    class Watcher:
        stream = where = "none"
        group, commands = GROUP, 0

        async def stream_state(self, key: str | None = None) -> None:
            self.commands += 1
            sent.append(now_s)

        async def scan(self, cursor: int) -> tuple[int, list[str]]:
            self.commands += 1
            sent.append(now_s)
            return cursor + 1, []

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds + 1e-9

    monkeypatch.setattr(watch_module, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr(watch_module, "asyncio", SimpleNamespace(sleep=sleep, Event=asyncio.Event))
    there: Any = Watcher()
    with pytest.raises(NothingToLearn, match="there is no stream 'none'"):
        await watch_module._Watch(there, 1.0, 15.0, asyncio.Event(), nothing).run()
    assert len(sent) == 42
    assert max(sum(at_s <= other < at_s + 1.0 for other in sent) for at_s in sent) <= 15


async def test_no_more_commands_are_sent_than_allowed_and_none_writes(
    raw: "redis.Redis", url: str, namespace: str
) -> None:
    stream = f"{namespace}:orders"
    said: list[tuple[float, str]] = []

    async def measure() -> Recording:
        said.clear()
        return await watched(url, stream, 3.0, rate=60.0)

    async with deployed(raw, url, stream), running(_monitor(url, said)):
        await eventually(lambda: len(said))
        record, _ = await in_peace(raw, measure)
    ours = [at_s for at_s, command in said if command in {"TIME", "XPENDING", "XINFO", "XRANGE"}]
    most = max(sum(at_s <= other < at_s + 1.0 for other in ours) for at_s in ours)
    assert len(ours) >= 0.9 * record.commands > 60
    assert most <= 60 * 1.1  # the server notes a command a little later or earlier than it was sent
    assert {command for _, command in said} <= {
        *("TIME", "XPENDING", "XINFO", "XRANGE", "INFO"),
        *("XADD", "XREADGROUP", "XACK", "CLIENT", "HELLO", "SELECT", "PING"),  # of load, consumers and `in_peace`
    }


async def _monitor(url: str, said: list[tuple[float, str]]) -> None:
    async with redis.Redis.from_url(url) as client, client.monitor() as monitor:
        async for command in monitor.listen():
            said.append((command["time"], command["command"].split()[0].upper()))


async def test_a_user_who_may_only_read_is_enough_and_what_is_missing_is_named() -> None:
    with private_server(port=0) as server:
        async with redis.Redis.from_url(server.url) as admin:

            async def allow(*rules: str) -> None:
                await admin.execute_command("ACL", "SETUSER", "reader", *rules)  # type: ignore[no-untyped-call]

            await allow("on", ">pw", "%R~orders", *(f"+{name.lower()}" for name in LOOK))
            url = server.url.replace("redis://", "redis://reader:pw@")
            async with deployed(admin, server.url, "orders"):
                record = await watched(url, "orders", 1.5)
                assert learn(record).findings["service_time"].value > 0
                with pytest.raises(AccessDenied, match="may not call XINFO STREAM"):
                    await watched(url, "others", 1.0)
                for name in LOOK:
                    await allow(f"-{name.lower()}")
                    with pytest.raises(AccessDenied, match=f"may not call {name.replace('|', ' ')}; permit"):
                        await watched(url, "orders", 1.0)
                    await allow(f"+{name.lower()}")


# What may go wrong while it is watched


async def test_a_server_that_goes_away_is_waited_for(raw: "redis.Redis", url: str, namespace: str) -> None:
    stream, cut = f"{namespace}:orders", asyncio.Event()
    async with deployed(raw, url, stream) as truth, fault_proxy(url) as faulty:

        def progress(share: float) -> None:
            if share > 0.3 and not cut.is_set():
                cut.set()
                faulty.refusing = True
                faulty.cut()
                asyncio.get_running_loop().call_later(1.2, setattr, faulty, "refusing", False)

        async def measure() -> Recording:
            cut.clear()
            return await watched(faulty.url, stream, 4.0, progress=progress)

        record, busy_s = await in_peace(raw, measure)
    learned = learn(record)
    assert max(end_s - begin_s for begin_s, end_s in record.changes.holes) >= 1.0
    assert any("nothing was seen from" in note for note in learned.notes)
    true_s = truth.mean_s(record)[0]
    assert 0.6 * true_s < learned.findings["service_time"].value < 1.4 * true_s + busy_s


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (
            lambda raw, stream: raw.xgroup_destroy(stream, GROUP),
            "the group 'billing' was destroyed while it was watched",
        ),
        (lambda raw, stream: raw.unlink(stream), "was deleted while it was watched"),
    ],
)
async def test_what_vanishes_while_it_is_watched_is_named(
    raw: "redis.Redis", url: str, namespace: str, what: Callable[[Any, str], Awaitable[object]], said: str
) -> None:
    stream = f"{namespace}:orders"
    await raw.xgroup_create(stream, GROUP, "0", mkstream=True)
    done: list[asyncio.Future[object]] = []

    def progress(share: float) -> None:
        if share > 0.2 and not done:
            done.append(asyncio.ensure_future(what(raw, stream)))

    with pytest.raises(NothingToLearn, match=said):
        await watched(url, stream, 3.0, progress=progress)


async def test_a_stream_that_is_trimmed_while_it_is_watched_is_learned_with_a_note(
    raw: "redis.Redis", url: str, namespace: str
) -> None:
    stream = f"{namespace}:orders"
    async with deployed(raw, url, stream) as truth, running(_trim(raw, stream)):
        record, busy_s = await in_peace(raw, lambda: watched(url, stream, 3.0))
    learned = learn(record)
    assert any("deleted or trimmed" in note for note in learned.notes)
    true_s = truth.mean_s(record)[0]
    assert 0.6 * true_s < learned.findings["service_time"].value < 1.4 * true_s + busy_s


async def _trim(raw: "redis.Redis", stream: str) -> None:
    while True:
        await raw.xtrim(stream, maxlen=0)
        await asyncio.sleep(0.05)


# The command


async def workbench(*arguments: str) -> Result:
    """The command in this process; it has a loop of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, app, ["learn", *arguments], env={"COLUMNS": "400"})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


async def test_the_command_writes_a_scenario_that_can_be_simulated(
    raw: "redis.Redis", url: str, namespace: str, tmp_path: Path
) -> None:
    stream, out, found = f"{namespace}:orders", tmp_path / "mine.yaml", tmp_path / "mine.json"
    async with deployed(raw, url, stream):
        result = await workbench(url, stream, GROUP, "--for", "2", "--out", str(out), "--json", str(found))
    assert result.exit_code == 0, result.output
    scenario = Scenario.load(out)
    assert scenario.services[GROUP].consumers == 2
    assert scenario.offered_load.files == (tmp_path / "mine-arrivals.csv",)
    text, learned = out.read_text(), json.loads(found.read_text())
    for part in ("How:", "How sure:", "This scenario predicts a lag"):
        assert part in text
    assert {"value", "how", "sure", "interval", "unit"} == set(learned["findings"]["service_time"])
    assert learned["commands"] <= 100 * (learned["watched_s"] + 2)
    assert (await workbench(url, stream, GROUP, "--out", str(out))).exit_code == 2
    assert out.read_text() == text


def test_ctrl_c_writes_what_was_learned_so_far(url: str, tmp_path: Path) -> None:
    """Signals come to the main thread, so the command runs there, and what it watches in another one."""
    stream, out, ended = f"test-{secrets.token_hex(6)}:orders", tmp_path / "mine.yaml", threading.Event()

    async def deployment() -> None:
        async with redis.Redis.from_url(url) as raw, deployed(raw, url, stream):
            looks = await _looks(raw)
            ready.set()
            await eventually(lambda: _looked(raw, looks + 60))
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.to_thread(ended.wait, 60.0)
            await raw.unlink(stream)

    ready = threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(deployment(),))
    thread.start()
    assert ready.wait(30.0)
    result = CliRunner().invoke(app, ["learn", url, stream, GROUP, "--out", str(out)])
    ended.set()
    thread.join()
    assert result.exit_code == 130, result.output
    assert "watching was ended early" in result.stderr and "watching was ended early" in out.read_text()
    Scenario.load(out)


async def _looks(raw: "redis.Redis") -> int:
    return int((await raw.info("commandstats")).get("cmdstat_xpending", {"calls": 0})["calls"])


async def _looked(raw: "redis.Redis", times: int) -> bool:
    return await _looks(raw) >= times


async def test_bad_input_is_one_line_and_status_2(
    raw: "redis.Redis", url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stream, a_list = f"{namespace}:orders", f"{namespace}:list"
    await raw.xgroup_create(stream, GROUP, "0", mkstream=True)
    stuck = f"{namespace}:stuck"
    await raw.xgroup_create(stuck, GROUP, "0", mkstream=True)
    await raw.xadd(stuck, {"n": 1})
    await raw.rpush(a_list, "x")
    (tmp_path / "there.yaml").write_text("x")
    cases: dict[tuple[str, ...], str] = {
        (url, f"{namespace}:none", GROUP): f"there is no stream '{namespace}:none'; there are",
        (url, stream, "none"): "has no such group; it has 'billing'",
        (url, a_list, GROUP): "holds something else than a stream",
        (url, stream, GROUP, "--for", "1"): "the stream is idle and is empty",
        (url, stuck, GROUP, "--for", "1"): "s that it was watched: 0 entries are pending and 1 wait",
        (url, stream, GROUP, "--for", "0"): "--for",
        ("redis://127.0.0.1:1", stream, GROUP): "is the URL right?",
        ("no url", stream, GROUP): "no valid Redis URL",
        (url, stream, GROUP, "--out", "there.yaml"): "there.yaml exists already",
        (url, stream, GROUP, "--out", "none/x.yaml"): "cannot be written",
        (url, stream, GROUP, "--json", "-"): "both the scenario and --json",
    }
    for arguments, said in cases.items():
        result = await workbench(*arguments)
        assert (result.exit_code, result.stdout) == (2, ""), result.output
        (line,) = [line for line in result.stderr.splitlines() if "error:" in line]
        assert said in line
    assert os.listdir(tmp_path) == ["there.yaml"]
