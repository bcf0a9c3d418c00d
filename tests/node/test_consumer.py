"""A consumer and a publisher in Node, which share no code with eventlib, join a system through docs/wire-format.md."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.keys import Keys
from eventlib.catalog import FileDeleted, FileTextExtracted, FileUploaded
from eventlib.events.envelope import write
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.catalog_samples import LATER, uploaded
from tests.node.exported import schemas, scripts
from tests.node.program import result, running
from tests.shop import Connect, Record

GROUP = "extractor"
BROKEN, SLOW = "application/x-broken", "application/x-slow"


@pytest.fixture
def inspector(raw: redis.Redis, namespace: str) -> Inspector:
    return Inspector(raw, Keys(namespace).group("files", GROUP))


@pytest.fixture
def config(url: str, namespace: str, tmp_path: Path) -> dict[str, Any]:
    """The configuration of the extractor."""
    return {
        "url": url,
        "namespace": namespace,
        "group": GROUP,
        "scripts": scripts(),
        "schemas": schemas(FileUploaded),
        "output_schemas": schemas(FileTextExtracted),
        "attempts": 3,
        "delay_ms": 20,
        "lease_ms": 30_000,
        "gate": str(tmp_path / "gate"),  # as long as this file is not there, what is slow goes on
    }


def a_file(number: int, media_type: str = "application/pdf") -> FileUploaded:
    return uploaded.model_copy(update={"file_id": f"f{number}", "media_type": media_type})


def watcher(group: str, **settings: float) -> tuple[ev.App, list[tuple[FileTextExtracted, ev.Delivery]]]:
    """A Python program that handles the events that the extractor publishes."""
    app, heard = ev.App("watcher"), list[tuple[FileTextExtracted, ev.Delivery]]()

    @app.subscribe(FileTextExtracted, group=group)
    async def hear(event: FileTextExtracted, delivery: ev.Delivery) -> None:
        heard.append((event, delivery))

    return app, heard


def colleague(lease_s: float) -> tuple[ev.App, list[tuple[str, int]]]:
    """A Python program in the extractor's own group: file ids that it handled, and at which attempt."""
    app, handled = ev.App("colleague"), list[tuple[str, int]]()
    app.group(GROUP, lease_s=lease_s)

    @app.subscribe(FileUploaded, group=GROUP, retry=ev.Retry(attempts=3))
    async def extract(event: FileUploaded, delivery: ev.Delivery) -> None:
        handled.append((event.file_id, delivery.attempt))

    return app, handled


async def test_node_and_python_handle_each_others_events(
    connect: Connect, inspector: Inspector, programs: Path, config: dict[str, Any]
) -> None:
    app, heard = watcher("watch")
    deleted = FileDeleted(file_id="f0", user_id="u0", cause="retention", deleted_at=LATER)
    async with connect(app) as bus, bus.running(), running(programs, "extractor.mjs", config) as node:
        ids = await bus.publish_many([*(a_file(n) for n in range(50)), deleted], correlation_id="upload-7")
        await eventually(lambda: len(heard) == 50)
        await eventually(lambda: _idle(bus, GROUP))
        await eventually(lambda: _idle(bus, "watch"))
        assert await node.stop() == 0
        assert await inspector.dead_letters() == []
    handled = node.said("handled")
    assert [line["id"] for line in handled] == ids[:50]
    assert [FileUploaded.model_validate(line["data"]) for line in handled] == [a_file(n) for n in range(50)]
    assert [event.file_id for event, _ in heard] == [f"f{n}" for n in range(50)]
    assert {delivery.correlation_id for _, delivery in heard} == {"upload-7"}
    assert [d.envelope.causation_id for _, d in heard if d.envelope] == ids[:50]
    assert await inspector.pending() == []
    assert await inspector.consumers() == set(), "it said goodbye"


async def _idle(bus: ev.Bus, group: str) -> bool:
    return (await bus.backlog("files", group)).total == 0


@pytest.mark.one_server
async def test_an_event_that_node_cannot_handle_is_retried_then_dead_lettered(
    connect: Connect, inspector: Inspector, programs: Path, config: dict[str, Any]
) -> None:
    async with connect(ev.App("files")) as bus, running(programs, "extractor.mjs", config) as node:
        id_ = await bus.publish(a_file(1, BROKEN))
        [dead_letter] = await eventually(inspector.dead_letters)
        await eventually(lambda: node.said("dead"))
    assert [line["attempt"] for line in node.said("started")] == [1, 2, 3]
    assert (dead_letter[b"reason"], dead_letter[b"attempts"], dead_letter[b"handler"]) == (
        b"exhausted",
        b"3",
        b"extractor.extract",
    )
    assert b"no text in it" in dead_letter[b"error"]
    assert json.loads(dead_letter[b"raw.event"])["id"] == id_


