"""The client of a program that publishes events and waits for replies, and has no handlers of its own."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from eventlib.bus import Bus, connect
from eventlib.client.catalog_methods import CatalogMethods
from eventlib.declare.app import App
from eventlib.errors import BusClosed, InvalidArgument
from eventlib.events.schema import Event
from eventlib.publish.outage import OutagePolicy
from eventlib.replies.requesting import Requesting
from eventlib.replies.waiting import Waits


@dataclass(frozen=True, slots=True)
class ClientHealth:
    """What a client is doing. Looking at it sends no request.

    `connected` says whether the server has answered since the last failure, which is the `problem`. `queued` events are
    not on the server yet, and the first of their callers has waited for `waiting_s` seconds. `spooled_bytes` are in the
    spool's file. `outstanding` counts requests and other waits for an event, and `streams` are listened to.
    """

    connected: bool
    problem: str | None
    queued: int
    waiting_s: float
    spooled_bytes: int
    outstanding: int
    streams: tuple[str, ...]


class Client(CatalogMethods, Requesting):
    """Publishes events and waits for replies, while its block runs.

        async with ev.Client(url, name="billing", outage_policy=ev.Spool("billing.spool")) as client:
            await client.publish_notification_requested(notification_id="n1", user_id="u1", ...)
            quote = await client.request(QuoteRequested(order_id="A1"), QuoteGiven, timeout_s=5.0)

    `name` becomes the CloudEvents source of its events; the other arguments are those of `connect`, which the beginning
    of the block calls. For each event of the catalog it has a method that takes the fields of the event. It connects
    again by itself. What a publish does while the server is away is the `outage_policy`; waits go on through an outage,
    except with `Fail`.

    Raises:
        InvalidDeclaration: the name cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        name: str,
        namespace: str | None = None,
        outage_policy: OutagePolicy | None = None,
    ) -> None:
        self._app = App(name)
        self._url = url
        self._namespace = namespace
        self._outage_policy = outage_policy
        self._bus: Bus | None = None
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self._bus is not None:
            raise InvalidArgument(f"client {self._app.name!r}", "its block runs already; make a client for each block")
        connecting = connect(self._app, self._url, namespace=self._namespace, outage_policy=self._outage_policy)
        self._bus = await self._open.enter_async_context(connecting)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bus = None
        await self._open.__aexit__(kind, error, trace)

    @property
    def bus(self) -> Bus:
        """What the client stands on, for what it does not offer itself.

        Raises:
            BusClosed: the block has not begun, or has ended.
        """
        if self._bus is None:
            raise BusClosed
        return self._bus

    async def publish(
        self,
        event: Event,
        *,
        id: str | None = None,
        unique_for_s: float | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> str:
        """Append one event to its stream. See `Bus.publish`."""
        return await self.bus.publish(
            event,
            id=id,
            unique_for_s=unique_for_s,
            correlation_id=correlation_id,
            causation_id=causation_id,
            traceparent=traceparent,
            tracestate=tracestate,
        )

    async def publish_many(
        self,
        events: Sequence[Event],
        *,
        ids: Sequence[str] | None = None,
        unique_for_s: float | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> list[str]:
        """Append events, in order within each stream. See `Bus.publish_many`."""
        return await self.bus.publish_many(
            events,
            ids=ids,
            unique_for_s=unique_for_s,
            correlation_id=correlation_id,
            causation_id=causation_id,
            traceparent=traceparent,
            tracestate=tracestate,
        )

    def health(self) -> ClientHealth:
        """What the client is doing."""
        bus = self.bus
        load, waits, problem = bus._publisher.load(), bus._waits, bus._broker.problem
        return ClientHealth(
            connected=problem is None,
            problem=problem,
            queued=load.queued,
            waiting_s=load.waiting_s,
            spooled_bytes=load.spooled_bytes,
            outstanding=waits.outstanding,
            streams=tuple(waits.streams),
        )

    def _open_waits(self) -> Waits:
        return self.bus._open_waits()
