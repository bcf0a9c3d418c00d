"""The route of the policies Wait and Fail: a batch is repeated until Redis answers or its callers give up."""

import asyncio
import logging
import math
import random
import secrets
from collections.abc import Generator
from typing import Any

from eventlib.broker.publishing import PublishCommands
from eventlib.broker.requests import ScriptCall
from eventlib.errors import BrokerError, BrokerUnavailable
from eventlib.publish.batches import Callers
from eventlib.reconnect import Answer, until_answered
from eventlib.records import NumberedBatch
from eventlib.steady import steady_s

log = logging.getLogger("eventlib")

_REMEMBER_S = 3600.0


class RepeatingRoute:
    """Sends batches to the server. Each caller waits for `patience_s` seconds since its call."""

    first_number = 1
    spooled_bytes = 0
    spool_bytes_max = 0

    def __init__(self, commands: PublishCommands, patience_s: float) -> None:
        self.patience_s = patience_s
        self.now = asyncio.get_running_loop().time
        self.rng = random.Random()  # of its own: after a fork, the global one draws the same in parent and child
        self._commands = commands
        self._producer = secrets.token_hex(8)
        self._remember_s = max(_REMEMBER_S, 2.0 * patience_s)  # the server must remember for longer than we repeat
        self._streams: set[str] = set()
        self._unanswered: set[str] = set()  # streams with a try that got no answer: it may still reach the server

    def send(self, batch: NumberedBatch, callers: Callers) -> "_RepeatedBatch":
        self._streams.add(batch.stream)
        return _RepeatedBatch(self, batch, callers)

    def publish(self, batch: NumberedBatch, first_try_s: float | None = None) -> ScriptCall:
        """Try once. A repeat says when the first try was."""
        return self._commands.append(batch, self._producer, self._remember_s, first_try_s=first_try_s)

    def note_unanswered(self, stream: str) -> None:
        """A try for this stream got no answer."""
        self._unanswered.add(stream)

    async def close(self) -> None:
        """Let the server forget this producer, on the streams where every try was answered."""
        for stream in self._streams - self._unanswered:
            try:
                await self._commands.forget_producer(stream, self._producer)
            except BrokerError:
                log.debug("the key of producer %s will expire by itself", self._producer)
                return


class _RepeatedBatch:
    """A batch on its way. It is repeated as long as one of its callers waits."""

    __slots__ = ("_batch", "_call", "_callers", "_error", "_first_try_s", "_repeat_until_s", "_route")

    def __init__(self, route: RepeatingRoute, batch: NumberedBatch, callers: Callers) -> None:
        self._route = route
        self._batch = batch
        self._callers = callers
        self._first_try_s = steady_s()
        self._call = route.publish(batch)
        self._error: BrokerError | None = None  # of the last try
        self._repeat_until_s = math.inf

    def __await__(self) -> Generator[Any, None, Answer[int]]:
        return until_answered(self._try, self._decide, self._route.rng).__await__()

    def cancel(self) -> None:
        self._call.cancel()

    def _try(self) -> ScriptCall:
        if self._error is not None:  # the first try is under way since this object was made
            if self._route.now() > self._repeat_until_s:  # this process was stopped meanwhile
                raise self._error
            self._call = self._route.publish(self._batch, self._first_try_s)
        return self._call

    def _decide(self, error: BrokerError, failures: int) -> float:
        """After a try failed: for how many seconds the next one may be put off. Raises to give up."""
        too_late = error is self._error  # `_try` made no other try
        if too_late or not isinstance(error, BrokerUnavailable):
            raise error
        self._error = error
        self._route.note_unanswered(self._batch.stream)
        now_s, patience_s = self._route.now(), self._route.patience_s
        self._callers.fail_those_who_called_by(now_s - patience_s, error)
        since_s = self._callers.waiting_since_s()
        if since_s is None:
            raise error
        if failures == 1:
            log.warning("publishing to %s waits for the server: %s", self._batch.stream, error)
        # Later, the server may have forgotten the number: it remembers it for `_REMEMBER_S` and more after a try.
        self._repeat_until_s = since_s + patience_s + _REMEMBER_S / 2.0
        return since_s + patience_s - now_s
