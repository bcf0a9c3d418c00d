"""`workbench run`: a service is ready, drains when it is asked to end, and waits for a server that is away."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

import eventlib as ev
from eventlib.testing import Inspector, eventually, private_server
from sim.cli.commands import app as workbench
from tests.probing import get
from tests.repository import TOP
from tests.shop import Connect, orders

pytestmark = pytest.mark.one_server  # what is tested is the command

SERVICE = """
import asyncio
import pathlib

import eventlib as ev


class OrderPlaced(ev.Event, type="order.placed", version=1, stream="orders"):
    number: int


app = ev.App("shop")


@app.subscribe(OrderPlaced, group="billing")
async def charge(order: OrderPlaced, delivery: ev.Delivery) -> None:
    pathlib.Path(f"begun-{order.number}").touch()
    while order.number and not pathlib.Path("release").exists():
        await asyncio.sleep(0.01)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "service.py").write_text(SERVICE)
    return tmp_path


class Service:
    """A process of `workbench run`, and all that it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""
        self._reading = asyncio.create_task(self._read())

    async def says(self, text: str) -> str:
        """Wait for a text, a pattern. Returns the line."""
        [line, *_] = await eventually(lambda: re.findall(f"^.*{text}.*$", self.said, re.MULTILINE))
        return str(line)

    async def status(self) -> int:
        """Wait for the end."""
        await self._reading
        return await self.process.wait()

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.said += line.decode()


@asynccontextmanager
async def running(folder: Path, *options: str, stdout: int = asyncio.subprocess.DEVNULL) -> AsyncIterator[Service]:
    command = [sys.executable, "-m", "workbench", "run", "service:app", "--health-port", "0", *options]
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=stdout, stderr=asyncio.subprocess.PIPE
    )
    service = Service(process)
    try:
        yield service
    finally:
        if process.returncode is None:
            process.kill()
        await service.status()


async def test_a_service_that_is_asked_to_end_finishes_what_runs(
    folder: Path, connect: Connect, url: str, namespace: str
) -> None:
    options = ("--url", url, "--namespace", namespace, "--json", "result.json")
    async with connect(ev.App("shop")) as bus, running(folder, *options) as service:
        health = (await service.says("Health: ")).split()[-1].removesuffix("/readyz")
        await bus.publish_many(orders(0, 1))
        await eventually((folder / "begun-1").exists)
        assert (await get(health, "/readyz")).status == 200
        service.process.send_signal(signal.SIGTERM)
        await service.says("SIGTERM: reads nothing more; 1 in hand")
        await eventually(lambda: _is_leaving(health))
        (folder / "release").touch()
        assert await service.status() == 0
        assert "shop has left after" in service.said and "Traceback" not in service.said
        assert (await bus.backlog("orders", "billing")).total == 0
    result = json.loads((folder / "result.json").read_text())
    assert result["ended_by"] == "SIGTERM" and result["groups"][0]["handled"] == 2


async def _is_leaving(health: str) -> bool:
    reply = await get(health, "/readyz")
    return reply.status == 503 and "is leaving" in reply.text and (await get(health, "/livez")).status == 200


async def test_json_on_standard_output_stands_alone_whatever_the_service_prints(
    folder: Path, connect: Connect, url: str, namespace: str
) -> None:
    prints = SERVICE.replace("    pathlib.Path", '    print("charged")\n    pathlib.Path', 1)
    (folder / "service.py").write_text(f'print("imported")\n{prints}')
    options = ("--url", url, "--namespace", namespace, "--json", "-")
    async with connect(ev.App("shop")) as bus, running(folder, *options, stdout=asyncio.subprocess.PIPE) as service:
        await service.says("Health: ")
        await bus.publish_many(orders(0))
        await eventually(lambda: "charged" in service.said)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.stdout is not None
        result = json.loads(await service.process.stdout.read())
        assert await service.status() == 0 and "imported" in service.said
    assert result["groups"][0]["handled"] == 1


async def test_what_does_not_end_within_the_grace_goes_back_and_a_second_signal_waits_for_nothing(
    folder: Path, connect: Connect, url: str, namespace: str, inspector: Inspector
) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish_many(orders(1))
        async with running(folder, "--url", url, "--namespace", namespace, "--grace", "0.1") as service:
            await eventually((folder / "begun-1").exists)
            service.process.send_signal(signal.SIGTERM)
            assert await service.status() == 0
        backlog = await bus.backlog("orders", "billing")
        assert (backlog.pending, backlog.retrying) == (0, 1)
        (folder / "begun-1").unlink()
        async with running(folder, "--url", url, "--namespace", namespace) as service:
            await eventually((folder / "begun-1").exists)
            service.process.send_signal(signal.SIGINT)
            await service.says("SIGINT: reads nothing more")
            service.process.send_signal(signal.SIGINT)
            assert await service.status() == 130
            assert "SIGINT again: it ends at once" in service.said and "Traceback" not in service.said
        assert (await bus.backlog("orders", "billing")).total == 1


async def test_a_server_that_is_away_at_the_start_is_waited_for(folder: Path) -> None:
    with private_server(port=0) as server:
        port = server.url.rpartition(":")[2].partition("/")[0]
    async with running(folder, "--url", f"redis://127.0.0.1:{port}/0") as service:
        await service.says("It is waited for, for 60 s: .*does not answer")
        with private_server(port=int(port)):
            await service.says("Health: ")
            service.process.send_signal(signal.SIGTERM)
            assert await service.status() == 0
    async with running(folder, "--url", f"redis://127.0.0.1:{port}/0") as service:
        await service.says("It is waited for")
        service.process.send_signal(signal.SIGTERM)
        assert await service.status() == 0


async def test_a_signal_that_is_ignored_stays_so(folder: Path, url: str, namespace: str) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup; a process inherits it
    try:
        async with running(folder, "--url", url, "--namespace", namespace) as service:
            await service.says("Health: ")
            service.process.send_signal(signal.SIGHUP)
            service.process.send_signal(signal.SIGTERM)
            assert await service.status() == 0 and "SIGHUP" not in service.said
    finally:
        signal.signal(signal.SIGHUP, before)


NOTHING = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["service"], "names nothing to import; write module:name"),
        (["misspelt:app"], "there is no module 'misspelt' in"),
        (["service:other"], "service has no 'other'"),
        (["service:OrderPlaced"], "not an App; name an eventlib.App"),
        (["broken:app"], "importing broken raises SyntaxError: invalid syntax (broken.py, line 1); correct it"),
        (["exiting:app"], "importing exiting ends the program (exiting.py, line 1)"),
        (["service:app", "--url", NOTHING, "--connect-within", "0"], "does not answer"),
        (["service:app", "--log-level", "loud"], "none of debug, info, warning and error"),
    ],
)
def test_what_cannot_run_is_told_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    (folder / "exiting.py").write_text("raise SystemExit(3)\n")
    (folder / "broken.py").write_text("def (\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "service", raising=False)
    url = [] if "--url" in arguments else ["--url", NOTHING]
    result = CliRunner(env={"COLUMNS": "400"}).invoke(workbench, ["run", *arguments, *url])
    assert result.exit_code == 2
    [line] = result.output.splitlines()
    assert line.startswith("error: ") and told in line
