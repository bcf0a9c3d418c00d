"""An App declares which handlers take which events, in which groups and with which settings. Making one does no I/O."""

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from eventlib.arguments import called_as, is_count, is_number, is_seconds
from eventlib.circuit_breaker import CircuitBreaker
from eventlib.declare.checks import replace_or_refuse, takes
from eventlib.declare.schedules import DeclaredSchedule, ScheduleDeclarations
from eventlib.declare.subscriptions import GroupSettings, Subscription, group_settings
from eventlib.declare.tasks import QueueSettings, Task, TaskDeclarations
from eventlib.delivery import Batch, Delivery
from eventlib.errors import DuplicateHandler, InvalidDeclaration
from eventlib.events.schema import Event, spec_of, valid_name
from eventlib.interactive import interactive, same_definition
from eventlib.policy import Lease, Retry, RetryBudget
from eventlib.retention import Retention

if TYPE_CHECKING:  # imported when an App declares its first saga
    from eventlib.declare.sagas import Saga, Step

log = logging.getLogger("eventlib")

E = TypeVar("E", bound=Event)
I = TypeVar("I", bound=BaseModel)  # noqa: E741 - the input of a saga
Handler = Callable[[E, Delivery], Awaitable[None]]
BatchHandler = Callable[[Batch[E]], Awaitable[None]]


