"""A server that speaks TLS: by itself where it was built with it, otherwise by a proxy in front of it."""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import redis.asyncio as redis

from eventlib.testing import free_port, private_server


class Authority:
    """An authority that signs certificates, made by the openssl command."""

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
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
        return *curve, "-nodes", "-keyout", self.file(f"{name}.key"), "-subj", f"/CN={name}"

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class TlsServer:
    """A server with TLS. `url` has no option."""

    def __init__(self, url: str, authority: Authority) -> None:
        self.url = url
        self.authority = authority

    async def change_certificate(self, name: str) -> None:
        """Use another certificate, and cut all connections."""
        async with redis.Redis.from_url(f"{self.url}?ssl_ca_certs={self.authority.file('ca.crt')}") as admin:
            files = self.authority.file(f"{name}.crt"), self.authority.file(f"{name}.key")
            await admin.config_set("tls-cert-file", files[0], "tls-key-file", files[1])
            await admin.client_kill_filter(_type="normal", skipme=False)


class _Proxied(TlsServer):
    """A proxy that ends TLS in front of a server without it."""

    def __init__(self, path: str, authority: Authority, name: str, wants_certificates: bool) -> None:
        self._path = path
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(authority.file(f"{name}.crt"), authority.file(f"{name}.key"))
        if wants_certificates:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(authority.file("ca.crt"))
        self._writers = set[asyncio.StreamWriter]()
        self._port = free_port()
        super().__init__(f"rediss://127.0.0.1:{self._port}/0", authority)

    async def change_certificate(self, name: str) -> None:
        self._context.load_cert_chain(self.authority.file(f"{name}.crt"), self.authority.file(f"{name}.key"))
        self._cut()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", self._port, ssl=self._context)
        try:
            yield
        finally:
            server.close()
            self._cut()
            await server.wait_closed()

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_unix_connection(self._path)
        self._writers |= {writer, forth}
        try:
            await asyncio.gather(_copy(reader, forth), _copy(back, writer))
        finally:
            self._writers -= {writer, forth}
            writer.transport.abort()
            forth.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


def speaks_tls(binary: Path) -> bool:
    """Whether this server program was built with TLS."""
    command = [str(binary), "--port", "0", "--tls-port", str(free_port())]
    started = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return "tls-cert-file" in started.stdout  # what a server with TLS finds missing


@asynccontextmanager
async def tls_server(
    binary: Path, authority: Authority, name: str, *options: str, wants_certificates: bool = False
) -> AsyncIterator[TlsServer]:
    """A server with this certificate. Its clients show theirs if it wants them."""
    if not speaks_tls(binary):
        with private_server(*options, binary=binary) as server:
            proxied = _Proxied(unquote(urlsplit(server.url).path), authority, name, wants_certificates)
            async with proxied.serving():
                yield proxied
        return
    port = free_port()
    files = ("--tls-cert-file", authority.file(f"{name}.crt"), "--tls-key-file", authority.file(f"{name}.key"))
    clients = (
        "--tls-ca-cert-file",
        authority.file("ca.crt"),
        "--tls-auth-clients",
        "yes" if wants_certificates else "no",
    )
    with private_server("--tls-port", str(port), *files, *clients, *options, binary=binary):
        yield TlsServer(f"rediss://127.0.0.1:{port}/0", authority)
