"""TLS: a connection is made only to a trusted server, and every error says how to fix it.

The certificates are made here, by the openssl command, and go with the test. A server that was built without TLS is
skipped; so is everything where there is no openssl.
"""

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.testing import free_port, private_server
from eventlib.testing.waiting import eventually
from tests.shop import OrderPlaced, Record

pytestmark = pytest.mark.every_server  # what a server says and allows is its own

SECRET = "s3cr3t"


class Authority:
    """An authority that signs certificates."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._openssl("req", "-x509", *self._new_key("ca"), "-out", self.file("ca.crt"), "-days", "2")

    def file(self, name: str) -> str:
        return str(self.directory / name)

    def certify(self, name: str, names: str, days: int = 2) -> None:
        """Make NAME.key and NAME.crt, valid from now for so many days."""
        extension = self.directory / f"{name}.ext"
        extension.write_text(f"subjectAltName={names}\n")
        self._openssl("req", *self._new_key(name), "-out", self.file(f"{name}.csr"))
        signed = ("-CA", self.file("ca.crt"), "-CAkey", self.file("ca.key"), "-CAcreateserial", "-days", str(days))
        self._openssl(
            *("x509", "-req", "-in", self.file(f"{name}.csr"), *signed, "-extfile", str(extension)),
            *("-out", self.file(f"{name}.crt")),
        )

    def _new_key(self, name: str) -> tuple[str, ...]:
        return (
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            self.file(f"{name}.key"),
            "-subj",
            f"/CN={name}",
        )

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here to make certificates")
    made = Authority(tmp_path_factory.mktemp("certificates"))
    made.certify("server", "IP:127.0.0.1,DNS:localhost")
    made.certify("client", "DNS:client")
    made.certify("elsewhere", "DNS:elsewhere")
    made.certify("expired", "IP:127.0.0.1", days=-1)
    return made


@pytest.fixture
def tls_binary(binary: Path) -> Path:
    """A server program that was built with TLS."""
    started = subprocess.run(
        [binary, "--port", "0", "--tls-port", str(free_port())], capture_output=True, text=True, timeout=10, check=False
    )
    if "tls-cert-file" not in started.stdout:  # what a server with TLS finds missing
        pytest.skip(f"{binary.name} was built without TLS: {started.stdout.splitlines()[-1].split('# ')[-1]}")
    return binary


@asynccontextmanager
async def tls_server(binary: Path, authority: Authority, name: str, *options: str) -> AsyncIterator[str]:
    """A server with this certificate; yields its URL, without any option. It wants no certificate of its clients."""
    port = free_port()
    files = ("--tls-cert-file", authority.file(f"{name}.crt"), "--tls-key-file", authority.file(f"{name}.key"))
    tls = ("--tls-port", str(port), *files, "--tls-ca-cert-file", authority.file("ca.crt"), "--tls-auth-clients", "no")
    with private_server(*tls, *options, binary=binary):
        yield f"rediss://127.0.0.1:{port}/0"


async def refusal(url: str, kind: type[ev.BrokerError]) -> str:
    """Why connecting fails; it never shows a secret."""
    with pytest.raises(kind) as caught:
        async with ev.connect(ev.App("shop"), url):
            pass
    assert SECRET not in str(caught.value)
    return caught.value.problem


async def test_a_server_that_the_named_authority_vouches_for(tls_binary: Path, authority: Authority) -> None:
    app, record = ev.App("shop"), Record()
    app.group("billing", lease_s=0.2)

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2, wait_s=0.001))
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        if delivery.attempt == 1:
            raise ValueError("no")

    async with tls_server(tls_binary, authority, "server", "--requirepass", SECRET) as url:
        guarded = url.replace("//", f"//:{SECRET}@")
        ca = f"?ssl_ca_certs={authority.file('ca.crt')}"
        assert "password" in await refusal(url + ca, ev.AccessDenied)
        async with ev.connect(app, guarded + ca) as bus, bus.running(observe=record):
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: record.count("acked"))
        async with ev.connect(app, guarded.replace("127.0.0.1", "localhost") + ca) as bus:
            assert (await bus.backlog("orders", "billing")).total == 0


@pytest.mark.parametrize(
    ("certificate", "query", "told"),
    [
        ("server", "", "self-signed.*ssl_ca_certs"),
        ("elsewhere", "?ssl_ca_certs={ca}", "127.0.0.1.*name the host"),
        ("expired", "?ssl_ca_certs={ca}", "expired.*renew"),
    ],
)
async def test_a_certificate_that_cannot_be_verified_is_refused(
    tls_binary: Path, authority: Authority, certificate: str, query: str, told: str
) -> None:
    async with tls_server(tls_binary, authority, certificate) as url:
        problem = await refusal(url + query.format(ca=authority.file("ca.crt")), ev.AccessDenied)
    assert re.search(told, problem)


async def test_a_server_that_requires_client_certificates(tls_binary: Path, authority: Authority) -> None:
    async with tls_server(tls_binary, authority, "server", "--tls-auth-clients", "yes") as url:
        ca = f"{url}?ssl_ca_certs={authority.file('ca.crt')}"
        # TLS 1.3: the client is done before the server says no, so what it hears may be no more than a hang-up.
        assert "ssl_certfile" in await refusal(ca, ev.BrokerError)
        me = f"{ca}&ssl_certfile={authority.file('client.crt')}&ssl_keyfile="
        async with ev.connect(ev.App("shop"), me + authority.file("client.key")) as bus:
            assert await bus.publish(OrderPlaced(number=1))
        assert "ssl_keyfile" in await refusal(me + authority.file("server.key"), ev.BrokerError)


async def test_connecting_without_tls_to_a_server_with_tls_fails_with_a_hint(
    tls_binary: Path, authority: Authority
) -> None:
    async with tls_server(tls_binary, authority, "server") as url:
        problem = await refusal(url.replace("rediss:", "redis:"), ev.BrokerUnavailable)
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


async def test_a_server_certificate_that_becomes_invalid_ends_the_run(tls_binary: Path, authority: Authority) -> None:
    """Waiting would not help: another server may be answering."""
    app, handled = ev.App("shop"), list[int]()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        handled.append(event.number)

    async def work(url: str) -> None:
        async with ev.connect(app, url) as bus, bus.running():
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: handled)
            async with redis.Redis.from_url(url) as admin:
                await admin.config_set(
                    "tls-cert-file", authority.file("expired.crt"), "tls-key-file", authority.file("expired.key")
                )
                await admin.client_kill_filter(_type="normal", skipme=False)
            await asyncio.Event().wait()

    async with tls_server(tls_binary, authority, "server") as url:
        with pytest.raises(ev.AccessDenied, match="expired"):
            await work(f"{url}?ssl_ca_certs={authority.file('ca.crt')}")
