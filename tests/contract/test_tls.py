"""TLS: a connection is made only to a trusted server, and every error says how to fix it.

The certificates are made here, by the openssl command, and go with the test. A server that was built without TLS gets a
proxy in front of it. Everything is skipped where there is no openssl.
"""

import asyncio
import re
import shutil
from pathlib import Path

import pytest

import eventlib as ev
from eventlib.testing import private_server
from eventlib.testing.waiting import eventually
from tests.conftest import BINARIES
from tests.shop import OrderPlaced, Record, new_app
from tests.tls import Authority, TlsServer, speaks_tls, tls_server

pytestmark = pytest.mark.every_server  # what a server says and allows is its own

SECRET = "s3cr3t"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here to make certificates")
    made = Authority(tmp_path_factory.mktemp("certificates"))
    made.certify("server", "IP:127.0.0.1,DNS:localhost")
    made.certify("renewed", "IP:127.0.0.1")
    made.certify("client", "DNS:client")
    made.certify("elsewhere", "DNS:elsewhere")
    made.certify("expired", "IP:127.0.0.1", days=-1)
    stranger = Authority(tmp_path_factory.mktemp("another_authority"))
    stranger.certify("stranger", "IP:127.0.0.1")
    for ending in ("crt", "key"):
        shutil.copy(stranger.file(f"stranger.{ending}"), made.file(f"stranger.{ending}"))
    shutil.copy(stranger.file("ca.crt"), made.file("another.crt"))
    return made


@pytest.fixture(scope="session")
def binary() -> Path:
    """One server: it is the client's side that is tested. One that speaks TLS itself, where there is one."""
    return next(filter(speaks_tls, BINARIES.values()), next(iter(BINARIES.values())))


async def refusal(url: str, kind: type[ev.BrokerError]) -> str:
    """Why connecting fails; it never shows a secret."""
    with pytest.raises(kind) as caught:
        async with ev.connect(ev.App("shop"), url):
            pass
    assert SECRET not in str(caught.value)
    return caught.value.problem


async def test_a_server_that_the_named_authority_vouches_for(binary: Path, authority: Authority) -> None:
    app, record = ev.App("shop"), Record()  # a lease of 30 s: a sweep that takes over its own entry uses up an attempt

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2, wait_s=0.001))
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        if delivery.attempt == 1:
            raise ValueError("no")

    async with tls_server(binary, authority, "server", "--requirepass", SECRET) as server:
        guarded = server.url.replace("//", f"//:{SECRET}@")
        ca = f"?ssl_ca_certs={authority.file('ca.crt')}"
        assert "password" in await refusal(server.url + ca, ev.AccessDenied)
        async with ev.connect(app, guarded + ca) as bus, bus.running(observe=record):
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: record.count("acked"))
        async with ev.connect(app, guarded.replace("127.0.0.1", "localhost") + ca) as bus:
            assert (await bus.backlog("orders", "billing")).total == 0


@pytest.mark.parametrize(
    ("certificate", "query", "told"),
    [
        ("server", "", "(self-signed|local issuer).*ssl_ca_certs"),
        ("stranger", "?ssl_ca_certs={ca}", "unable to get local issuer.*ssl_ca_certs"),
        ("elsewhere", "?ssl_ca_certs={ca}", "127.0.0.1.*name the host"),
        ("expired", "?ssl_ca_certs={ca}", "expired.*renew"),
    ],
)
async def test_a_certificate_that_cannot_be_verified_is_refused(
    binary: Path, authority: Authority, certificate: str, query: str, told: str
) -> None:
    async with tls_server(binary, authority, certificate) as server:
        problem = await refusal(server.url + query.format(ca=authority.file("ca.crt")), ev.AccessDenied)
    assert re.search(told, problem)


