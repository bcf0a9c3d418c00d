"""The commands of publishing."""

import math

from eventlib.broker import scripts
from eventlib.broker.connections import Broker, milliseconds
from eventlib.broker.pipelined import Argument
from eventlib.broker.requests import ScriptCall
from eventlib.records import NumberedBatch

BATCH_LIMIT = 500  # bodies in one round trip: more would gain nothing, and other clients would wait longer
_MARGIN_S = 5.0  # by so much, clocks may run apart and replies be late
BATCH_BYTES = 4 * 2**20  # bytes in one round trip; a single body may be larger


class PublishCommands:
    """The commands of a publisher."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def append(
        self, batch: NumberedBatch, producer: str, remember_s: float, *, first_try_s: float | None = None
    ) -> ScriptCall:
        """Append numbered bodies. The same numbers from the same producer, within `remember_s`, are appended once.

        A repeat gives the time of the first try, by `steady_s`; -inf if it is not known. Should the server have
        forgotten the producer because its clock jumped, it looks for the bodies among the entries since then. A
        producer that sends its first batch may be one that the server never knew, which is no reason to look at more.

        Await how many were appended: fewer than all if the server had some already, or a body of the same unique id.
        """
        keys = self._broker.keys
        script_keys = [keys.stream(batch.stream), keys.producer(batch.stream, producer)]
        since_ms = None if first_try_s is None else 0
        if first_try_s is not None and batch.first == 1 and first_try_s > -math.inf:
            since_ms = self._broker.server_time_ms(first_try_s - _MARGIN_S)
        args: list[Argument] = [batch.first, milliseconds(remember_s), "" if since_ms is None else since_ms]
        for unique in batch.uniques:
            script_keys.append(keys.unique(batch.stream, unique.id))
            args += (unique.place + 1, milliseconds(unique.for_s))
        size_bytes = sum(map(len, batch.bodies))
        return self._broker.run(scripts.PUBLISH, script_keys, *args, *batch.bodies, bulk=True, size_bytes=size_bytes)

    async def forget_producer(self, stream: str, producer: str) -> None:
        """Delete the key of a producer that will not repeat anything any more."""
        await self._broker.ask("DEL", self._broker.keys.producer(stream, producer))
