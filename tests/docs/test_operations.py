"""docs/operations.md: its programs run, its metrics are those of the code, its user may do what the exporter does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import redis

from eventlib.testing import private_server
from tests.probing import ask
from tests.repository import TOP

PAGE = (TOP / "docs" / "operations.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"^```python\n# ([\w.]+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
DEADLINE_S = 120.0  # a machine that is busy takes long to start a program


def environment(url: str) -> dict[str, str]:
    return {**os.environ, "REDIS_URL": url, "HEALTH_PORT": "0", "PYTHONPATH": str(TOP)}


def named_metrics() -> set[str]:
    """Every metric of the table; `_duplicate_total` stands for the name before, with another ending."""
    found, before = set[str](), ""
    for name in re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*?\|", PAGE, re.MULTILINE))):
        before = before.rsplit("_", name.count("_"))[0] + name if name.startswith("_") else name
        found.add(before)
    return {name for name in found if name.startswith("eventlib_")}


def test_the_service_runs_and_serves_every_metric_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(PROGRAMS["service.py"], encoding="utf-8")
    with private_server() as server:
        command = [sys.executable, "service.py"]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment(server.url), stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert process.stdout.readline() == "charged A1\n"
            assert [ask(url, path).status for path in ("/livez", "/readyz", "/healthz")] == [200, 200, 200]
            text = ask(url, "/metrics").text
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    served = set(re.findall(r"^# TYPE (eventlib_\w+) ", text, re.MULTILINE))
    assert named_metrics() == served


def test_the_app_can_be_mounted(tmp_path: Path) -> None:
    with private_server() as server:
        command = [sys.executable, "-c", PROGRAMS["mounted.py"]]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment(server.url),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert (done.stdout, done.stderr) == ("ready\n\n", "")


def test_the_user_of_the_exporter_has_the_rights_that_it_needs_and_no_other() -> None:
    found = re.search(r"ACL SETUSER (exporter .*)$", PAGE, re.MULTILINE)
    assert found is not None
    with private_server(port=0) as server, redis.Redis.from_url(server.url) as admin:
        admin.xadd("orders", {"a": 1})
        admin.xgroup_create("orders", "billing", "0")
        admin.xreadgroup("billing", "c1", {"orders": ">"})
        admin.execute_command("ACL", "SETUSER", *found[1].split())
        url = server.url.replace("redis://", "redis://exporter:password@")
        command = [sys.executable, "-m", "workbench", "exporter", url, "--once"]
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == 0, done.stderr
        for wanted in ("workbench_stream_memory_bytes{", "workbench_redis_memory_used_bytes ", "_pending_entries{"):
            assert wanted in done.stdout
        refused = admin.execute_command("ACL", "DRYRUN", "exporter", "XADD", "orders", "*", "a", "1")
        assert refused != b"OK"


def test_a_traced_program_prints_what_the_page_says() -> None:
    with private_server() as server:
        command = [sys.executable, "-c", PROGRAMS["traced.py"]]
        done = subprocess.run(
            command, env=environment(server.url), capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
    assert (done.stdout, done.stderr) == ("process orders, publish orders, 1\n", "")
    assert f"It prints `{done.stdout.strip()}`" in PAGE


def test_a_measured_program_prints_what_the_page_says() -> None:
    with private_server() as server:
        command = [sys.executable, "-c", PROGRAMS["measured.py"]]
        done = subprocess.run(
            command, env=environment(server.url), capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
    lines = done.stdout.splitlines()
    assert (sorted(lines, reverse=True), done.stderr) == (
        ["messaging.client.consumed.messages 1", "eventlib.backlog_entries 0"],
        "",
    )
    assert "It prints `messaging.client.consumed.messages 1` and `eventlib.backlog_entries 0`." in PAGE


def test_every_program_is_run() -> None:
    assert set(PROGRAMS) == {"service.py", "mounted.py", "traced.py", "measured.py"}
