"""A worker of the campaign on sagas. It kills itself at a boundary for which it finds a file: `armed/BOUNDARY`.

What the steps do is a line in the file `effects`, written at one moment: it is there or not, whenever the worker dies.
"""

import asyncio
import json
import logging
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import eventlib as ev
from eventlib.broker.sagas import Change, SagaStore
from eventlib.publish.publisher import Publisher

BOUNDARIES = (
    *("message read", "act begun", "act about to happen", "act has happened", "outcome on its way", "outcome stored"),
    *("failure noted", "undo about to happen", "undo has happened", "undo on its way", "undo stored"),
    "emitted event published",
)
NAMES: Mapping[str, Any] = {"order": "retry", "careful": "undo", "manual": "park"}  # what is unknown of a charge
LEASE_S = 1.5  # it ends for what is killed, not for what stands still on a busy machine


class Order(BaseModel):
    number: int
    fails: str = ""  # the step that fails for good
    stumbles: str = ""  # the step whose first attempt fails


class Shipped(ev.Event, type="campaign.shipped", version=1, stream="shipped"):
    saga: str


Context = ev.SagaContext[Order]


class Worker:
    """The steps of all sagas, and where they may end."""

    def __init__(self, folder: Path) -> None:
        self._armed = folder / "armed"
        self._effects = os.open(folder / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._killed = os.open(folder / "killed", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def at(self, boundary: str, saga_id: str, step: str = "") -> None:
        """Die here, if that is asked for."""
        try:
            os.unlink(self._armed / boundary)  # only one worker succeeds
        except FileNotFoundError:
            return
        os.write(self._killed, json.dumps([boundary, saga_id, step]).encode() + b"\n")
        os.kill(os.getpid(), signal.SIGKILL)

    async def act(self, name: str, saga: Context) -> None:
        """What each step and each undo does."""
        kind = "act" if saga.act == "do" else "undo"
        await asyncio.sleep(0)
        if saga.act == "do" and saga.input.fails == name:
            raise ev.Reject("it cannot be")
        if saga.act == "do" and saga.input.stumbles == name and saga.attempt == 1:
            raise ConnectionError("a first attempt")
        self.at(f"{kind} about to happen", saga.id, name)
        os.write(self._effects, json.dumps([saga.id, saga.act, saga.step]).encode() + b"\n")
        self.at(f"{kind} has happened", saga.id, name)

    def app(self) -> ev.App:
        """The App with all sagas."""
        app = ev.App("campaign")
        retry = ev.Retry(attempts=12, wait_s=0.01, wait_s_max=0.1)
        for saga_name, unknown in NAMES.items():

            async def reserve(saga: Context) -> int:
                await self.act("reserve", saga)
                return saga.input.number

            async def charge(saga: Context) -> int:
                await self.act("charge", saga)
                return saga.input.number

            async def ship(saga: Context) -> None:
                await self.act("ship", saga)
                saga.emit(Shipped(saga=saga.id))

            async def undo(saga: Context) -> None:
                await self.act(saga.step, saga)

            steps = [ev.Step(do, undo=undo, retry=retry, undo_retry=retry) for do in (reserve, ship)]
            steps.insert(1, ev.Step(charge, undo=undo, retry=retry, undo_retry=retry, unknown=unknown))
            app.saga(saga_name, *steps, input=Order, timeout_s=3600.0, concurrency=16, lease_s=LEASE_S)
        return app

    def watch(self) -> None:
        """Put the boundaries around the calls to the server."""
        begin, apply, publish = SagaStore.begin, SagaStore.apply, Publisher.publish_written

        async def begin_here(store: SagaStore, saga_id: str, *rest: Any) -> Any:
            self.at("message read", saga_id)
            fields = await begin(store, saga_id, *rest)
            self.at("act begun", saga_id)
            return fields

        async def apply_here(store: SagaStore, change: Change, **options: Any) -> int:
            what = _what(change)
            sending = asyncio.ensure_future(apply(store, change, **options))
            if what:
                await asyncio.sleep(0)  # it is sent
                self.at(f"{what} on its way", change.saga_id)
            stored: int = await sending
            if what:
                self.at(f"{what} stored", change.saga_id)
            elif any(b"attempt failed" in line for line in change.history):
                self.at("failure noted", change.saga_id)
            return stored

        async def publish_here(publisher: Publisher, stream: str, id_: str, body: bytes, unique_for_s: float) -> None:
            await publish(publisher, stream, id_, body, unique_for_s)
            self.at("emitted event published", json.loads(body)["data"]["saga"])

        SagaStore.begin = begin_here  # type: ignore[method-assign, assignment]
        SagaStore.apply = apply_here  # type: ignore[method-assign, assignment]
        Publisher.publish_written = publish_here  # type: ignore[method-assign, assignment]


def _what(change: Change) -> str:
    told = json.loads(change.history[0])["what"] if change.history else ""
    return {"done": "outcome", "rejected": "outcome", "undone": "undo"}.get(told, "")


def work(url: str, namespace: str, folder: Path) -> None:
    """Work until SIGTERM, or until a boundary."""
    logging.disable(logging.WARNING)  # that steps fail is what is wanted here
    worker = Worker(folder)
    worker.watch()
    asyncio.run(_until_stopped(worker.app(), url, namespace))


async def _until_stopped(app: ev.App, url: str, namespace: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with ev.connect(app, url, namespace=namespace) as bus, bus.running():
        await stop.wait()
