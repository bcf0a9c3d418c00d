"""What the parts of one consumer share."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from eventlib.broker.consuming import ConsumerCommands
from eventlib.consume.calls import Calls
from eventlib.consume.gate import Gate
from eventlib.consume.group_clock import GroupClock
from eventlib.consume.in_hand import InHand, Observations
from eventlib.consume.liveness import Liveness
from eventlib.counts import ConsumerCounts
from eventlib.declare.subscriptions import GroupSettings, Subscription
from eventlib.delivery import Observer, Publishing
from eventlib.errors import AccessDenied, BrokerError, DataError
from eventlib.events.schema import Event
from eventlib.policy import TokenBucket

log = logging.getLogger("eventlib")


def _is_trouble(error: BaseException) -> bool:
    """Whether the server did not answer, or could not do what it was asked."""
    return isinstance(error, BrokerError) and not isinstance(error, AccessDenied)


class Session:
    """One consumer of one group on one stream: who it is, what it holds, and how it reaches the server."""

    given_up = "is dead"  # what the log says of an event that is given up

    def __init__(
        self,
        identity: tuple[str, str, str],
        commands: ConsumerCommands,
        settings: GroupSettings,
        subscriptions: Sequence[Subscription],
        observe: Observer | None,
        bus: Publishing,
        unknown: Callable[[bytes], DataError] | None = None,
    ) -> None:
        self.identity = identity  # stream, group, consumer
        self.place = "/".join(identity[:2])  # in the log
        self.settings = settings
        self.bus = bus
        self.unknown = unknown  # why an event of a type without handler is given up; without it, it is acknowledged
        self.subscriptions: dict[type[Event], Subscription] = {s.event_class: s for s in subscriptions}
        self.attempts = min(s.retry.attempts for s in subscriptions)  # that every event is allowed
        self.attempts_max = max(s.retry.attempts for s in subscriptions)  # that some event is allowed
        self.bucket = TokenBucket(settings.retry_budget, time.monotonic()) if settings.retry_budget else None
        self.rng = random.Random()
        self.tasks = asyncio.TaskGroup()
        self.commands = commands
        self.liveness = Liveness()
        self.counts = ConsumerCounts()
        self.clock = GroupClock()
        self.calls = Calls(self.commands, self.liveness, self.place, self.rng)
        self.observations = Observations(observe)
        concurrency = settings.concurrency * max(s.batch or 1 for s in subscriptions)
        self.in_hand = InHand(concurrency, settings.prefetch, self.observations, self.counts)
        self.gate: Gate | None = None
        if settings.circuit_breaker is not None:
            self.gate = Gate(settings.circuit_breaker, self.in_hand, self.observations, self.counts, self.place)

    def obey(self, paused: bool) -> None:
        """Ask for nothing while an operator lets the group rest. What is in hand is finished."""
        if paused == self.in_hand.paused:
            return
        self.in_hand.paused = paused
        if paused:
            log.warning("%s is paused: this consumer reads nothing until the group is resumed", self.place)
        else:
            log.warning("%s goes on: it is paused no more", self.place)
            self.liveness.goes_on()
            self.in_hand.look_again()

    def subscription_of(self, event: Event) -> Subscription:
        """Who handles the event, and how."""
        return self.subscriptions[type(event)]

    def start(
        self, work: Callable[[], Coroutine[Any, Any, None]], *, until_abandoned: bool = False
    ) -> asyncio.Task[None]:
        """Run a part of the consumer as a task. If it fails, the consumer is abandoned.

        `until_abandoned` is for a part that has nothing more to do then: it ends if the server does not answer.
        """

        async def run() -> None:  # calls `work` only when it begins, so that no coroutine is left unawaited
            try:
                await work()
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                if until_abandoned and self.calls.abandoned and _is_trouble(error):
                    return
                self.calls.abandon()  # first, so that the task group's cancellation counts as the consumer's own
                raise

        return self.tasks.create_task(run())