async def test_no_other_authority_is_trusted_than_the_one_that_is_named(
    binary: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine trusts the stranger's, as all machines trust dozens. Without a name it is trusted here too."""
    monkeypatch.setenv("SSL_CERT_FILE", authority.file("another.crt"))
    async with tls_server(binary, authority, "stranger") as server:
        async with ev.connect(ev.App("shop"), server.url) as bus:
            assert await bus.publish(OrderPlaced(number=1))
        assert "issuer" in await refusal(f"{server.url}?ssl_ca_certs={authority.file('ca.crt')}", ev.AccessDenied)


async def test_a_server_that_requires_client_certificates(binary: Path, authority: Authority) -> None:
    async with tls_server(binary, authority, "server", wants_certificates=True) as server:
        ca = f"{server.url}?ssl_ca_certs={authority.file('ca.crt')}"
        # TLS 1.3: the client is done before the server says no, so what it hears may be no more than a hang-up.
        assert "ssl_certfile" in await refusal(ca, ev.BrokerError)
        me = f"{ca}&ssl_certfile={authority.file('client.crt')}&ssl_keyfile="
        async with ev.connect(ev.App("shop"), me + authority.file("client.key")) as bus:
            assert await bus.publish(OrderPlaced(number=1))
        assert "ssl_keyfile" in await refusal(me + authority.file("server.key"), ev.BrokerError)
        for name in ("stranger", "expired"):  # as above, the reason may not be heard
            mine = f"{ca}&ssl_certfile={authority.file(f'{name}.crt')}&ssl_keyfile={authority.file(f'{name}.key')}"
            assert "certificate" in await refusal(mine, ev.BrokerError)


async def test_the_settings_name_the_files(binary: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    async with tls_server(binary, authority, "server", wants_certificates=True) as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        for name, file in (("CA", "ca.crt"), ("CERT", "client.crt"), ("KEY", "client.key")):
            monkeypatch.setenv(f"REDIS_{name}_FILE", authority.file(file))
        async with ev.connect(ev.App("shop")) as bus:
            assert await bus.publish(OrderPlaced(number=1))


async def test_certificates_are_renewed_while_a_program_runs(
    binary: Path, authority: Authority, tmp_path: Path
) -> None:
    """The server and the program get new ones; the program reads its files when it connects again."""
    for ending in ("crt", "key"):
        shutil.copy(authority.file(f"expired.{ending}"), tmp_path / f"me.{ending}")
    app, handled = new_app(lease_s=0.5)
    async with tls_server(binary, authority, "server") as server:
        me = f"&ssl_certfile={tmp_path / 'me.crt'}&ssl_keyfile={tmp_path / 'me.key'}"
        url = f"{server.url}?ssl_ca_certs={authority.file('ca.crt')}{me}"
        async with ev.connect(app, url) as bus, bus.running():
            await bus.publish(OrderPlaced(number=1))
            for ending in ("crt", "key"):
                shutil.copy(authority.file(f"client.{ending}"), tmp_path / f"me.{ending}")
            await server.change_certificate("renewed")
            await bus.publish(OrderPlaced(number=2))
            await eventually(lambda: {1, 2} <= set(handled))


async def test_connecting_without_tls_to_a_server_with_tls_fails_with_a_hint(
    binary: Path, authority: Authority
) -> None:
    async with tls_server(binary, authority, "server") as server:
        problem = await refusal(server.url.replace("rediss:", "redis:"), ev.BrokerUnavailable)
    assert "rediss://" in problem


async def test_connecting_with_tls_to_a_server_without_tls_fails_with_a_hint(
    binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a server waits for the end of a line, which never comes. The error says what may be wrong."""
    monkeypatch.setattr("eventlib.broker.connections.REPLY_TIMEOUT_S", 0.3)
    with private_server(binary=binary, port=0) as server:
        problem = await refusal(server.url.replace("redis:", "rediss:"), ev.BrokerUnavailable)
    assert "speak TLS" in problem


@pytest.mark.parametrize("query", ["ssl_ca_certs=/nowhere/ca.crt", "ssl_certfile=/nowhere/me.crt"])
async def test_a_missing_certificate_file_is_named_before_connecting(query: str) -> None:
    assert "ssl_ca_certs" in await refusal(f"rediss://:{SECRET}@127.0.0.1:1/0?{query}", ev.BrokerError)


async def test_an_unknown_tls_option_is_named_before_connecting() -> None:
    assert "ssl_" in await refusal(f"rediss://:{SECRET}@127.0.0.1:1/0?ssl_ca_cert=x", ev.BrokerError)


async def test_a_server_certificate_that_becomes_invalid_ends_the_run(binary: Path, authority: Authority) -> None:
    """Waiting would not help: another server may be answering."""
    app, handled = ev.App("shop"), list[int]()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        handled.append(event.number)

    async def work(server: TlsServer) -> None:
        url = f"{server.url}?ssl_ca_certs={authority.file('ca.crt')}"
        async with ev.connect(app, url) as bus, bus.running():
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: handled)
            await server.change_certificate("expired")
            await asyncio.Event().wait()

    async with tls_server(binary, authority, "server") as server:
        with pytest.raises(ev.AccessDenied, match="expired"):
            await work(server)
