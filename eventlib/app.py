"""An App says what there is: who handles which events, in which group, how carefully. Making one does no I/O."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from eventlib.delivery import Batch, Delivery
from eventlib.errors import DuplicateHandler, InvalidDeclaration
from eventlib.events.schema import Event, spec_of, valid_name
from eventlib.policy import Lease, Retry, RetryBudget
from eventlib.retention import Retention

E = TypeVar("E", bound=Event)
Handler = Callable[[E, Delivery], Awaitable[None]]
BatchHandler = Callable[[Batch[E]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """How one consumer of a group works, on each stream the group reads."""

    concurrency: int = 16
    prefetch: int = 0
    lease: Lease = field(default_factory=lambda: Lease(30.0))
    retry_budget: RetryBudget | None = None
    ordered_by: str | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """One handler for one event type in one group; with a `batch` size, it takes up to that many in one call."""

    event_class: type[Event]
    group: str
    handler: Callable[..., Awaitable[None]]
    retry: Retry
    timeout_s: float | None
    batch: int | None = None


@dataclass
class App:
    """Declarations of one program. `name` becomes the CloudEvents source of what it publishes."""

    name: str
    groups: dict[str, GroupSettings] = field(default_factory=dict)
    subscriptions: list[Subscription] = field(default_factory=list)
    streams: dict[str, Retention] = field(default_factory=dict)

    def __post_init__(self) -> None:
        valid_name(self.name, "App name")

    def group(
        self,
        name: str,
        *,
        concurrency: int = 16,
        prefetch: int = 0,
        lease_s: float = 30.0,
        retry_budget: RetryBudget | None = None,
        ordered_by: str | None = None,
    ) -> None:
        """Set how each consumer of a group works; a group never mentioned here has the defaults.

        `concurrency` handlers run at once in one consumer; `prefetch` more entries may wait in it. An entry whose
        consumer has been silent for `lease_s` seconds is taken over by another one. With a `retry_budget`, no more
        retries run than it allows, however many events fail.

        `ordered_by` names a field of the events' data, as it is called on the wire. Events of one stream with the same
        text, number or truth value in it are handled one at a time, in the order of the stream, whichever consumer has
        them; other keys run in parallel. An event keeps those behind it waiting until it is acknowledged or dead, its
        retries included. Events without the field have no order. What comes back from the dead letters has lost its
        place: it follows the event in hand.

        Raises:
            InvalidDeclaration: the group is set twice, or a number makes no sense.
        """
        where = f"group {valid_name(name, 'group')!r}"
        if name in self.groups:
            raise InvalidDeclaration(where, "is already set; set each group once")
        if not (_is_count(concurrency, 1) and _is_count(prefetch, 0) and 0 < lease_s <= 1e6):
            raise InvalidDeclaration(
                where, "needs concurrency >= 1 and prefetch >= 0, whole numbers up to 1,000,000, and 0 < lease_s <= 1e6"
            )
        if not isinstance(retry_budget, RetryBudget | None):
            raise InvalidDeclaration(where, f"retry_budget={retry_budget!r}; give a RetryBudget")
        self.groups[name] = GroupSettings(concurrency, prefetch, Lease(lease_s), retry_budget, ordered_by)

    def stream(self, name: str, *, retention: Retention) -> None:
        """Set what a stream keeps. Programs that set nothing follow whoever set it last.

        Raises:
            InvalidDeclaration: the stream is set twice, or `retention` is no Retention.
        """
        if not isinstance(retention, Retention):
            raise InvalidDeclaration(f"stream {name!r}", f"retention={retention!r}; give a Retention")
        if valid_name(name, "stream") in self.streams:
            raise InvalidDeclaration(f"stream {name!r}", "is already set; set each stream once")
        self.streams[name] = retention

    def subscribe(
        self, event_class: type[E], *, group: str, retry: Retry | None = None, timeout_s: float | None = None
    ) -> Callable[[Handler[E]], Handler[E]]:
        """Declare the decorated coroutine function as the group's handler of an event type.

        It is called as `handler(event, delivery)`. Returning means handled. Raising means this attempt failed and
        `retry` decides; `Reject`, `RetryAfter` and `Snooze` decide themselves. An attempt that takes longer than
        `timeout_s` seconds is cancelled and failed. Delivery is at least once: a handler may see an event again.
        Events of types that the group has no handler for are acknowledged: a handler added later does not see them.

        Raises:
            UnknownEventType: the class declares no event type.
            DuplicateHandler: the group has a handler for this type already.
            InvalidDeclaration: the handler is no coroutine function of these arguments, or a setting makes no sense.
        """
        self._check(event_class, group, retry, timeout_s)

        def declare(handler: Handler[E]) -> Handler[E]:
            self._add(Subscription(event_class, group, handler, retry or Retry(), timeout_s), "event", "delivery")
            return handler

        return declare

    def subscribe_batch(
        self,
        event_class: type[E],
        *,
        group: str,
        size: int = 100,
        retry: Retry | None = None,
        timeout_s: float | None = None,
    ) -> Callable[[BatchHandler[E]], BatchHandler[E]]:
        """Declare the decorated coroutine function as the group's handler of up to `size` events in one call.

        It is called as `handler(batch)` with what is there: a batch never waits to fill up. Returning means all are
        handled but those it gave to `batch.fail`; raising means all failed. Each event is acknowledged, retried or
        dead-lettered by itself. A consumer holds up to `concurrency` batches.

        Raises as `subscribe` does.
        """
        self._check(event_class, group, retry, timeout_s)
        if not _is_count(size, 1):
            raise InvalidDeclaration(f"group {group!r}", f"size={size}; a batch has at least one event")

        def declare(handler: BatchHandler[E]) -> BatchHandler[E]:
            self._add(Subscription(event_class, group, handler, retry or Retry(), timeout_s, size), "batch")
            return handler

        return declare

    def _check(self, event_class: type[Event], group: str, retry: Retry | None, timeout_s: float | None) -> None:
        spec = spec_of(event_class)
        valid_name(group, "group")
        if any(s.group == group and spec_of(s.event_class).type == spec.type for s in self.subscriptions):
            raise DuplicateHandler(group, spec.type)
        if not isinstance(retry, Retry | None):
            raise InvalidDeclaration(f"group {group!r}", f"retry={retry!r}; give a Retry")
        if timeout_s is not None and not timeout_s > 0:
            raise InvalidDeclaration(f"group {group!r}", f"timeout_s={timeout_s}; it must be above zero")

    def _add(self, subscription: Subscription, *arguments: str) -> None:
        handler = subscription.handler
        if not (inspect.iscoroutinefunction(handler) and _takes(handler, len(arguments))):
            wanted = f"write it as `async def handler({', '.join(arguments)})`"
            raise InvalidDeclaration(f"handler {handler!r}", wanted)
        self.subscriptions.append(subscription)

    def settings(self, group: str) -> GroupSettings:
        """How the group's consumers work.

        Raises:
            InvalidDeclaration: none of the group's events has the field that orders them.
        """
        settings = self.groups.get(group, _DEFAULT)
        known = {name for s in self.subscriptions if s.group == group for name in _wire_fields(s.event_class)}
        if settings.ordered_by is not None and known and settings.ordered_by not in known:
            problem = f"ordered_by={settings.ordered_by!r} is no field of its events; they have {sorted(known)}"
            raise InvalidDeclaration(f"group {group!r}", problem)
        return settings


def _wire_fields(event_class: type[Event]) -> set[str]:
    plain = {field.serialization_alias or name for name, field in event_class.model_fields.items()}
    return plain | {field.alias or name for name, field in event_class.model_computed_fields.items()}


_DEFAULT = GroupSettings()


def _takes(function: Callable[..., object], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True


def _is_count(number: object, least: int) -> bool:
    return isinstance(number, int) and least <= number <= 1_000_000
