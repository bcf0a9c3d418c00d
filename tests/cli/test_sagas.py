"""`workbench sagas`: what an operator does from a terminal, without the App."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import eventlib as ev
from sim.cli.commands import app as workbench
from tests.saga_shop import Desk, Order, order_app
from tests.shop import Connect

Sagas = Callable[..., Awaitable[Result]]


@pytest.fixture
def sagas(url: str, namespace: str) -> Sagas:
    """Run `workbench sagas VERB order ...` on this test's server and namespace."""

    def run(verb: str, *rest: str) -> Result:
        command = ["sagas", verb, "order", *rest, "--url", url, "--namespace", namespace]
        return CliRunner(env={"COLUMNS": "160", "REDIS_URL": None}).invoke(workbench, command)

    async def run_beside(*arguments: str) -> Result:
        return await asyncio.to_thread(run, *arguments)

    return run_beside


@pytest.fixture
async def desk(connect: Connect) -> Desk:
    """A1 is parked, because its refund fails; A2 is completed."""
    desk = Desk()
    app, order = order_app(desk)
    async with connect(app) as bus, bus.running():
        await bus.sagas(order).wait(await bus.start(order, Order(number=2), key="A2"), timeout_s=30.0)
        desk.fails("ship", ev.Reject("no van [red]\x1b"))
        desk.fails("refund", ConnectionError("no bank"))
        await bus.sagas(order).wait(await bus.start(order, Order(number=1), key="A1"), timeout_s=30.0)
    return desk


async def finish(connect: Connect, desk: Desk, saga_id: str) -> str:
    """What becomes of a saga when a worker runs whose acts succeed."""
    desk.hooks.clear()
    app, order = order_app(desk)
    async with connect(app) as bus, bus.running():
        return (await bus.sagas(order).wait(saga_id, timeout_s=30.0)).status


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


async def test_list_and_show(sagas: Sagas, desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "sagas.json"
    said = done(await sagas("list", "--json", str(file)))
    assert all(
        part in said for part in ("A1", "parked", "undo of charge", "ConnectionError: no bank", "A2", "completed")
    )
    listed = json.loads(file.read_text())["sagas"]
    assert [(saga["id"], saga["status"]) for saga in listed] == [("A2", "completed"), ("A1", "parked")]
    parked = done(await sagas("list", "--status", "parked"))
    assert "A1" in parked and "A2" not in parked
    assert "There are more: --first 1" not in parked

    said = done(await sagas("show", "A1", "--json", str(file)))
    assert all(
        part in said for part in ('{"number": 1}', "rejected", "no van [red]\\x1b", '{"shelf": "s1"}', "undo failed")
    )
    shown: Any = json.loads(file.read_text())
    assert shown["step"] == "charge" and [note["what"] for note in shown["history"]][:3] == ["started", "done", "done"]
    assert "No sagas order are there" in done(await sagas("list", "--status", "running"))


async def test_retry(sagas: Sagas, desk: Desk, connect: Connect) -> None:
    assert "A1 is compensating: step ship was rejected" in done(await sagas("retry", "A1"))
    assert await finish(connect, desk, "A1") == "compensated"


async def test_resolve(sagas: Sagas, desk: Desk, connect: Connect) -> None:
    assert "A1 is compensating" in done(await sagas("resolve", "A1", "--as", "undone"))
    assert await finish(connect, desk, "A1") == "compensated"
    assert desk.acts[-1] == "release"


async def test_cancel_tells_how_the_saga_stands(sagas: Sagas, desk: Desk) -> None:
    assert "A2 is completed" in done(await sagas("cancel", "A2"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "A9"], "no saga A9"),
        (["retry", "A2"], "it is completed; only a parked saga"),
        (["resolve", "A1", "--as", "gone"], "it is one of completed, compensated, done, undone"),
        (["resolve", "A1", "--as", "done"], "it stopped while it compensated"),
        (["list", "--status", "gone"], "it is one of running"),
    ],
)
async def test_what_cannot_be_is_told_in_a_line(sagas: Sagas, desk: Desk, arguments: list[str], told: str) -> None:
    result = await sagas(*arguments)
    assert result.exit_code == 2 and told in result.output and "Traceback" not in result.output


async def test_a_name_of_no_saga_is_told(sagas: Sagas) -> None:
    result = await sagas("list")
    assert result.exit_code == 2 and "sagas 'order'" in result.output and "no saga of this name" in result.output


@pytest.mark.parametrize("verb", ["list", "show", "retry", "resolve", "cancel"])
def test_every_command_has_an_example(verb: str) -> None:
    said = CliRunner().invoke(workbench, ["sagas", verb, "--help"]).output
    assert f"workbench sagas {verb}" in said and "Exit status" in said
