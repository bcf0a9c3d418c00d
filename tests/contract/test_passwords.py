"""Passwords in files: they can be changed while programs run, and nothing is lost. No password is shown."""

import asyncio
import os
from pathlib import Path

import pytest

import eventlib as ev
from eventlib.broker.passwords import PasswordFile
from eventlib.testing import Inspector
from eventlib.testing.waiting import eventually
from tests.contract.test_access import ENCODED, SECRET, allow, guarded, shut_out
from tests.probing import get, status
from tests.shop import OrderPlaced, new_app, nothing_left

NEW = "another s3cr3t"


def write(file: Path, password: str) -> None:
    """Replace the file whole, as deployments do."""
    beside = file.with_suffix(".new")
    beside.write_text(f"{password}\n", encoding="utf-8")
    os.replace(beside, file)


async def test_a_password_is_rotated_under_load_and_nothing_is_lost(
    binary: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server's password changes first and all connections are cut; the file follows while logins are refused."""
    file = tmp_path / "password"
    write(file, SECRET)
    app, handled = new_app(lease_s=1.0)
    published = list[int]()

    async def publish(bus: ev.Bus) -> None:
        for number in range(10_000):
            await bus.publish(OrderPlaced(number=number))
            published.append(number)
            await asyncio.sleep(0.002)

    async with guarded(binary) as (server, raw, _):
        await allow(raw, *ev.acl_rules().split())
        url = f"{server.url.replace('//', '//limited@')}?password_file={file}"
        async with ev.connect(app, url) as bus, bus.running():
            load = asyncio.create_task(publish(bus))
            await eventually(lambda: len(handled) > 20)
            await shut_out(raw, NEW)
            await eventually(
                lambda: f"orders/billing waits for the server: {bus._broker.where}: the server refused" in caplog.text
            )
            before = len(published)
            write(file, NEW)
            await eventually(lambda: len(published) > before + 20)
            load.cancel()
            await asyncio.wait({load})
            await eventually(lambda: nothing_left(bus))
        assert set(published) <= set(handled)
    assert SECRET not in caplog.text and NEW not in caplog.text


async def test_two_passwords_at_once_make_a_rotation_without_a_refusal(binary: Path, tmp_path: Path) -> None:
    file = tmp_path / "password"
    write(file, SECRET)
    app, handled = new_app()
    async with guarded(binary) as (server, raw, _):
        await allow(raw, *ev.acl_rules().split())
        url = f"{server.url.replace('//', '//limited@')}?password_file={file}"
        async with ev.connect(app, url) as bus, bus.running():
            await allow(raw, f">{NEW}")
            write(file, NEW)
            await allow(raw, f"<{SECRET}")
            await raw.execute_command("CLIENT", "KILL", "USER", "limited")  # type: ignore[no-untyped-call]
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: handled == [1])
            rows = await raw.acl_log()
            assert [row["reason"] for row in rows] == []


async def test_a_file_that_changes_between_its_reading_and_the_login_is_read_again(
    binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    write(file, NEW)
    read = PasswordFile.get_credentials_async

    async def read_and_change(password: PasswordFile) -> tuple[str, str] | tuple[str]:
        old = await read(password)
        write(file, SECRET)
        return old

    monkeypatch.setattr(PasswordFile, "get_credentials_async", read_and_change)
    async with guarded(binary) as (server, raw, _):
        await allow(raw, *ev.acl_rules().split())
        async with ev.connect(ev.App("shop"), f"{server.url.replace('//', '//limited@')}?password_file={file}") as bus:
            assert await bus.publish(OrderPlaced(number=1))


async def test_a_wrong_password_in_a_file_is_refused_when_a_program_begins(binary: Path, tmp_path: Path) -> None:
    file = tmp_path / "password"
    write(file, NEW)
    async with guarded(binary) as (server, _, __):
        url = f"{server.url.replace('//', '//limited@')}?password_file={file}"
        with pytest.raises(ev.AccessDenied, match=f"refused the password in {file}") as caught:
            async with ev.connect(ev.App("shop"), url):
                pass
    assert NEW not in str(caught.value)


async def test_the_environment_names_the_file(binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for the default user, and for the testing tools."""
    file = tmp_path / "password"
    write(file, SECRET)
    async with guarded(binary) as (server, raw, _):
        await raw.config_set("requirepass", SECRET)
        monkeypatch.setenv("REDIS_URL", server.url)
        monkeypatch.setenv("REDIS_PASSWORD_FILE", str(file))
        async with ev.connect(ev.App("shop")) as bus:
            await bus.publish(OrderPlaced(number=1))
        address = ev.load_settings().redis.address()
        assert address
        async with Inspector.open(address, "orders", "billing") as inspector:
            assert len(await inspector.events()) == 1


@pytest.mark.parametrize(
    ("content", "told"), [(None, "cannot be read"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff", "is no text")]
)
async def test_an_unusable_file_is_told_before_connecting(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ev.BrokerError, match=told) as caught:
        async with ev.connect(ev.App("shop"), f"redis://localhost:1/0?password_file={file}"):
            pass
    assert f"{file} " in str(caught.value) and str(caught.value).endswith("; write the password into it")


async def test_a_url_has_one_password() -> None:
    with pytest.raises(ev.BrokerError, match="leave one of them out"):
        async with ev.connect(ev.App("shop"), "redis://:s3cr3t@localhost:1/0?password_file=x"):
            pass


async def test_endpoints_show_no_password(binary: Path) -> None:
    async with guarded(binary) as (server, raw, url):
        await allow(raw, *ev.acl_rules().split())
        app, handled = new_app()
        async with ev.connect(app, url) as bus, bus.running():
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: handled)
            endpoints = bus.serve_health(0, deaf_s=0.5)
            told = [await get(endpoints.url, path) for path in ("/healthz", "/readyz", "/metrics")]
            server.pause()
            await eventually(lambda: status_is(endpoints.url, 503))
            told += [await get(endpoints.url, path) for path in ("/healthz", "/readyz", "/metrics")]
            server.resume()
        assert any("127.0.0.1" in reply.text for reply in told)  # where the server is may be known
        assert not [reply for reply in told for secret in (SECRET, ENCODED) if secret in reply.text]


async def status_is(url: str, expected: int) -> bool:
    return await status(url, "/readyz") == expected
