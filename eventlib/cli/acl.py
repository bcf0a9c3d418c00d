"""workbench acl: the rules of a Redis user for a role, from the commands that the library uses."""

import hashlib
import sys
from pathlib import Path
from typing import Annotated, cast

import typer

from eventlib import acl_rules
from eventlib.broker.acl import ROLES, Role
from eventlib.broker.passwords import UnusablePassword, read_password
from eventlib.cli.apps import imported_app
from eventlib.cli.console import Json, ending, write_json
from eventlib.cli.terminal import err, out
from eventlib.events.registry import Registry
from eventlib.events.schema import spec_of
from eventlib.importing import import_path

app = typer.Typer()


@app.command("acl", epilog=ending("`workbench acl publisher consumer --app shop.main:app --user shop`"))
def acl_command(
    roles: Annotated[list[str], typer.Argument(help=f"{', '.join(ROLES)}; one or more.", metavar="ROLE")],
    user: Annotated[str, typer.Option(help="The user's name; by default that of the role.", show_default=False)] = "",
    namespace: Annotated[str, typer.Option("--namespace", "--prefix", help="What all keys start with.")] = "ev",
    program: Annotated[
        str | None,
        typer.Option("--app", help="An App: permit no more than what it declares and imports.", metavar="MODULE:NAME"),
    ] = None,
    stream: Annotated[
        list[str] | None, typer.Option(help="A stream to permit besides, or alone; may be given again.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="A file with the password: the lines get its SHA-256.", metavar="FILE")
    ] = None,
    json_file: Json = None,
) -> None:
    """Print the ACL rules that a Redis user needs for a role: publisher, consumer, ...

    They are printed as a command, and as a line of an aclfile.

    publisher: publish, wait for events, request, enqueue tasks, start sagas. consumer: run handlers, tasks, schedules
    and sagas. operator: dead letters, pauses, queues, schedules and sagas by hand. monitor: look, and change nothing.
    admin: all of it, and delete all keys. A program that publishes in its handlers is both publisher and consumer.
    """
    name = user or "-".join(roles)
    if not name.isprintable() or not name or set(name) & set(" \t\"'"):
        raise typer.BadParameter(f"--user {name!r}: a user's name has no spaces and no quotes")
    rules = acl_rules(
        namespace,
        roles=cast(list[Role], roles),
        app=imported_app(program) if program else None,
        streams=[*(stream or ()), *(_streams(program) if program else ())],
    )
    secret = f"#{_digest(password_file)}" if password_file else ">PASSWORD"
    command = f"ACL SETUSER {name} reset on {secret} {rules}"
    line = f"user {name} on {secret if password_file else '#SHA256'} {rules}"
    write_json(json_file, {"user": name, "roles": roles, "rules": rules.split(), "command": command, "aclfile": line})
    out.tell(command)
    out.tell(line)
    if not password_file:
        err.tell("Put a password for PASSWORD, and the SHA-256 of one for SHA256; --password-file FILE does both.")


def _streams(named: str) -> set[str]:
    """The streams of the event classes that the App's module defines or imports: it may publish to them."""
    module = sys.modules[import_path(named)[0]]
    return {spec_of(event_class).stream for event_class in Registry(module).values()}


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(read_password(str(file)).encode()).hexdigest()
    except UnusablePassword as error:
        raise typer.BadParameter(str(error)) from None