@pytest.mark.one_server
async def test_node_settles_retried_entries(
    connect: Connect, inspector: Inspector, programs: Path, config: dict[str, Any]
) -> None:
    body = write(a_file(1), "files", None, None)[1]
    await inspector.create()
    await inspector.raw.xadd(inspector.keys.retry, {"event": body, "attempts": "1", "origin": "1-1", "failed": "1"})
    async with connect(ev.App("files")) as bus, running(programs, "extractor.mjs", config) as node:
        [handled] = await eventually(lambda: node.said("handled"))
        await eventually(lambda: _idle(bus, GROUP))  # also with what it published itself
        assert await node.stop() == 0
    assert handled["attempt"] == 2
    assert await inspector.pending(retried=True) == []
    assert await inspector.events(retried=True) == [], "deleted, and not given back"


@pytest.mark.one_server
async def test_a_retry_in_node_reaches_the_failing_group_alone(
    connect: Connect, inspector: Inspector, programs: Path, config: dict[str, Any]
) -> None:
    app, others = ev.App("others"), list[str]()

    @app.subscribe(FileUploaded, group="thumbnails")
    async def note(event: FileUploaded, _: ev.Delivery) -> None:
        others.append(event.file_id)

    async with connect(app) as bus, bus.running(), running(programs, "extractor.mjs", config):
        await bus.publish_many([a_file(1, BROKEN), a_file(2)])
        await eventually(inspector.dead_letters)
        await eventually(lambda: _idle(bus, "thumbnails"))
    assert others == ["f1", "f2"]


@pytest.mark.one_server
async def test_node_dead_letters_entries_that_it_cannot_read(
    connect: Connect, inspector: Inspector, programs: Path, config: dict[str, Any]
) -> None:
    good = json.loads(write(a_file(1), "files", None, None)[1])
    data = good["data"]
    wrong: list[tuple[str, bytes]] = [
        ("undecodable", b'{"specversion":'),
        ("undecodable", b"\xff\xfe"),
        ("undecodable", json.dumps({k: v for k, v in good.items() if k != "id"}).encode()),
        ("undecodable", json.dumps({**good, "data": {**data, "size_bytes": -1}}).encode()),
        ("undecodable", json.dumps({**good, "data": {**data, "uploaded_at": "yesterday"}}).encode()),
        ("unsupported_version", json.dumps({**good, "eventversion": 99}).encode()),
    ]
    for _, body in wrong:
        await inspector.add(event=body)
    await inspector.add(evnt=b"{}")
    async with connect(ev.App("files")) as bus, running(programs, "extractor.mjs", config):
        await eventually(lambda: _idle(bus, GROUP))
        dead_letters = await inspector.dead_letters()
    assert [dead_letter[b"reason"].decode() for dead_letter in dead_letters] == [
        *(reason for reason, _ in wrong),
        "undecodable",
    ]
    assert [dead_letter.get(b"raw.event") for dead_letter in dead_letters] == [*(body for _, body in wrong), None]
    assert dead_letters[-1][b"raw.evnt"] == b"{}"


@pytest.mark.one_server
async def test_node_ignores_fields_that_a_newer_writer_adds(
    connect: Connect, inspector: Inspector, programs: Path, config: dict[str, Any]
) -> None:
    grown = json.loads(write(a_file(1), "files", None, None)[1])
    grown["data"]["virus_free"] = grown["shard"] = True
    await inspector.add(event=json.dumps(grown), trace="t1")
    async with running(programs, "extractor.mjs", config) as node:
        [handled] = await eventually(lambda: node.said("handled"))
    assert FileUploaded.model_validate(handled["data"], extra="ignore") == a_file(1)


@pytest.mark.one_server
async def test_python_takes_over_entries_of_a_killed_node_consumer(
    connect: Connect, programs: Path, config: dict[str, Any]
) -> None:
    app, handled = colleague(lease_s=0.3)
    async with connect(app) as bus:
        async with running(programs, "extractor.mjs", config | {"lease_ms": 300}) as node:
            await bus.publish(a_file(1, SLOW))
            await eventually(lambda: node.said("started"))
            await node.stop(signal.SIGKILL)
        async with bus.running():
            await eventually(lambda: _idle(bus, GROUP))
    assert handled == [("f1", 2)]


@pytest.mark.one_server
async def test_node_takes_over_entries_of_a_dead_python_consumer(
    connect: Connect, inspector: Inspector, programs: Path, config: dict[str, Any]
) -> None:
    async with connect(ev.App("files")) as bus:
        await bus.publish_many([a_file(n) for n in range(5)])
        assert len(await inspector.read_and_die()) == 5
        async with running(programs, "extractor.mjs", config | {"lease_ms": 200}) as node:
            await eventually(lambda: len(node.said("handled")) == 5)
            await eventually(lambda: _idle(bus, GROUP))
    assert {line["attempt"] for line in node.said("handled")} == {2}