@dataclass
class App(TaskDeclarations, ScheduleDeclarations):
    """The declarations of one program. `name` becomes the CloudEvents source of the events that it publishes.

    A cell of a notebook that is run again declares again: what it declared before is replaced, and a note is logged.
    """

    name: str
    groups: dict[str, GroupSettings] = field(default_factory=dict)
    subscriptions: list[Subscription] = field(default_factory=list)
    streams: dict[str, Retention] = field(default_factory=dict)
    tasks: dict[str, Task[..., Any]] = field(default_factory=dict)
    queues: dict[str, QueueSettings] = field(default_factory=dict)
    sagas: "dict[tuple[str, int], Saga[Any]]" = field(default_factory=dict)  # by name and version
    schedules: dict[str, DeclaredSchedule] = field(default_factory=dict)

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
        newer_version_wait_s: float = 3600.0,
        circuit_breaker: CircuitBreaker | None = None,
    ) -> None:
        """Set how each consumer of a group works. A group that is not set here has the defaults.

        One consumer runs up to `concurrency` handlers at once and may hold `prefetch` more entries that wait. If a
        consumer is silent about an entry for `lease_s` seconds, another consumer takes it over. With a `retry_budget`,
        no more retries run than it allows, however many events fail. With a `circuit_breaker`, a consumer whose
        handlers fail too often pauses: it reads nothing and begins no attempt until it tries again.

        `ordered_by` is the wire name of a field of the events' data. Events of one stream that have the same text,
        number or truth value in this field are handled one at a time and in the order of the stream, also by different
        consumers. Events with other keys run in parallel. An event holds back the events behind it until it is
        acknowledged or dead, so during its retries too. Events without the field have no order. An event that is
        replayed from the dead letters has lost its place: it comes after the event that is being handled.

        An event of a newer version than this program reads waits for a newer program of the group: it is put aside,
        again and again, until `newer_version_wait_s` seconds after it was appended. Then it is dead. 0: at once.

        Raises:
            InvalidDeclaration: the group is set twice, or a number is out of its range.
        """
        where = f"group {valid_name(name, 'group')!r}"
        if name in self.groups:
            replace_or_refuse(where, "is already set; set each group once")
        self.groups[name] = group_settings(
            where, concurrency, prefetch, lease_s, retry_budget, ordered_by, newer_version_wait_s, circuit_breaker
        )

    def stream(self, name: str, *, retention: Retention) -> None:
        """Set what a stream keeps. A program that sets nothing follows the program that set it last.

        Raises:
            InvalidDeclaration: the stream is set twice, or `retention` is not a Retention.
        """
        if not isinstance(retention, Retention):
            raise InvalidDeclaration(f"stream {name!r}", f"retention={retention!r}; give a Retention")
        if valid_name(name, "stream") in self.streams:
            replace_or_refuse(f"stream {name!r}", "is already set; set each stream once")
        self.streams[name] = retention

    @called_as('@app.subscribe(OrderPlaced, group="billing")', InvalidDeclaration)
    def subscribe(
        self, event_class: type[E], *, group: str, retry: Retry | None = None, timeout_s: float | None = None
    ) -> Callable[[Handler[E]], Handler[E]]:
        """Declare the decorated coroutine function as the group's handler of an event type.

        It is called as `handler(event, delivery)`. If it returns, the event is handled. If it raises, the attempt has
        failed and `retry` decides what follows; `Reject`, `RetryAfter` and `Snooze` say so themselves. An attempt that
        takes longer than `timeout_s` seconds is cancelled and has failed. Delivery is at least once: a handler may see
        an event again. Events of types that the group has no handler for are acknowledged: a handler that is added
        later does not see them.

        Raises:
            UnknownEventType: the class declares no event type.
            DuplicateHandler: the group has a handler for this type already.
            InvalidDeclaration: the handler is not a coroutine function that takes these arguments, or a setting is out
                of its range.
        """
        self._check(event_class, group, retry, timeout_s)

        def declare(handler: Handler[E]) -> Handler[E]:
            self._add(Subscription(event_class, group, handler, retry or Retry(), timeout_s), "event", "delivery")
            return handler

        return declare

    @called_as('@app.subscribe_batch(OrderPlaced, group="billing", size=100)', InvalidDeclaration)
    def subscribe_batch(
        self,
        event_class: type[E],
        *,
        group: str,
        size: int = 100,
        wait_s: float = 0.0,
        retry: Retry | None = None,
        timeout_s: float | None = None,
    ) -> Callable[[BatchHandler[E]], BatchHandler[E]]:
        """Declare the decorated coroutine function as the group's handler of up to `size` events in one call.

        It is called as `handler(batch)` with the events that are there. With a `wait_s`, a batch that is not full waits
        for more, until its oldest event has waited that long; without, it never waits. If the handler returns, all
        events are handled except those given to `batch.fail`. If it raises, all have failed. Each event is
        acknowledged, retried or dead-lettered by itself. A consumer holds up to `concurrency` batches.

        Raises what `subscribe` raises.
        """
        self._check(event_class, group, retry, timeout_s)
        if not is_count(size, 1):
            raise InvalidDeclaration(f"group {group!r}", f"size={size}; a batch has at least one event")
        if not is_number(wait_s) or not 0.0 <= wait_s <= _BATCH_WAIT_S_MAX:
            most = f"a batch waits for 0 to {_BATCH_WAIT_S_MAX:.0f} seconds"
            raise InvalidDeclaration(f"group {group!r}", f"wait_s={wait_s!r}; {most}")

        def declare(handler: BatchHandler[E]) -> BatchHandler[E]:
            batching = Subscription(event_class, group, handler, retry or Retry(), timeout_s, size, float(wait_s))
            self._add(batching, "batch")
            return handler

        return declare

    @called_as('app.saga("order", Step(...), input=Order)', InvalidDeclaration)
    def saga(
        self,
        name: str,
        *steps: "Step",
        input: type[I],
        version: int = 1,
        timeout_s: float | None = None,
        keep_s: float = 7 * 86_400.0,
        concurrency: int = 16,
        lease_s: float = 30.0,
    ) -> "Saga[I]":
        """Declare a business act of several steps, each of which can be undone.

        The steps run one after the other, each once at a time, in whichever process is free. If one fails for good, if
        the saga is cancelled or takes longer than `timeout_s` seconds, the steps that were done are undone in reverse
        order. What is left of a saga that has ended is kept for `keep_s` seconds. For that
        long, and for 60 s at least, another start with its key starts nothing.

        A saga keeps the version that it was started with. Raise `version` when steps change, and declare the old
        version too for as long as such sagas run: workers without it leave them to others. One worker runs up to
        `concurrency` steps at once and is replaced after `lease_s` seconds of silence, as in `App.group`.

        Raises:
            InvalidDeclaration: the version is declared twice, two steps have one name, a setting is out of range.
        """
        from eventlib.declare.sagas import Saga

        saga = Saga(name, steps, version, input, timeout_s, keep_s, concurrency, Lease(lease_s))
        if (name, version) in self.sagas:
            replace_or_refuse(f"saga {name!r} version {version}", "is already declared; raise version= for other steps")
        self.sagas[name, version] = saga
        return saga

    def _check(self, event_class: type[Event], group: str, retry: Retry | None, timeout_s: float | None) -> None:
        type_ = spec_of(event_class).type
        valid_name(group, "group")
        if self._handler_of(type_, group) is not None and not interactive():
            raise DuplicateHandler(group, type_)
        if not isinstance(retry, Retry | None):
            raise InvalidDeclaration(f"group {group!r}", f"retry={retry!r}; give a Retry")
        if timeout_s is not None and not is_seconds(timeout_s):
            raise InvalidDeclaration(f"group {group!r}", f"timeout_s={timeout_s!r}; it must be seconds above zero")

    def _add(self, subscription: Subscription, *arguments: str) -> None:
        handler = subscription.handler
        if not (inspect.iscoroutinefunction(handler) and takes(handler, len(arguments))):
            name = getattr(handler, "__qualname__", repr(handler))
            raise InvalidDeclaration(f"handler {name}", f"write it as `async def handler({', '.join(arguments)})`")
        type_ = spec_of(subscription.event_class).type
        before = self._handler_of(type_, subscription.group)
        if before is None:
            self.subscriptions.append(subscription)
        elif same_definition(before.handler, handler):
            self.subscriptions[self.subscriptions.index(before)] = subscription
            log.warning("group %r: the handler of %r is replaced by its new definition", subscription.group, type_)
        else:
            raise DuplicateHandler(subscription.group, type_)

    def _handler_of(self, type_: str, group: str) -> Subscription | None:
        found = (s for s in self.subscriptions if s.group == group and spec_of(s.event_class).type == type_)
        return next(found, None)

    def settings(self, group: str) -> GroupSettings:
        """How the group's consumers work.

        Raises:
            InvalidDeclaration: none of the group's events has the field that orders them.
        """
        settings = self.groups.get(group, _DEFAULT)
        fields = {name for s in self.subscriptions if s.group == group for name in _wire_fields(s.event_class)}
        if settings.ordered_by is not None and fields and settings.ordered_by not in fields:
            problem = f"ordered_by={settings.ordered_by!r} is not a field of its events; they have {sorted(fields)}"
            raise InvalidDeclaration(f"group {group!r}", problem)
        return settings


def _wire_fields(event_class: type[Event]) -> set[str]:
    names = {field.serialization_alias or name for name, field in event_class.model_fields.items()}
    return names | {field.alias or name for name, field in event_class.model_computed_fields.items()}


_DEFAULT = GroupSettings()
_BATCH_WAIT_S_MAX = 3600.0
