"""ACL rules for the users of a server, by their roles: for all keys of a namespace, or for what one App declares."""

from collections.abc import Collection
from typing import get_args

from eventlib.broker.acl import PROGRAMS, ROLES, Part, Role, Scope, commands, patterns
from eventlib.broker.tasks import WORKERS
from eventlib.declare.app import App
from eventlib.errors import InvalidArgument
from eventlib.events.schema import spec_of, valid_name
from eventlib.records import queue_stream
from eventlib.sagas.messages import GROUP, saga_stream


def acl_rules(
    namespace: str = "ev",
    *,
    roles: Collection[Role] = PROGRAMS,
    app: App | None = None,
    streams: Collection[str] = (),
) -> str:
    """The rules that a Redis user needs for these roles: for `ACL SETUSER name reset on >password ...`.

    They permit no more. They hold for all keys of the namespace. With an `app` they hold for the streams, groups,
    queues and sagas that it declares, and for the `streams` that it publishes to besides; with `streams` alone, for
    events of these streams. A database other than 0 also needs `+select`, a URL with `client_name` also
    `+client|setname`.

    Raises:
        InvalidArgument: there is no such role, or none is given.
    """
    if unknown := [role for role in roles if role not in ROLES]:
        raise InvalidArgument("acl_rules", f"{', '.join(map(repr, unknown))} is no role; give {', '.join(ROLES)}")
    if not roles:
        raise InvalidArgument("acl_rules", f"there is no role; give one or more of {', '.join(ROLES)}")
    scope = _scope(app, streams) if app or streams else None
    allowed = [f"+{command.lower()}" for command in commands(roles, get_args(Part) if scope is None else scope)]
    return " ".join([*patterns(valid_name(namespace, "namespace"), roles, scope), *allowed])


def _scope(app: App | None, streams: Collection[str]) -> Scope:
    """Which parts of the library are used, on which streams with which groups; without an App any group."""
    found: dict[Part, dict[str, set[str]]] = {}

    def add(part: Part, stream: str, *groups: str) -> None:
        found.setdefault(part, {}).setdefault(stream, set()).update(groups)

    any_group = ("*",) if app is None else ()
    for stream in streams:
        add("events", valid_name(stream, "stream"), *any_group)
    if app is None:
        return found
    for stream in app.streams:
        add("events", stream)
    for subscription in app.subscriptions:
        add("events", spec_of(subscription.event_class).stream, subscription.group)
    for task in app.tasks.values():
        add("tasks", queue_stream(task.queue), WORKERS)
    for name, _ in app.sagas:
        add("sagas", saga_stream(name), GROUP)
    return found
