"""The library's commands: dlq, schemas and server. The simulator's command line has them too."""

from typing import Any

import typer

from eventlib.cli import dlq, schemas
from eventlib.cli.console import Commands
from eventlib.cli.server import server_command
from eventlib.extras import MissingExtra


def add_library_commands(app: typer.Typer) -> None:
    """Add the library's commands to a command line."""
    app.add_typer(schemas.app)
    app.add_typer(dlq.app)
    app.command("server", epilog="Example: `workbench server --port 6399`, then `redis-cli -p 6399`")(server_command)


def library_alone(missing: MissingExtra) -> typer.Typer:
    """A command line of the library's commands only. Any other command is refused: `missing` says what it needs."""

    class LibraryAlone(Commands):
        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if found := super().get_command(ctx, cmd_name):
                return found
            needed_by = f"workbench {cmd_name}: the library has no such command, and the simulator"
            raise MissingExtra(needed_by, missing.module, missing.extra)

    app = typer.Typer(
        name="workbench",
        cls=LibraryAlone,
        help="The event library's commands.",
        epilog=f"The simulator's commands are missing: {missing}",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    add_library_commands(app)
    return app
