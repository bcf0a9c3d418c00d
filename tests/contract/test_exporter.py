"""The exporter tells of groups of any library, sends commands that read alone, and not too many of them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker import paced
from eventlib.broker.surveying import SurveyLimits, Surveyor
from eventlib.operate.exporter import Exporter
from eventlib.testing import private_server
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.waiting import eventually
from tests.probing import ask, value
from tests.repository import TOP
from tests.shop import Connect, OrderPlaced, new_app, nothing_left, orders

READS = {"scan", "time", "info", "memory|usage", "xpending", "xrange"}
READS |= {"xinfo|stream", "xinfo|groups", "xinfo|consumers"}
CONNECTING = {"client|setinfo", "client|setname", "hello", "auth", "select"}


@pytest.fixture
async def foreign(raw: redis.Redis, namespace: str) -> str:
    """A stream of another library: five entries, of which a consumer holds two."""
    key = f"{namespace}:foreign"
    for number in range(5):
        await raw.xadd(key, {"number": number})
    await raw.xgroup_create(key, "workers", "0")
    await raw.xreadgroup("workers", "c1", {key: ">"}, count=2)
    return key


async def test_it_tells_of_groups_of_any_library(
    connect: Connect, raw: redis.Redis, url: str, namespace: str, foreign: str
) -> None:
    app, handled = new_app()
    async with connect(app) as bus, bus.running():
        await bus.publish_many(orders(1, 2))
        await eventually(lambda: len(handled) == 2)
        await eventually(lambda: nothing_left(bus))
        keys = [key.decode() async for key in raw.scan_iter(f"{namespace}:*", _type="stream")]
        surveyor = Surveyor(url, SurveyLimits(commands_per_s=1000.0))
        exporter = Exporter(surveyor, 1.0)
        seen = await exporter.look()
        await surveyor.close()
    found = {stream.stream: stream for stream in seen.streams}
    assert set(keys) <= set(found)
    [group] = found[foreign].groups
    assert (group.group, group.lag_entries, group.pending_entries) == ("workers", 3, 2)
    assert (group.active_consumers, group.idle_consumers, group.dead_consumers) == (1, 0, 0)
    assert 0.0 < (group.oldest_pending_s or 0.0) < 60.0 and (group.oldest_unread_s or 0.0) > 0.0
    assert found[foreign].entries == 5 and (found[foreign].memory_bytes or 0) > 0
    text = exporter.metrics()
    assert value(text, "workbench_group_lag_entries", stream=foreign, group="workers") == 3.0
    [own] = [key for key, stream in found.items() if key in keys and [g.group for g in stream.groups] == ["billing"]][
        :1
    ]
    assert value(text, "workbench_group_pending_entries", stream=own, group="billing") == 0.0
    assert value(text, "workbench_up") == 1.0 and (value(text, "workbench_redis_memory_used_bytes") or 0.0) > 1e5


async def test_a_consumer_that_is_silent_is_idle_and_dead_if_it_holds_entries(
    raw: redis.Redis, url: str, foreign: str
) -> None:
    await raw.xgroup_createconsumer(foreign, "workers", "c2")
    surveyor = Surveyor(url, SurveyLimits(idle_after_s=0.01, keys=(foreign,)))
    await asyncio.sleep(0.05)  # longer than what makes a consumer idle
    [stream] = (await surveyor.survey()).streams
    await surveyor.close()
    [group] = stream.groups
    assert (group.active_consumers, group.idle_consumers, group.dead_consumers) == (0, 1, 1)


@pytest.mark.one_server
async def test_trap_44_one_waiting_entry_is_one_and_a_missing_stream_is_none(
    url: str, raw: redis.Redis, foreign: str
) -> None:
    await raw.xreadgroup("workers", "c1", {foreign: ">"})
    await raw.xadd(foreign, {"number": 6})
    surveyor = Surveyor(url, SurveyLimits(commands_per_s=1000.0, keys=(foreign, f"{foreign}-missing")))
    exporter = Exporter(surveyor, 1.0)
    seen = await exporter.look()
    await surveyor.close()
    text = exporter.metrics()
    assert seen.missing == (f"{foreign}-missing",) and value(text, "workbench_streams_missing") == 1.0
    assert value(text, "workbench_group_lag_entries", stream=foreign, group="workers") == 1.0
    assert "-missing" not in text and value(text, "workbench_up") == 1.0


@pytest.mark.one_server
async def test_trap_45_what_is_gone_has_no_series(url: str, raw: redis.Redis, foreign: str) -> None:
    other = f"{foreign}-2"
    await raw.xadd(other, {"number": 1})
    surveyor = Surveyor(url, SurveyLimits(commands_per_s=1000.0, keys=(foreign, other)))
    exporter = Exporter(surveyor, 1.0)
    await exporter.look()
    before = exporter.metrics()
    await raw.unlink(other)
    await raw.xgroup_destroy(foreign, "workers")
    await exporter.look()
    await surveyor.close()
    after = exporter.metrics()
    assert other in before and 'group="workers"' in before
    assert other not in after and 'group="workers"' not in after and foreign in after


@pytest.mark.one_server
async def test_it_only_reads_and_keeps_its_rate_and_its_limit(url: str, raw: redis.Redis, namespace: str) -> None:
    for number in range(4):
        await raw.xadd(f"{namespace}:s{number}", {"a": 1})
    keys = tuple(f"{namespace}:{name}" for name in ("s0", "s1", "gone", "s2", "s3"))
    surveyor = Surveyor(url, SurveyLimits(commands_per_s=40.0, streams_max=4, keys=keys))
    await raw.config_resetstat()
    begun_s = time.monotonic()
    seen = await surveyor.survey()
    took_s = time.monotonic() - begun_s
    sent = {name.removeprefix("cmdstat_") for name in await raw.info("commandstats")} - {"config|resetstat"}
    await surveyor.close()
    assert [stream.stream.rpartition(":")[2] for stream in seen.streams] == ["s0", "s1", "s2"]
    assert seen.skipped == 1 and took_s >= (seen.commands - 1) / 40.0
    assert sent - CONNECTING - {"info"} <= READS


async def rights(admin: redis.Redis, *rules: str) -> None:
    await admin.execute_command("ACL", "SETUSER", "exporter", *rules)  # type: ignore[no-untyped-call]


async def test_streams_that_its_user_may_not_read_are_skipped(binary: Path) -> None:
    """A key that SCAN lists may be out of reach; a command that is refused ends the survey."""
    with private_server(binary=binary, port=0) as server:
        async with redis.Redis.from_url(server.url) as admin:
            for key in ("mine:1", "others:1"):
                await admin.xadd(key, {"number": 1})
            commands = "+scan +time +info +memory|usage +xinfo|stream +xinfo|groups +xinfo|consumers +xpending +xrange"
            await rights(admin, "on", ">p", "%R~mine:*", *commands.split())
            surveyor = Surveyor(server.url.replace("redis://", "redis://exporter:p@"), SurveyLimits(1000.0))
            try:
                found = await surveyor.survey()
                await rights(admin, "-xinfo|stream")
                with pytest.raises(ev.AccessDenied):
                    await surveyor.survey()
            finally:
                await surveyor.close()
    assert ([each.stream for each in found.streams], found.skipped, found.missing) == (["mine:1"], 1, ())


@pytest.mark.one_server
async def test_what_was_refused_is_asked_for_again_later(binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with private_server(binary=binary, port=0) as server:
        async with redis.Redis.from_url(server.url) as admin:
            await rights(admin, "on", ">p", "~*", "+@all", "-info")
            surveyor = Surveyor(server.url.replace("redis://", "redis://exporter:p@"), SurveyLimits(1000.0))
            try:
                assert (await surveyor.survey()).memory == {}
                await rights(admin, "+info")
                assert (await surveyor.survey()).memory == {}  # not at each look: a refusal is a line in ACL LOG
                monkeypatch.setattr(paced, "_ASK_AGAIN_S", 0.0)
                assert (await surveyor.survey()).memory["used_bytes"] > 0
            finally:
                await surveyor.close()


@pytest.mark.one_server
async def test_a_user_that_is_refused_for_a_moment_is_waited_for(binary: Path) -> None:
    """Rights and passwords are changed while it runs. From the beginning, it is an error of who starts it."""
    with private_server(binary=binary, port=0) as server:
        async with redis.Redis.from_url(server.url) as admin:
            await admin.xadd("mine", {"number": 1})
            await rights(admin, "on", ">p", "~*", "+@all")
            surveyor = Surveyor(server.url.replace("redis://", "redis://exporter:p@"), SurveyLimits(1000.0))
            told = list[str]()
            exporter = Exporter(surveyor, 0.1, told.append)
            running = asyncio.create_task(exporter.run())
            try:
                for change, back in (("-xinfo|stream", "+xinfo|stream"), ("resetpass", ">p")):
                    await eventually(lambda: value(exporter.metrics(), "workbench_up") == 1.0)
                    await rights(admin, change)
                    await admin.client_kill_filter(skipme=True)
                    await eventually(lambda: value(exporter.metrics(), "workbench_up") == 0.0)
                    assert exporter.answer("/readyz", "").status == 503
                    await rights(admin, back)
                await eventually(lambda: exporter.answer("/readyz", "").status == 200)
                assert not running.done()
                assert told[0].startswith("cannot look, and tries again every 0.1 s: ") and told[-1] == "looks again."
                assert len([line for line in told if "XINFO" in line or "xinfo" in line]) == 1
                await rights(admin, "off")
                await admin.client_kill_filter(skipme=True)
                with pytest.raises(ev.AccessDenied):
                    await Exporter(surveyor, 0.1).run()
            finally:
                running.cancel()
                await asyncio.wait({running})
                await surveyor.close()


@pytest.mark.one_server
async def test_a_server_that_restarts_again_and_again_ends_nothing_and_fills_no_log() -> None:
    with private_server() as server:
        surveyor = Surveyor(server.url, SurveyLimits(1000.0))
        told = list[str]()
        exporter = Exporter(surveyor, 0.1, told.append)
        running = asyncio.create_task(exporter.run())
        try:
            for _ in range(4):
                await eventually(lambda: value(exporter.metrics(), "workbench_up") == 1.0)
                server.kill()
                await eventually(lambda: value(exporter.metrics(), "workbench_up") == 0.0)
                server.start()
            await eventually(lambda: value(exporter.metrics(), "workbench_up") == 1.0)
        finally:
            running.cancel()
            await asyncio.wait({running})
            await surveyor.close()
    assert len(told) <= 4 and told[0].startswith("cannot look") and "looks again." in told, told


@pytest.mark.one_server
async def test_a_server_that_is_away_has_no_old_numbers(url: str, foreign: str) -> None:
    async with fault_proxy(url) as faulty:
        surveyor = Surveyor(faulty.url, SurveyLimits(commands_per_s=1000.0, keys=(foreign,)))
        exporter = Exporter(surveyor, 0.1)
        running = asyncio.create_task(exporter.run())
        try:
            for away in (False, True, False):
                faulty.refusing = away
                if away:
                    faulty.cut()
                while True:
                    text = exporter.metrics()
                    if value(text, "workbench_up") == float(not away):
                        break
                    await asyncio.sleep(0.02)
                assert ("workbench_stream_entries{" in text) is not away
                assert exporter.answer("/readyz", "").status == (503 if away else 200)
                assert exporter.answer("/livez", "").status == 200
                assert exporter.answer("/else", "").status == 404
        finally:
            running.cancel()
            await asyncio.wait({running})
            await surveyor.close()


@pytest.mark.one_server
def test_the_command_prints_writes_and_serves(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workbench", "exporter"]
    with private_server() as server:
        printed = subprocess.run([*command, server.url, "--once"], cwd=TOP, capture_output=True, text=True, check=False)
        assert (printed.returncode, printed.stderr) == (0, "") and "workbench_up 1.0\n" in printed.stdout
        written = subprocess.run(
            [*command, server.url, "--json", "-"], cwd=TOP, capture_output=True, text=True, check=False
        )
        assert json.loads(written.stdout)["streams"] == []
        file = tmp_path / "seen.json"
        both = [*command, server.url, "--once", "--json", str(file)]
        printed = subprocess.run(both, cwd=TOP, capture_output=True, text=True, check=False)
        assert "workbench_up 1.0\n" in printed.stdout and json.loads(file.read_text())["streams"] == []
        serving = subprocess.Popen(
            [*command, server.url, "--port", "0"], cwd=TOP, stderr=subprocess.PIPE, text=True, env=os.environ
        )
        try:
            assert serving.stderr is not None
            told = serving.stderr.readline()
            url = told.partition("/metrics")[0]
            while value(ask(url, "/metrics").text, "workbench_up") != 1.0:
                time.sleep(0.02)
            port = url.rpartition(":")[2]
            busy = subprocess.run(
                [*command, server.url, "--port", port], cwd=TOP, capture_output=True, text=True, check=False
            )
            assert busy.returncode == 2 and f"port {port} of 127.0.0.1 is in use" in busy.stderr
            assert "Traceback" not in busy.stderr
            serving.send_signal(signal.SIGINT)
            rest = serving.stderr.read()
            assert serving.wait(10) == 130 and "Traceback" not in rest
        finally:
            serving.kill()
            serving.wait()
            assert serving.stderr is not None
            serving.stderr.close()
        misspelt = subprocess.run(
            [*command, server.url, "--once", "--stream", "oders"], cwd=TOP, capture_output=True, text=True, check=False
        )
        assert misspelt.returncode == 0 and misspelt.stderr == "no stream is at oders; is the key misspelt?\n"
    away = subprocess.run([*command, server.url, "--once"], cwd=TOP, capture_output=True, text=True, check=False)
    assert away.returncode == 2 and away.stderr.startswith("error: ") and "Traceback" not in away.stderr


async def test_it_tells_what_was_lost_what_is_dead_and_what_redis_may_evict(
    connect: Connect, raw: redis.Redis, url: str, namespace: str, foreign: str
) -> None:
    await raw.xtrim(foreign, maxlen=1, approximate=False)  # two of the five were read
    app = ev.App("shop")

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        raise ev.Reject("no")

    async with connect(app) as bus, bus.running():
        await bus.publish_many(orders(1, 2))
        await eventually(lambda: nothing_left(bus))
    keys = (foreign, *[key.decode() async for key in raw.scan_iter(f"{namespace}:*", _type="stream")])
    surveyor = Surveyor(url, SurveyLimits(commands_per_s=1000.0, keys=keys))
    exporter = Exporter(surveyor, 1.0)
    await exporter.look()
    await surveyor.close()
    text = exporter.metrics()
    assert value(text, "workbench_group_lost_entries", stream=foreign, group="workers") == 2.0
    assert value(text, "workbench_stream_added_entries_total", stream=foreign) == 5.0
    dead = {"stream": f"{namespace}:{{orders}}:events", "group": "billing"}
    assert value(text, "workbench_dead_letters", **dead) == 2.0
    assert value(text, "workbench_group_lost_entries", **dead) == 0.0
    assert value(text, "workbench_redis_maxmemory_policy", policy="noeviction") == 1.0
    assert value(text, "workbench_redis_evicted_keys_total") == 0.0
    assert (value(text, "workbench_redis_memory_system_bytes") or 0.0) > 1e8
