"""A connection for those who only look: few commands in any second, and it does without those that are refused."""

import asyncio
import math
import time
from typing import Any

from eventlib.broker.connection import without_password
from eventlib.broker.connections import REPLY_TIMEOUT_S
from eventlib.broker.pipelined import Argument, PipelinedConnection
from eventlib.errors import AccessDenied, BrokerError

_ASK_AGAIN_S = 600.0  # each refusal is a line in the server's ACL LOG


class PacedConnection:
    """Asks one server no more than `commands_per_s` commands in any second, as `user`. `commands` counts them.

    `refused` are the commands that this user may not send; they are sent again after ten minutes.

    Raises:
        BrokerError: the URL is wrong.
    """

    def __init__(self, url: str, commands_per_s: float) -> None:
        self.where = without_password(url)
        self.commands = 0
        self.refused: dict[str, float] = {}  # commands, and when they were refused last
        self._connection = PipelinedConnection(url)
        self.user = self._connection.user
        self._every_s = 1.0 / commands_per_s
        self._turn_at_s = 0.0

    async def ask(self, *command: Argument) -> Any:
        """Send a command when it is its turn. Raises what `PipelinedConnection.request` raises."""
        now_s = time.monotonic()
        wait_s = self._turn_at_s - now_s
        self._turn_at_s = max(self._turn_at_s, now_s) + self._every_s
        if wait_s > 0.0:
            await asyncio.sleep(wait_s)
        self.commands += 1
        return await self._connection.request(command, REPLY_TIMEOUT_S)

    async def unless_refused(self, *command: Argument) -> Any:
        """The reply; None where this user may not send the command, which may be permitted later."""
        name = str(command[0])
        if time.monotonic() - self.refused.get(name, -math.inf) < _ASK_AGAIN_S:
            return None
        try:
            return await self.ask(*command)
        except AccessDenied as error:
            if not is_of_permission(error):
                raise
            self.refused[name] = time.monotonic()
            return None

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()


def is_of_permission(error: BrokerError) -> bool:
    """Whether this user may not do it; otherwise the server refuses the login."""
    return isinstance(error, AccessDenied) and "NOPERM" in error.problem


def is_of_a_key(error: BrokerError) -> bool:
    """Whether a key is out of this user's reach, and not a command: a server's own words."""
    return is_of_permission(error) and "access" in error.problem and " key" in error.problem
