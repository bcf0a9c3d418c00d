"""The workers that an App's sagas need: one consumer for each saga name."""

from collections.abc import Collection
from typing import Any

from eventlib.broker.connections import Broker
from eventlib.consume.consumer import GroupConsumer
from eventlib.consume.session import Session
from eventlib.declare.app import App
from eventlib.declare.sagas import Saga
from eventlib.declare.subscriptions import GroupSettings, Subscription
from eventlib.delivery import Observer, Publishing
from eventlib.errors import InvalidArgument
from eventlib.events.schema import Event
from eventlib.publish.publisher import Publisher
from eventlib.sagas.commands import SagaCommands
from eventlib.sagas.messages import GROUP, saga_stream
from eventlib.sagas.runner import Runner


class SagaSession(Session):
    """One worker. Each step of a saga has a retry policy of its own, though all of their messages are of one type."""

    given_up = "failed for good"

    def __init__(
        self,
        name: str,
        runner: Runner,
        commands: SagaCommands,
        settings: GroupSettings,
        observe: Observer | None,
        bus: Publishing,
    ) -> None:
        self._runner = runner
        identity = saga_stream(name), GROUP, commands.worker
        super().__init__(identity, commands, settings, runner.subscriptions, observe, bus)
        runner.calls = self.calls

    def subscription_of(self, event: Event) -> Subscription:
        return self._runner.subscription_of(event)


def saga_consumers(
    app: App,
    names: Collection[str] | None,
    broker: Broker,
    bus: Publishing,
    publisher: Publisher,
    worker: str,
    observe: Observer | None,
) -> list[GroupConsumer]:
    """Consumers called `worker` for the sagas of `names`, or for all that the App declares.

    Raises:
        InvalidArgument: a name is of no declared saga.
    """
    declared: dict[str, dict[int, Saga[Any]]] = {}
    for (name, version), saga in app.sagas.items():
        declared.setdefault(name, {})[version] = saga
    if unknown := set(names or ()) - set(declared):
        raise InvalidArgument(f"App {app.name!r}", f"nothing to run for {sorted(unknown)}; sagas: {sorted(declared)}")
    consumers = []
    for name in sorted(declared if names is None else set(names)):
        newest = declared[name][max(declared[name])]
        commands = SagaCommands(broker, name, worker, app.name)
        runner = Runner(declared[name], commands, publisher, app.name)
        settings = GroupSettings(newest.concurrency, 0, newest.lease)
        consumers.append(GroupConsumer(SagaSession(name, runner, commands, settings, observe, bus)))
    return consumers
