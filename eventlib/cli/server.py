"""The server command: it runs a private Redis to try things on."""

import shlex
import threading
from typing import Annotated

import typer

from eventlib.cli.console import Json, write_json
from eventlib.cli.terminal import err, out
from eventlib.testing import private_server


def server_command(
    port: Annotated[
        int | None, typer.Option(help="TCP port on 127.0.0.1; 0 picks one. Default: a Unix socket.", min=0, max=65535)
    ] = None,
    json_file: Json = None,
) -> None:
    """Run a private Redis until Ctrl-C; prints its URL."""
    with private_server(port=port) as server:
        write_json(json_file, {"url": server.url, "pid": server.pid})
        out.tell(f"export REDIS_URL={shlex.quote(server.url)}")
        err.tell("Ctrl-C stops it and deletes its data.")
        threading.Event().wait()
