"""One consumer of one group on one stream: its parts, and its life from the first read to giving back what is left."""

import asyncio
import logging

from eventlib.consume.execution import Executor
from eventlib.consume.intake import Intake
from eventlib.consume.leases import Leases
from eventlib.consume.liveness import ConsumerHealth
from eventlib.consume.recovery import Promoter, Takeover
from eventlib.consume.session import Session
from eventlib.consume.settlement import Settler
from eventlib.errors import AccessDenied, BrokerError

log = logging.getLogger("eventlib")


class GroupConsumer:
    """One consumer of one group on one stream. `run` it as a task; `stop` ends it gracefully, `abandon` at once.

    Each part has one role. The intake reads and opens entries, the executor runs handlers, the settler tells the
    server how they ended. Leases keep what is held, the takeover gets what silent consumers held, and the promoter
    brings back what waited for another attempt.
    """

    def __init__(self, session: Session) -> None:
        self.stream = session.identity[0]
        self._session = session
        self._calls = session.calls
        self._settler = Settler(session)
        self._leases = Leases(session)
        self._executor = Executor(session, self._leases, self._settler)
        self._intake = Intake(session, self._leases, self._executor, self._settler)
        self._takeover = Takeover(session, self._intake)
        self._promoter = Promoter(session, self._settler)
        self._reading: asyncio.Task[None] | None = None
        self._stopping = False
        session.calls.when_abandoned = self._executor.stop

    async def run(self) -> None:
        """Consume until `stop` is called; then finish what runs and give the rest back."""
        await self._calls.until_answered(self._session.commands.ensure_group)
        async with self._session.tasks:
            loops = [self._session.start(part.run) for part in (self._promoter, self._leases, self._takeover)]
            acks = self._session.start(self._settler.run)
            if not self._stopping:
                self._reading = self._session.start(self._intake.run)
            try:
                await self._wind_down(acks)
            except asyncio.CancelledError:
                self._calls.abandon()  # a sibling failed: the handlers' cancellation is ours
                raise
            for loop in loops:
                loop.cancel()
        try:
            await self._calls.until_answered(self._leave)
        except AccessDenied:
            raise
        except BrokerError as error:  # to stop while the server is away, or full, is no failure
            log.warning(
                "%s: could not give back what it held; others take it over after a lease: %s",
                self._session.place,
                error,
            )

    def stop(self) -> None:
        """Stop reading; `run` returns when the running handlers have ended.

        A read that is cut off may leave entries pending that this process never saw: leaving gives them back.
        """
        self._stopping = True
        self._takeover.stop()
        self._executor.stop()
        if self._reading is not None:
            self._reading.cancel()

    def abandon(self) -> None:
        """The grace is over: cancel the running handlers, try nothing twice. Their entries go back uncounted."""
        self._calls.abandon()
        self._executor.cancel()

    def health(self, running: bool) -> ConsumerHealth:
        """How well it hears the server."""
        return self._session.liveness.look(*self._session.identity, running)

    async def _wind_down(self, acks: asyncio.Task[None]) -> None:
        """Wait until reading has stopped, then for the handlers, then for the acknowledgements."""
        if self._reading is not None:
            await asyncio.wait({self._reading})
        await self._executor.join()
        self._settler.finish()
        await asyncio.wait({acks})

    async def _leave(self) -> None:
        """Give back until nothing is held: for a moment, the server may still serve the read that was cut off.

        It may even serve it with what was just given back, which would then wait for a lease.
        """
        await self._session.commands.leave()
        while await self._session.commands.leave():
            pass
