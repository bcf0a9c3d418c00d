"""`workbench tasks` and `workbench schedules`: what an operator does from a terminal, without the App."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from typer.testing import CliRunner, Result

import eventlib as ev
from eventlib.cli.terminal import out
from eventlib.testing import eventually
from sim.cli.commands import app as workbench
from tests.shop import Connect

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `workbench ...` on this test's server and namespace."""

    def invoke(columns: int, *arguments: str) -> Result:
        monkeypatch.setattr(out, "_width", columns)  # COLUMNS counted when it was made
        command = [*arguments, "--url", url, "--namespace", namespace]
        return CliRunner(env={"COLUMNS": str(columns), "REDIS_URL": None}).invoke(workbench, command)

    async def run_beside(*arguments: str, columns: int = 160) -> Result:
        return await asyncio.to_thread(invoke, columns, *arguments)

    return run_beside


def done(result: Result, status: int = 0) -> str:
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.fixture
def app() -> ev.App:
    found = ev.App("shop")

    @found.task(limit=1)
    async def send(order_id: str) -> None:
        if order_id.startswith("bad"):
            raise ev.Reject("\x1b[2J no such order")

    found.schedule("nightly", send, cron="0 3 * * *", tz="Europe/Berlin", args=("N",))
    return found


@pytest.fixture
async def bus(connect: Connect, app: ev.App) -> AsyncIterator[ev.Bus]:
    async with connect(app) as connected:
        yield connected


def send(bus: ev.Bus) -> ev.Task[[str], None]:
    return bus.app.tasks["send"]


async def test_tasks_are_listed_shown_and_cancelled(run: Run, bus: ev.Bus) -> None:
    later = await bus.enqueue(send(bus), delay_s=600.0)("A1")
    bad = await bus.enqueue(send(bus), priority="high")("bad")
    async with bus.running():
        with pytest.raises(ev.TaskFailed):
            await bad.result(30.0)
    waiting = await bus.enqueue(send(bus))("A2")
    listed = json.loads((await run("tasks", "list", "default", "--json", "-")).stdout)
    assert {task["id"]: task["state"] for task in listed["tasks"]} == {
        later.id: "delayed",
        bad.id: "failed",
        waiting.id: "waiting",
    }
    said = done(await run("tasks", "list", "default", columns=60))
    assert all(handle.id in said for handle in (later, bad, waiting)) and "\x1b[2J" not in said
    assert "1 task" in done(await run("tasks", "list", "default", "--state", "delayed", "--name", "send"))
    assert "and there are more" in done(await run("tasks", "list", "default", "--limit", "2"))
    shown = done(await run("tasks", "show", "default", bad.id))
    assert f"workbench dlq show tasks.default workers {(await bad.state()).dead_letter_id}" in shown
    assert "rejected: Reject: \\x1b[2J no such order" in shown
    assert "is waiting" in done(await run("tasks", "run-now", "default", later.id))
    assert "is cancelled" in done(await run("tasks", "cancel", "default", later.id))
    assert "had ended before" in done(await run("tasks", "cancel", "default", bad.id), 1)
    assert "has ended" in done(await run("tasks", "run-now", "default", bad.id), 1)
    assert "is not known in queue default" in done(await run("tasks", "cancel", "default", "nothing"), 1)
    assert "knows no task nothing" in done(await run("tasks", "show", "default", "nothing"), 2)


async def test_a_queues_health_is_shown_as_numbers(run: Run, bus: ev.Bus) -> None:
    await bus.enqueue(send(bus), priority="low")("A1")
    await bus.enqueue(send(bus), delay_s=600.0)("A2")
    said = done(await run("tasks", "health", "default"))
    assert "default: 0 running, 1 delayed, 0 blocked by limits, 0 dead; workers alive: 0" in said
    found = json.loads((await run("tasks", "health", "default", "--json", "-")).stdout)
    assert found["waiting"]["low"] == 1 and found["delayed"] == 1 and found["queue"] == "default"
    assert found["paused"] is False and "paused" not in said
    await bus.pause(queue="default")
    assert "It is paused: its workers start no task until" in done(await run("tasks", "health", "default"))
    assert (await bus.queue_health()).paused is True
    said = done(await run("tasks", "health", "others"), 2)
    assert "queue 'others'" in said and "there is none of this name" in said


async def both_are_there(bus: ev.Bus) -> bool:
    return len(await bus.schedules.list()) == 2


async def test_schedules_are_listed_shown_paused_run_and_removed(run: Run, bus: ev.Bus) -> None:
    assert "queue 'default'" in done(await run("schedules", "list", "default"), 2)
    await bus.enqueue(send(bus))("A1")
    assert "0 schedules" in done(await run("schedules", "list", "default"))
    await bus.schedules.add("often", send(bus), every_s=3600.0, overlap="queue")("A1")
    async with bus.running():
        await eventually(lambda: both_are_there(bus))
    said = done(await run("schedules", "list", "default"))
    assert "2 schedules" in said and "0 3 * * * in Europe/Berlin" in said and "every 3600 s" in said
    assert "nightly" in done(await run("schedules", "list", "default", columns=40))
    shown = done(await run("schedules", "show", "default", "nightly"))
    assert "declared by App" not in shown and "shop" in shown and "once, if over 5 s late" in shown
    assert "paused" in done(await run("schedules", "pause", "default", "often"))
    listed = json.loads((await run("schedules", "list", "default", "--json", "-")).stdout)["schedules"]
    assert {each["name"]: each["halted"] for each in listed} == {"nightly": None, "often": "paused"}
    assert listed[1]["rule"]["every_s"] == 3600.0 and "slots" not in listed[1]["rule"]
    enqueued = json.loads((await run("schedules", "run-now", "default", "often", "--json", "-")).stdout)
    assert (await bus.tasks.state("default", enqueued["task_id"])).state == "waiting"
    history = done(await run("schedules", "history", "default", "often"))
    assert f"by hand {enqueued['task_id']}" in history.replace("0.000 s ", "")
    assert "runs" in done(await run("schedules", "resume", "default", "often"))
    said = done(await run("schedules", "remove", "default", "nightly"))
    assert "would be removed; --yes does it. App shop declares it" in said
    assert "often is removed." in done(await run("schedules", "remove", "default", "often", "--yes"))
    for verb in ("show", "pause", "resume", "remove", "run-now", "history"):
        assert "there is none of this name" in done(await run("schedules", verb, "default", "often"), 2)


@pytest.mark.parametrize("command", ["tasks", "schedules"])
async def test_bad_input_is_told_in_a_line(run: Run, command: str) -> None:
    assert "is not a valid name" in done(await run(command, "list", "a:b"), 2)
    assert "No such option" in done(await run(command, "list", "default", "--nonsense"), 2)
    assert "--limit" in done(await run("tasks", "list", "default", "--limit", "0"), 2)
    assert "is none of delayed, waiting" in done(await run("tasks", "list", "default", "--state", "odd"), 2)


@pytest.mark.parametrize("command", ["tasks", "schedules"])
def test_every_command_shows_an_example(command: str) -> None:
    helped = CliRunner().invoke(workbench, [command, "--help"])
    assert helped.exit_code == 0 and "Example" in helped.stdout
    verbs = {"tasks": ("health", "list", "show", "cancel", "run-now")}.get(
        command, ("list", "show", "pause", "resume", "remove", "run-now", "history")
    )
    for verb in verbs:
        assert "Example" in CliRunner().invoke(workbench, [command, verb, "--help"]).stdout
