"""workbench groups, and what tasks and sagas share with it: pause, resume, show."""

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner

import eventlib as ev
from eventlib.testing import private_server
from sim.cli.commands import app as workbench
from tests.shop import new_app, orders


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(workbench, [*words])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.output


async def use(url: str) -> None:
    """A group, and a queue with a task."""
    app, _ = new_app()

    @app.task(queue="mail")
    async def send() -> None: ...

    async with ev.connect(app, url) as bus, bus.running():
        await bus.publish_many(orders(1))
        await bus.drained("orders", "billing")
        await (await bus.enqueue(send)()).result(timeout_s=30.0)


def test_a_group_and_a_queue_are_paused_and_resumed_from_the_command_line() -> None:
    with private_server() as server:
        asyncio.run(use(server.url))
        at = ["orders", "billing", "--url", server.url]
        assert run("groups", "show", *at) == (0, "billing on orders is not paused.\n")
        status, told = run("groups", "pause", *at, "--reason", "the [bank] is down", "--by", "ann")
        assert status == 0 and told.startswith("billing on orders is paused: ")
        assert run("groups", "pause", *at)[0] == 0  # once more: it says how it stands
        status, told = run("groups", "show", *at)
        assert status == 0 and "ann" in told and "the [bank] is down" in told and told.count("pause") == 2
        status, told = run("groups", "show", *at, "--json", "-")
        document: dict[str, Any] = json.loads(told[told.index("{\n") :])
        assert document["groups"][0]["paused"] is True and len(document["groups"][0]["records"]) == 1
        assert "resume: reason has 501 characters" in run("groups", "resume", *at, "--reason", "x" * 501)[1]
        assert run("groups", "resume", *at) == (0, "billing on orders goes on within a second.\n")
        assert run("groups", "show", *at)[1].startswith("billing on orders is not paused.")
        assert run("tasks", "pause", "mail", "--url", server.url)[0] == 0
        assert run("tasks", "resume", "mail", "--url", server.url)[0] == 0
        for wrong in (["tasks", "pause", "mall"], ["groups", "pause", "orders", "x"], ["sagas", "pause", "oder"]):
            status, told = run(*wrong, "--url", server.url)
            assert (status, told.count("error: "), told.count("\n")) == (2, 1, 1), told


@pytest.mark.parametrize("kind", ["groups", "tasks", "sagas"])
def test_each_kind_has_help_with_an_example(kind: str) -> None:
    for act in ("pause", "resume"):
        status, told = run(kind, act, "--help")
        assert status == 0 and f"workbench {kind} {act} " in " ".join(told.split())
