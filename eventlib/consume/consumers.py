"""The consumers that an App's event handlers need: one for each stream that a group reads."""

from collections.abc import Collection

from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.consume.consumer import GroupConsumer
from eventlib.consume.session import Session
from eventlib.declare.app import App
from eventlib.declare.subscriptions import Subscription
from eventlib.delivery import Observer, Publishing
from eventlib.errors import InvalidArgument
from eventlib.events.schema import spec_of


def event_consumers(
    app: App, groups: Collection[str] | None, broker: Broker, bus: Publishing, name: str, observe: Observer | None
) -> list[GroupConsumer]:
    """Consumers called `name` for `groups`, or for all groups that have handlers.

    Raises:
        InvalidArgument: a group has no handlers.
    """
    by_stream: dict[tuple[str, str], list[Subscription]] = {}
    for s in app.subscriptions:
        if groups is None or s.group in groups:
            by_stream.setdefault((spec_of(s.event_class).stream, s.group), []).append(s)
    unknown = set(groups or ()) - {group for _, group in by_stream}
    handled = sorted({s.group for s in app.subscriptions})
    if unknown:
        raise InvalidArgument(f"App {app.name!r}", f"nothing to run for {sorted(unknown)}; groups: {handled}")
    if idle := set(app.groups) - set(handled):
        problem = f"groups {sorted(idle)} are set and have no handler; is one misspelt? With handlers: {handled}"
        raise InvalidArgument(f"App {app.name!r}", problem)
    return [
        GroupConsumer(
            Session(
                (stream, group, name),
                ConsumerCommands(broker, broker.keys.group(stream, group), name),
                app.settings(group),
                subscriptions,
                observe,
                bus,
            )
        )
        for (stream, group), subscriptions in by_stream.items()
    ]
