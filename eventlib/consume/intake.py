"""The way of entries into a consumer: they are read while there is capacity, opened, and queued for the handlers."""

import asyncio
import time
from collections.abc import Sequence

from eventlib import policy
from eventlib.broker.reading import Reader
from eventlib.consume.calls import Fetch
from eventlib.consume.execution import Executor
from eventlib.consume.fetch_size import FetchSize
from eventlib.consume.leases import Leases
from eventlib.consume.session import Session
from eventlib.consume.settlement import Settler
from eventlib.delivery import Delivery
from eventlib.errors import DataError
from eventlib.events.envelope import Decoder, Envelope
from eventlib.events.opening import opened
from eventlib.events.schema import spec_of
from eventlib.records import Entry

BLOCK_S = 1.0  # longest blocking read; a dead connection is noticed after this time and the time for a reply
FIRST_FETCH = 100  # entries in the first request, while their size is not known
READ_ON = 100  # after a read of at least so many entries, the next read is requested while these are opened


class Intake:
    """Reads for one consumer. Entries that were read and entries that were taken over all come in by `accept`."""

    def __init__(self, session: Session, leases: Leases, executor: Executor, settler: Settler) -> None:
        subscriptions = session.subscriptions.values()
        self._identity = session.identity
        self._bus = session.bus
        self._decoder = Decoder({spec_of(event_class).type: event_class for event_class in session.subscriptions})
        self._attempts = session.attempts
        self._attempts_max = session.attempts_max
        self._ordered_by = session.settings.ordered_by
        self._unknown = session.unknown
        self._commands = session.commands
        self._in_hand = session.in_hand
        self._liveness = session.liveness
        self._leases = leases
        self._executor = executor
        self._settler = settler
        self._fetch = Fetch(session.calls, max(FIRST_FETCH, *(s.batch or 1 for s in subscriptions)))
        self._looked = False  # the first read is done
        self._asked_at = 0.0
        self._unopened: list[Entry] = []  # the entries of the last read, if they could not be accepted at once
        self._opening: list[Entry] = []  # those of the read before, while the last one is requested

    async def run(self) -> None:
        """Read until cancelled."""
        reader = self._commands.reader(BLOCK_S, self._ordered_by)
        ahead: asyncio.Task[None] | None = None
        try:
            while True:
                await (ahead or self._read(reader))
                ahead = None
                self._opening, self._unopened = self._unopened, []
                if len(self._opening) >= READ_ON:
                    ahead = asyncio.create_task(self._read(reader))
                    await asyncio.sleep(0)  # the read sends its request, and an eager one may be answered
                opening, self._opening = self._opening, []
                self.accept(opening)
                await asyncio.sleep(0)  # handlers begin before the next read is requested
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.wait({ahead})
            await reader.close()

    def accept(self, entries: Sequence[Entry]) -> None:
        """Open entries and queue them for the handlers. They already use capacity."""
        now_s = time.monotonic()
        for entry in entries:
            delivery = Delivery(*self._identity, entry.attempts + entry.deliveries, entry, self._bus, read_at=now_s)
            if not self._in_hand.hold(delivery):
                self._in_hand.free_capacity(1)  # it is held: its own lease expired, or the group was created again
                continue
            if entry.deliveries > 1:
                delivery.suspect = policy.is_suspect(delivery.attempt, entry.deliveries, self._attempts)
                self._in_hand.note_taken_over(delivery)
            if delivery.attempt <= self._attempts_max + 1:  # else the opening may be what ends its consumers
                try:
                    delivery.envelope = self._opened(entry)
                except DataError as error:
                    delivery.fault = error
                else:
                    if delivery.envelope is None:  # a type that this group has no handler for
                        self._settler.skip(delivery)
                        self._in_hand.free_capacity(1)
                        continue
            self._executor.put(delivery)
        self._executor.begin_batches()

    async def _read(self, reader: Reader) -> None:
        if not (capacity := self._in_hand.capacity()):
            self._liveness.rests()
            capacity = await self._in_hand.some_capacity()
            self._liveness.resumes()
        self._asked_at = time.monotonic()
        if self._looked:
            await self._fetch(lambda count: reader.read(count, self._came), capacity)
        else:  # how large entries are is not known yet
            await self._fetch(lambda count: reader.read_at_once(count, FetchSize.BYTES_MAX, self._came), capacity)
            self._looked = True
        self._liveness.hears()
        if self._unopened and self._leases.stood_still(self._asked_at):
            kept = await self._leases.still_owned(self._unopened)
            self._in_hand.free_capacity(len(self._unopened) - len(kept))
            self._unopened = kept

    def _came(self, entries: list[Entry]) -> None:
        """Take the entries of a reply. A few entries are accepted at once, which saves a turn of the event loop.

        Many entries are left for `run`, which first requests the next ones. Entries that came while this process stood
        still are left for `_read`, which first asks the server whether this consumer still owns them.
        """
        self._fetch.came(entries)
        self._in_hand.use_capacity(len(entries))
        if not self._opening and len(entries) < READ_ON and not self._leases.stood_still(self._asked_at):
            self.accept(entries)
        else:
            self._unopened = entries

    def _opened(self, entry: Entry) -> Envelope | None:
        envelope = opened(self._decoder, entry.event)
        if envelope is None and self._unknown is not None:
            raise self._unknown(entry.event or b"")
        return envelope
