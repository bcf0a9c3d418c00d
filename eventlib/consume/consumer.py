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

    Each part has one role. The intake reads and opens entries. The executor runs handlers. The settler tells the server
    how they ended. The leases keep the entries that are held. The takeover gets entries that silent consumers held. The
    promoter brings back entries that waited for another attempt.
    """

    def __init__(self, session: Session) -> None:
        self.stream = session.identity[0]
        self.place = session.identity[:2]  # stream and group
        self.counts = session.counts
        self._session = session
        self._calls = session.calls
        self._settler = Settler(session)
        self._leases = Leases(session)
        self._executor = Executor(session, self._leases, self._settler)
        self._intake = Intake(session, self._leases, self._executor, self._settler)
        self._takeover = Takeover(session, self._intake, self._leases)
        self._promoter = Promoter(session, self._settler)
        self._reading: asyncio.Task[None] | None = None
        self._stopping = False
        session.calls.when_abandoned = self._executor.stop

    async def run(self) -> None:
        """Consume until `stop` is called; then finish what runs and give the rest back."""
        self._session.obey(await self._calls.until_answered(self._session.commands.ensure_group))
        async with self._session.tasks:
            parts = (self._promoter, self._leases, self._takeover)
            loops = [self._session.start(part.run, until_abandoned=True) for part in parts]
            acks = self._session.start(self._settler.run)
            if not self._stopping:
                self._reading = self._session.start(self._intake.run)
            try:
                await self._wind_down(acks)
            except asyncio.CancelledError:
                self._calls.abandon()  # another part failed: the consumer itself cancels the handlers
                raise
            for loop in loops:
                loop.cancel()
        try:
            await self._calls.until_answered(self._leave)
        except AccessDenied:
            raise
        except BrokerError as error:  # it is not a failure to stop while the server does not answer, or is full
            log.warning(
                "%s: could not give back its entries; other consumers take them over after a lease: %s",
                self._session.place,
                error,
            )

    def stop(self) -> None:
        """Stop reading; `run` returns when the running handlers have ended.

        A read that is cut off may leave entries pending that this process never saw. `run` gives them back at its end.
        """
        self._stopping = True
        self._takeover.stop()
        self._executor.stop()
        if self._reading is not None:
            self._reading.cancel()

    def abandon(self) -> None:
        """Cancel the running handlers and repeat no call. Their entries go back without counting an attempt."""
        self._calls.abandon()
        self._executor.cancel()

    def health(self, running: bool) -> ConsumerHealth:
        """How well this consumer hears the server."""
        gate, in_hand = self._session.gate, self._session.in_hand.count
        return self._session.liveness.look(
            self._session.identity,
            running,
            leaving=self._stopping,
            in_hand=in_hand,
            circuit=gate.state if gate is not None else None,
            paused=self._session.in_hand.paused,
        )

    async def _wind_down(self, acks: asyncio.Task[None]) -> None:
        """Wait until reading has stopped, then for the handlers, then for the acknowledgements."""
        if self._reading is not None:
            await asyncio.wait({self._reading})
        await self._executor.join()
        self._settler.finish()
        await asyncio.wait({acks})

    async def _leave(self) -> None:
        """Give back entries until none is held.

        For a moment, the server may still answer the read that was cut off. It may even hand out the entries that were
        just given back. They would then wait for a lease.
        """
        await self._session.commands.leave()
        while await self._session.commands.leave():
            pass
