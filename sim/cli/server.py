"""workbench server: the library's own command."""

import typer

from eventlib.cli.console import ending
from eventlib.cli.server import server_command

app = typer.Typer()
app.command("server", epilog=ending("`workbench server --port 6399`, then `redis-cli -p 6399`"))(server_command)
