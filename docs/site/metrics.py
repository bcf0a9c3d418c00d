"""The metrics, read from a program that runs: what it serves is what there is."""

import asyncio
import urllib.request
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

import eventlib as ev
from docs.site.markdown import table
from sim.cli.commands import app as workbench


class _Ordered(ev.Event, type="order.placed", version=1, stream="orders"):
    order_id: str


def of_program() -> str:
    """What `/metrics` of a program serves that consumes events and runs tasks."""
    with ev.private_server() as server:
        return _table(asyncio.run(_scraped(server.url)))


def of_exporter() -> str:
    """What `workbench exporter` serves of one stream with one group."""
    with ev.private_server() as server:
        asyncio.run(_scraped(server.url))
        done = CliRunner().invoke(workbench, ["exporter", server.url, "--once"])
        if done.exit_code:
            raise RuntimeError(done.output)
        return _table(done.stdout)


async def _scraped(url: str) -> str:
    app = ev.App("shop")

    @app.subscribe(_Ordered, group="billing")
    async def charge(_: _Ordered, __: ev.Delivery) -> None: ...

    @app.task()
    async def receipt(order_id: str) -> None: ...

    async with ev.connect(app, url) as bus, bus.running():
        served = bus.serve_health(0)
        await bus.publish(_Ordered(order_id="A1"))
        await (await bus.enqueue(receipt)("A1")).result(timeout_s=10.0)
        await bus.drained("orders", "billing")
        return await asyncio.to_thread(_read, f"{served.url}/metrics")


def _read(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10.0) as answer:  # loopback
        return str(answer.read(), "utf-8")


def _table(exposition: str) -> str:
    rows: Iterable[list[str]] = (
        [
            f"`{family.name}{'_total' if family.type == 'counter' else ''}`",
            family.type,
            ", ".join(
                f"`{label}`" for label in {label: 0 for s in family.samples for label in s.labels if label != "le"}
            ),
            family.documentation,
        ]
        for family in text_string_to_metric_families(exposition)
        if not family.name.startswith("process_")  # those of prometheus_client, which documents them
    )
    return table(["metric", "type", "labels", "what"], rows)
