"""One upload, four groups. Each has its own progress, lag and failures, and none of them holds up another."""

import asyncio
from contextlib import AsyncExitStack

import eventlib as ev
from eventlib.catalog import FileUploaded
from tests.catalog_samples import uploaded
from tests.shop import Connect

COUNT = 10


async def test_groups_that_are_slow_fail_or_are_away_do_not_hold_up_the_others(connect: Connect) -> None:
    app, extracted, indexed = ev.App("files"), list[str](), list[str]()
    notify_goes_on = asyncio.Event()

    @app.subscribe(FileUploaded, group="extract")
    async def extract(event: FileUploaded, _: ev.Delivery) -> None:
        extracted.append(event.file_id)

    @app.subscribe(FileUploaded, group="embed", retry=ev.Retry(attempts=2, wait_s=0.0))
    async def embed(event: FileUploaded, _: ev.Delivery) -> None:
        raise ConnectionError("the model does not answer")  # it fails

    @app.subscribe(FileUploaded, group="notify")
    async def notify(event: FileUploaded, _: ev.Delivery) -> None:
        await notify_goes_on.wait()  # it is slow

    @app.subscribe(FileUploaded, group="index")
    async def index(event: FileUploaded, _: ev.Delivery) -> None:
        indexed.append(event.file_id)

    async with connect(app) as bus, AsyncExitStack() as running:
        await running.enter_async_context(bus.running(groups=["extract", "embed", "notify"]))  # index is away
        uploads = [uploaded.model_copy(update={"file_id": f"f{number}"}) for number in range(COUNT)]
        await bus.publish_many(uploads)

        await bus.drained("files", "extract")
        assert sorted(extracted) == sorted(upload.file_id for upload in uploads)

        await bus.drained("files", "embed")
        assert (await bus.backlog("files", "embed")).dead == COUNT
        assert (await bus.backlog("files", "notify")).total == COUNT
        assert (await bus.backlog("files", "index")).waiting == COUNT
        assert (await bus.backlog("files", "extract")) == ev.Backlog(0, 0, 0, 0, 0)

        notify_goes_on.set()
        await running.enter_async_context(bus.running(groups=["index"]))
        await bus.drained("files", "notify")
        await bus.drained("files", "index")
        assert len(indexed) == COUNT and len(extracted) == COUNT