@pytest.mark.one_server
async def test_node_dead_letters_entries_that_killed_their_consumers(
    connect: Connect, inspector: Inspector, programs: Path, config: dict[str, Any]
) -> None:
    async with connect(ev.App("files")) as bus:
        await bus.publish(a_file(1))
        [id_] = await inspector.read_and_die()
        await inspector.take_over(id_, "dead", idle_ms=10_000, deliveries=3)
        async with running(programs, "extractor.mjs", config | {"lease_ms": 1000}) as node:
            [dead_letter] = await eventually(inspector.dead_letters)
    assert (dead_letter[b"reason"], dead_letter[b"attempts"]) == (b"poison", b"3")
    assert node.said("started") == []


@pytest.mark.one_server
async def test_node_renews_the_leases_of_entries_under_way(
    connect: Connect, inspector: Inspector, programs: Path, config: dict[str, Any]
) -> None:
    app, handled = colleague(lease_s=1.5)  # a loaded machine may stand still for a shorter one
    observed = Record()
    async with connect(app) as bus, running(programs, "extractor.mjs", config | {"lease_ms": 1500}) as node:
        await bus.publish(a_file(1, SLOW))
        await eventually(lambda: node.said("started"))
        async with bus.running(observe=observed):
            [row] = await inspector.pending()
            await inspector.wait_for_renewals({row.id}, 4)  # more than a lease
            [row] = await inspector.pending()
            assert row.deliveries == 1
    assert handled == []
    assert observed.kinds() == []
    assert [line["attempt"] for line in node.said("started")] == [1]


async def test_node_gets_events_after_a_flush(
    connect: Connect, inspector: Inspector, programs: Path, config: dict[str, Any]
) -> None:
    async with connect(ev.App("files")) as bus, running(programs, "extractor.mjs", config) as node:
        await bus.publish(a_file(1))
        await eventually(lambda: node.said("handled"))
        await bus.delete_all()
        await bus.publish(a_file(2))
        await eventually(lambda: len(node.said("handled")) == 2)
    assert [line["data"]["file_id"] for line in node.said("handled")] == ["f1", "f2"]


@pytest.mark.one_server
async def test_node_gives_back_entries_that_it_has_not_begun(
    connect: Connect, inspector: Inspector, programs: Path, config: dict[str, Any]
) -> None:
    """It stops after the current entry. The others that it took over go back to the group without an attempt."""
    async with connect(ev.App("files")) as bus:
        await bus.publish_many([a_file(1, SLOW), a_file(2), a_file(3)])
        for id_ in await inspector.read_and_die():
            await inspector.take_over(id_, "dead", idle_ms=60_000, deliveries=1)
        async with running(programs, "extractor.mjs", config) as node:
            await eventually(lambda: node.said("started"))
            node.send(signal.SIGTERM)
            await eventually(lambda: node.said("stopping"))
            await asyncio.to_thread(Path(config["gate"]).touch)
            assert await node.ended() == 0
        assert await inspector.pending() == []
        backlog = await bus.backlog("files", GROUP)
        attempts = [fields[b"attempts"] for fields in await inspector.events(retried=True)]
    assert [line["data"]["file_id"] for line in node.said("handled")] == ["f1"]
    assert backlog.retrying == 2
    assert attempts == [b"1", b"1"], "the dead consumer's attempt counts, the one that never began does not"


@pytest.mark.one_server
async def test_python_handles_events_that_node_publishes_once_and_in_order(
    connect: Connect, inspector: Inspector, programs: Path, config: dict[str, Any], namespace: str
) -> None:
    app, handled = colleague(lease_s=30.0)
    files = [a_file(n).model_dump(mode="json") for n in range(20)]
    async with connect(app) as bus, bus.running():
        said = await result(programs, "uploader.mjs", config | {"files": files, "simply": 5})
        await eventually(lambda: len(handled) >= 20)
        await eventually(lambda: _idle(bus, GROUP))
        assert await inspector.dead_letters() == []
    assert said == {"appended": [15, 0], "refused": []}
    assert handled == [(f"f{n}", 1) for n in range(20)]
    assert not await inspector.raw.keys(f"{namespace}:*producer*")


@pytest.mark.one_server
async def test_node_refuses_to_publish_events_that_the_schema_forbids(
    programs: Path, config: dict[str, Any], inspector: Inspector
) -> None:
    data = a_file(1).model_dump(mode="json")
    wrong = [{**data, "size_bytes": "many"}, {**data, "colour": "red"}, {**data, "sha256": "0"}]
    said = await result(programs, "uploader.mjs", config | {"files": [data, *wrong], "simply": 1})
    assert [line.partition(":")[0] for line in said["refused"]] == [
        "/data/size_bytes",
        "/data",
        "/data/sha256",
    ]
    assert len(await inspector.events()) == 1
