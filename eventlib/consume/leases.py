"""The leases of the entries that one consumer holds: renewed while it runs, checked after it may have stood still."""

import asyncio
import logging
import time
from collections.abc import Sequence

from eventlib.consume.session import Session
from eventlib.delivery import Delivery
from eventlib.records import Entry, Place

log = logging.getLogger("eventlib")

_STOOD_STILL_ADVICE = (
    "other consumers then take over its entries; "
    "move blocking work to a thread (asyncio.to_thread) or set a longer lease_s"
)


class Leases:
    """Renews the lease of everything that one consumer holds, three times a lease."""

    def __init__(self, session: Session) -> None:
        self._lease = session.settings.lease
        self._commands = session.commands
        self._calls = session.calls
        self._in_hand = session.in_hand
        self._liveness = session.liveness
        self._place = session.place
        self._renewed_at = time.monotonic()
        self._woke_at = 0.0  # when this process last went on after it had stood still for a lease

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            asked_at = time.monotonic()
            await asyncio.sleep(self._lease.renew_every_s)
            if (still_s := time.monotonic() - asked_at) > self._lease.duration_s:
                self._woke_at = time.monotonic()
                log.warning(
                    "%s: the event loop stood still for %.1f s, longer than the lease; %s",
                    self._place,
                    still_s,
                    _STOOD_STILL_ADVICE,
                )
            await self.renew_all()

    async def renew_all(self) -> None:
        """Renew all entries that are held. Those that another consumer has taken over are lost."""
        await self._calls.until_answered(self._renew_all)

    async def still_owned(self, entries: Sequence[Entry]) -> list[Entry]:
        """Renew entries that are not held yet. Returns them without those that another consumer has taken over."""
        lost = await self._calls.until_answered(lambda: self._commands.renew(entries))
        return [entry for entry in entries if entry.place not in lost]

    @property
    def overdue(self) -> bool:
        """Whether nothing was renewed for a lease, because this process or its connection stood still."""
        return time.monotonic() - self._renewed_at > self._lease.duration_s

    def in_doubt(self, delivery: Delivery, now_s: float) -> bool:
        """Whether the lease of a delivery may have ended before its handler begins."""
        return now_s - max(delivery.read_at, self._renewed_at) > self._lease.duration_s

    def stood_still(self, asked_at_s: float) -> bool:
        """Whether this process or its connection stood still for a lease during the read that began at `asked_at_s`."""
        now_s = time.monotonic()
        return now_s - min(self._renewed_at, asked_at_s) > self._lease.duration_s or asked_at_s < self._woke_at

    async def _renew_all(self) -> None:
        now_s = time.monotonic()
        held = self._in_hand.deliveries()
        lost = set[Place]()
        if not held:
            self._liveness.holds_nothing()
        else:
            self._liveness.renewal_due()
            lost = await self._commands.renew([delivery.entry for delivery in held])
            self._liveness.renews()
        self._renewed_at = now_s
        for delivery in held:
            # An entry that is being settled may be gone because it is done. Its own script says whether it was lost.
            if delivery.entry.place in lost and not delivery.settling:
                self._in_hand.lose(delivery)
