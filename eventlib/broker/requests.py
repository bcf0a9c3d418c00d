"""A request to Redis that is under way, as one object: it can be awaited, and it can be cancelled."""

from collections.abc import Generator, Sequence
from typing import Any

from eventlib.broker import acl
from eventlib.broker.connection import UnknownScript
from eventlib.broker.pipelined import Argument, PipelinedConnection
from eventlib.broker.scripts import Script
from eventlib.errors import AccessDenied


class ScriptCall:
    """A call of a script. Where it is connected, the call is on its way when this object is made.

    Await it for the script's reply. A server that does not know the script gets its text.

    Awaiting raises:
        BrokerUnavailable: no answer. The script may have run.
        AccessDenied: the server refused. The message names the commands that the script calls.
        MissingGroup, BrokerError: the server refused, or the script failed.
        BusClosed: the connection was closed before.
    """

    __slots__ = ("_arguments", "_connection", "_reply", "_script", "_timeout_s")

    def __init__(
        self,
        connection: PipelinedConnection,
        script: Script,
        script_keys: Sequence[str],
        args: Sequence[Argument],
        timeout_s: float,
    ) -> None:
        self._connection = connection
        self._script = script
        self._arguments = (len(script_keys), *script_keys, *args)
        self._timeout_s = timeout_s
        self._reply = connection.request(("EVALSHA", script.sha, *self._arguments), timeout_s)

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            try:
                return (yield from self._reply)
            except UnknownScript:
                command = ("EVAL", self._script.text, *self._arguments)
                self._reply = self._connection.request(command, self._timeout_s)
                return (yield from self._reply)
        except AccessDenied as error:  # Redis 7.0 does not say which of the script's commands was refused
            if "acl_rules" not in error.problem:  # the login was refused
                raise
            calls = ", ".join(sorted(acl.called_by(self._script)))
            roles = ", ".join(acl.roles_of(self._script))
            problem = f"{error.problem}; script {self._script.name}, of role {roles}, calls {calls}"
            raise AccessDenied(error.where, problem) from error

    def cancel(self) -> None:
        """Give the call up. Its reply is dropped; the script may run all the same."""
        self._reply.cancel()
