"""What a group of eventlib has beside its stream: retries that wait, a stream of retries, dead letters, an order."""

from eventlib.broker.keys import Keys
from eventlib.broker.watching import FIRST_ID, EntryId, GroupWatcher, StreamState
from sim.errors import SimError
from sim.learn.recording import LISTED_MAX, Recording, Streams

COMMANDS = 4  # of one `counts`
_WORKERS = "workers"  # the group of the library's own workers
_NOT_EVENTS = ("tasks.", "saga.")  # begin the names of the streams that they work on
_NOTHING = StreamState(0, 0, EntryId.of(FIRST_ID), 0)


class NothingToLearn(SimError):
    """The group cannot be watched, or did nothing that could be learned from. The message says what was found."""


class LibraryGroup:
    """A group of eventlib, by its keys. `found` says whether there is one under them."""

    def __init__(self, watcher: GroupWatcher, namespace: str, stream: str) -> None:
        self.found = False
        self._watcher = watcher
        self._stream = stream
        self._keys = Keys(namespace).group(stream, watcher.group)
        self._dead_from = _NOTHING.last

    @property
    def _where(self) -> str:
        return f"{self._watcher.stream}, group {self._watcher.group}"

    async def look_for(self) -> None:
        """Find out whether the library keeps retries for this group.

        Raises:
            NothingToLearn: it holds tasks or sagas.
        """
        watcher, keys = self._watcher, self._keys
        retries = await watcher.stream_state(keys.retry)
        if retries is None or not retries.groups:
            return
        if self._stream.startswith(_NOT_EVENTS) and watcher.group == _WORKERS:
            problem = "holds tasks or sagas, which are not learned yet; write a scenario with queue or saga for it"
            raise NothingToLearn(self._where, problem)
        self.found, watcher.retries = True, keys.retry
        self._dead_from = (await watcher.stream_state(keys.dead_letters) or _NOTHING).last

    async def counts(self, state: StreamState, record: Recording) -> Streams:
        """How many retries and dead letters there are beside the stream. Those that wait for a retry are noted.

        Raises:
            NothingToLearn: the group is ordered by key.
        """
        watcher, keys = self._watcher, self._keys
        if await self._is_ordered(record):
            problem = "is ordered by key, which is not modelled yet: its entries wait for others of their key"
            raise NothingToLearn(self._where, problem)
        retries, dead = await watcher.stream_state(keys.retry), await watcher.stream_state(keys.dead_letters)
        if (delayed := await watcher.size_of_set(keys.delayed)) is not None:
            record.delayed.append(delayed)
        retries, dead = retries or _NOTHING, dead or _NOTHING
        return Streams(state.added, state.length, retries.added, dead.added, dead.length)

    async def _is_ordered(self, record: Recording) -> bool:
        """Whether an entry with a key is in hand now, or waits behind one of its key."""
        ordered = await self._watcher.exists(self._keys.key_queue_heads, self._keys.key_queues)
        record.order_unknown = ordered is None
        return bool(ordered)

    async def list_dead(self, record: Recording) -> None:
        """Note why entries were given up while they were watched."""
        record.dead = await self._watcher.dead(self._keys.dead_letters, self._dead_from, LISTED_MAX)
