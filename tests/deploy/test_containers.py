"""docker-compose.yml and the Containerfile: what is published, what each container may do, and what runs in it."""

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib import running
from eventlib.settings import Settings
from eventlib.testing import eventually, find_binaries
from tests.deploy.manifests import BASE, COMPOSE, DEPLOY, of_kind, option, seconds
from tests.repository import TOP
from tests.shop import Connect

SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DEFAULTS = Settings()
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")


def test_only_this_machine_reaches_what_is_published_and_nothing_else_is() -> None:
    published = {name: each.get("ports", []) for name, each in SERVICES.items() if each.get("ports")}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert set(published) == {name for name, each in SERVICES.items() if "published" in each["networks"]}
    assert COMPOSE["networks"]["internal"]["internal"] is True
    assert SERVICES["redis"]["networks"] == ["internal"] and "redis" not in published


def test_each_profile_brings_what_its_services_need() -> None:
    for name, each in SERVICES.items():
        for needed in each.get("depends_on", {}):
            assert set(each["profiles"]) <= set(SERVICES[needed]["profiles"]), f"{name} needs {needed}"
    profiles = {profile for each in SERVICES.values() for profile in each["profiles"]}
    assert profiles == {"redis", "workbench", "prometheus", "grafana", "lab"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_gains_rights(name: str) -> None:
    own = SERVICES[name]
    assert own["cap_drop"] == ["ALL"] and own["security_opt"] == ["no-new-privileges:true"]
    assert own["read_only"] is (name != "jupyter")
    image, _, version = own["image"].rpartition(":")
    assert image and version != "latest"
    assert "password" not in json.dumps(own.get("environment", {})).replace("redis_password", "").replace(
        "REDIS_PASSWORD_FILE", ""
    )


def test_the_service_is_killed_only_after_it_could_drain() -> None:
    own = SERVICES["shop"]
    assert seconds(own["stop_grace_period"]) > float(option(own["command"], "--grace")) + running._ABANDON_S
    assert int(option(own["command"], "--health-port")) == DEFAULTS.health.port


STARTS = {
    "compose": SERVICES["redis"]["command"][2].replace("$$", "$"),
    "kubernetes": of_kind("StatefulSet", BASE)["redis"]["spec"]["template"]["spec"]["containers"][0]["args"][0],
}


@pytest.mark.parametrize("where", STARTS)
async def test_redis_starts_with_its_password_which_no_list_of_processes_shows(where: str, tmp_path: Path) -> None:
    binary, socket = find_binaries()[0], tmp_path / "redis.sock"
    (tmp_path / "password").write_text("correct-horse\n")
    settings = (DEPLOY / "kubernetes" / "base" / "redis.conf").read_text()
    (tmp_path / "redis.conf").write_text(f"{settings}\nport 0\nunixsocket {socket}\n")
    script = STARTS[where].replace("/etc/redis/redis.conf", str(tmp_path / "redis.conf"))
    script = re.sub(r"/run/secrets/redis\S*password", str(tmp_path / "password"), script)
    script = script.replace("--dir /data", f"--dir {tmp_path}").replace("redis-server", str(binary))
    process = await asyncio.create_subprocess_exec("sh", "-c", script, stdout=asyncio.subprocess.DEVNULL)
    try:
        await eventually(socket.exists)
        async with redis.Redis(unix_socket_path=str(socket), password="correct-horse") as client:
            await client.xadd("orders", {"a": 1})
            assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
        reader, stranger = await asyncio.open_unix_connection(str(socket))
        stranger.write(b"PING\r\n")
        assert (await reader.readline()).startswith(b"-NOAUTH")
        stranger.close()
        started = psutil.Process(process.pid)
        assert "correct-horse" not in " ".join(started.cmdline())
        assert started.name() == binary.name  # no shell stands between: it gets SIGTERM itself
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert any((tmp_path / "appendonlydir").iterdir())


def instruction(name: str) -> str:
    """The last instruction of this name, on one line."""
    lines = re.sub(r"\\\n\s*", " ", CONTAINERFILE)
    return str(re.findall(rf"^{name} (.*)$", lines, re.MULTILINE)[-1])


def test_the_image_is_pinned_not_root_and_has_what_it_copies() -> None:
    assert len(re.findall(r"^FROM python:\d+\.\d+\.\d+-slim-\w+( AS build)?$", CONTAINERFILE, re.MULTILINE)) == 2
    assert int(instruction("USER").partition(":")[0]) > 0
    ignored = (TOP / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.MULTILINE)
    for name in " ".join(copied).replace("${SERVICE}", "examples/own_service").split():
        assert (TOP / name).exists() and f"!{name.partition('/')[0]}" in ignored
    assert "deploy" not in " ".join(ignored)  # secrets get into no image


def test_the_image_runs_a_command_that_there_is() -> None:
    command = json.loads(instruction("CMD"))
    assert json.loads(instruction("ENTRYPOINT")) == ["workbench"] and command[:2] == ["run", "shop:app"]
    assert instruction("EXPOSE") == str(DEFAULTS.health.port)


@pytest.mark.one_server
async def test_the_image_is_healthy_as_long_as_the_program_lives(connect: Connect) -> None:
    check = json.loads(re.sub(r"^.*?CMD ", "", instruction("HEALTHCHECK")))
    async with connect(ev.App("shop")) as bus:
        port = str(bus.serve_health(0).port)
        assert await _status(check, port) == 0
    assert await _status(check, port) != 0


async def _status(command: list[str], port: str) -> int:
    arguments = [part.replace(str(DEFAULTS.health.port), port) for part in command]
    process = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.DEVNULL, env={**os.environ})
    return await process.wait()


def test_prometheus_scrapes_what_runs() -> None:
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    assert f"port: {DEFAULTS.health.port}" in text and "names: [shop]" in text and "exporter:9121" in text
    mounts = SERVICES["prometheus"]["volumes"] + SERVICES["grafana"]["volumes"]
    assert {mount.split(":")[0] for mount in mounts if mount.startswith(".")} == {
        "./deploy/prometheus/prometheus.yml",
        "./deploy/prometheus/rules.yml",
        "./deploy/grafana/provisioning",
        "./deploy/grafana/dashboard.json",
    }
