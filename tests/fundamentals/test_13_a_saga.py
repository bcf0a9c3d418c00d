"""A saga is a business act of several steps. If one fails for good, what was done before it is undone."""

from pydantic import BaseModel

import eventlib as ev
from tests.shop import Connect


class UploadDropped(ev.Event, type="upload.dropped", version=1, stream="uploads"):
    file_id: str


class Upload(BaseModel):
    file_id: str
    pages: int


async def test_a_file_is_processed_or_nothing_of_it_stays(connect: Connect) -> None:
    """Upload, extract, embed, index, notify: as the file services of `eventlib.catalog` do it."""
    app, stored = ev.App("files"), set[str]()

    async def store(saga: ev.SagaContext[Upload]) -> str:
        stored.add("content")
        return f"files/{saga.input.file_id}/content"  # what a step returns is kept

    async def drop_content(saga: ev.SagaContext[Upload]) -> None:
        stored.discard("content")
        saga.emit(UploadDropped(file_id=saga.input.file_id))  # published if this undo succeeds, in one act with it

    async def extract(saga: ev.SagaContext[Upload]) -> str:
        assert saga.results["store"] == f"files/{saga.input.file_id}/content"  # later steps see it
        stored.add("text")
        return f"files/{saga.input.file_id}/text"

    async def drop_text(saga: ev.SagaContext[Upload]) -> None:
        stored.discard("text")

    async def embed(saga: ev.SagaContext[Upload]) -> int:
        if saga.input.pages > 1000:
            raise ev.Reject("too long to embed")  # it certainly did not happen: no undo of its own
        return saga.input.pages

    async def index(saga: ev.SagaContext[Upload]) -> None:
        stored.add("index")

    async def notify(saga: ev.SagaContext[Upload]) -> None: ...

    process = app.saga(
        "file",
        ev.Step(store, undo=drop_content),  # its undo is registered before it begins
        ev.Step(extract, undo=drop_text),
        ev.Step(embed, undo=ev.NOTHING_TO_UNDO),
        ev.Step(index, undo=ev.NOTHING_TO_UNDO),
        ev.Step(notify),
        input=Upload,
    )
    async with connect(app) as bus, bus.running():
        short = await bus.start(process, Upload(file_id="f1", pages=12), key="f1")
        assert (await bus.sagas(process).wait(short, timeout_s=5.0)).status == "completed"
        assert stored == {"content", "text", "index"}

        stored.clear()
        long = await bus.start(process, Upload(file_id="f2", pages=5000), key="f2")
        saga = await bus.sagas(process).wait(long, timeout_s=5.0)
        assert (saga.status, saga.why) == ("compensated", "step embed was rejected: Reject: too long to embed")
        assert stored == set()
