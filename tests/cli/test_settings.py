"""`workbench settings`, and that no command shows a password."""

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import redis
from typer.testing import CliRunner, Result

from eventlib.broker.keys import Keys
from eventlib.cli.terminal import out
from eventlib.testing import private_server
from sim.cli.commands import app as workbench

SECRET = "s3cr3t-of-default"


def invoke(*arguments: str, **environment: str) -> Result:
    return CliRunner(env={"COLUMNS": "160", "REDIS_URL": None, **environment}).invoke(workbench, arguments)


def test_settings_are_shown_with_where_they_are_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "_width", 160)
    file = tmp_path / "e.toml"
    file.write_text("[outage]\nwait_s = 5\n")
    environment = {"REDIS_URL": f"redis://me:{SECRET}@host:1/0", "EVENTLIB_RUNNING_GRACE_S": "9"}
    result = invoke("settings", "--file", str(file), "--json", str(tmp_path / "o.json"), **environment)
    assert result.exit_code == 0 and SECRET not in result.output
    lines = {line.split()[0]: line.split() for line in result.output.splitlines() if "." in line}
    assert lines["redis.url"] == ["redis.url", "REDIS_URL", "redis://***@host:1/0", "environment"]
    assert lines["outage.wait_s"][2] == "5.0" and lines["running.grace_s"][2:] == ["9.0", "environment"]
    rows = {row["setting"]: row for row in json.loads((tmp_path / "o.json").read_text())["settings"]}
    assert rows["outage.wait_s"] == {
        "setting": "outage.wait_s",
        "variable": "EVENTLIB_OUTAGE_WAIT_S",
        "value": 5.0,
        "from": str(file),
    }
    assert SECRET not in (tmp_path / "o.json").read_text()


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """A server with a password, a stream and a group."""
    with private_server(port=0) as server:
        with redis.Redis.from_url(server.url) as raw:  # an option of the server would be on its command line
            raw.config_set("requirepass", SECRET)
        url = server.url.replace("//", f"//:{SECRET}@")
        with redis.Redis.from_url(url) as raw:
            at = Keys("ev").group("orders", "billing")
            for number in range(20):
                raw.xadd(at.stream, {"event": f"{number}"})
            raw.xgroup_create(at.stream, "billing")
        yield url


COMMANDS = [
    ["dlq", "list", "orders", "billing"],
    ["tasks", "health", "default"],
    ["schedules", "list", "default"],
    ["sagas", "list", "order"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_no_command_prints_a_password_and_each_warns_of_one_on_its_line(
    guarded: str, command: list[str], right: bool
) -> None:
    url = guarded if right else guarded.replace(SECRET, f"{SECRET}-wrong")
    result = invoke(*command, "--url", url)
    assert SECRET not in result.output and "Traceback" not in result.output
    assert "`ps` shows the password in this URL" in result.output
    result = invoke(*command, REDIS_URL=url)
    assert SECRET not in result.output and "`ps`" not in result.output


def test_commands_take_the_password_from_a_file(guarded: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET)
    bare = guarded.replace(f":{SECRET}@", "")
    for command in (["exporter", bare, "--once"], ["dlq", "list", "orders", "billing", "--url", bare]):
        result = invoke(*command, REDIS_PASSWORD_FILE=str(file))
        assert result.exit_code == 0, result.output
        assert SECRET not in result.output and "`ps`" not in result.output
    result = invoke("exporter", "--once", REDIS_URL=bare, REDIS_PASSWORD_FILE=str(file))
    assert result.exit_code == 0 and "ev:{orders}:events" in result.output


SCENARIO = """
name: small
load: {kind: constant, event: order.placed, rate_per_s: 20, duration_s: 0.5}
services:
  billing:
    consumes: order.placed
    service_time: {kind: constant, mean_s: 0.001}
"""


def test_the_processes_of_a_live_run_show_no_password(guarded: str, tmp_path: Path) -> None:
    """What `ps` shows of the command and of all that it starts, until it has ended; and what it prints."""
    file = tmp_path / "small.yaml"
    file.write_text(SCENARIO)
    lines = set[str]()
    with ThreadPoolExecutor() as threads:
        running = threads.submit(invoke, "live", str(file), "--seeds", "1", "--repeats", "1", REDIS_URL=guarded)
        while not running.done():
            for each in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    lines.add(" ".join(each.cmdline()))
            time.sleep(0.02)
    result = running.result()
    assert result.exit_code in (0, 3), result.output  # 3: the machine was too busy for a valid run
    assert len(lines) > 1 and SECRET not in result.output + "".join(lines)
