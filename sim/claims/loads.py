"""What the claims about speed send: a steady load, and a burst of events of ordinary size."""

import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from eventlib import App, connect
from eventlib.catalog import FileUploaded
from sim.declare.loads.constant import ConstantLoad
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.declare.service_times.constant import ConstantTime

_UPLOADED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def steady_load() -> Scenario:
    """Steady 2,000 events a second, to see whether the generator and the library keep up."""
    work = ConstantTime(kind="constant", mean_s=0.002)
    return Scenario(
        name="steady load",
        load=ConstantLoad(kind="constant", event="order.placed", rate_per_s=2000, duration_s=3.0),
        services={"billing": Service(consumes="order.placed", consumers=2, concurrency=16, service_time=work)},
        drain_s=10,
    )


def file_uploaded(index: int) -> FileUploaded:
    """The event with this number: no two are equal, and each has about 470 bytes on the wire."""
    return FileUploaded(
        file_id=f"01J9ZQ4K7M{index:016d}",
        user_id="01J9ZQ4K7M0000000000000042",
        file_name=f"report-{index}.pdf",
        media_type="application/pdf",
        size_bytes=index,
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        storage_key=f"files/{index}",
        uploaded_at=_UPLOADED_AT,
    )


async def publish_burst(url: str, events: Sequence[FileUploaded]) -> float:
    """Publish typed events of ordinary size as fast as one process can. Returns events a second."""
    async with connect(App("burst"), url, namespace=f"wb-{secrets.token_hex(6)}") as bus:
        try:
            start = time.perf_counter()
            await bus.publish_many(events)
            return len(events) / (time.perf_counter() - start)
        finally:
            await bus.delete_all()
