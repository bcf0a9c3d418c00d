"""The sagas of a bus, by their name. Those who wait for sagas of one name share one blocking read."""

from typing import TYPE_CHECKING, Any, cast

from eventlib.broker.connections import Broker
from eventlib.errors import InvalidArgument, shown
from eventlib.patience import Patience

if TYPE_CHECKING:  # what sagas need is imported when a program first uses one
    from eventlib.declare.sagas import Saga
    from eventlib.notices import Notices
    from eventlib.sagas.operations import Sagas


class SagasByName:
    """Makes the `Sagas` of a bus."""

    def __init__(self, broker: Broker, source: str, patience: Patience) -> None:
        self._broker = broker
        self._source = source
        self._patience = patience
        self._notices: dict[str, Notices] = {}
        self._closed = False

    def of(self, saga: "Saga[Any] | str") -> "Sagas[Any]":
        """See `Bus.sagas`."""
        from eventlib.broker.sagas import SagaStore
        from eventlib.notices import Notices
        from eventlib.sagas.messages import GROUP, saga_stream
        from eventlib.sagas.operations import Sagas

        name = _name_of(saga)
        notices = self._notices.get(name) or Notices(SagaStore(self._broker, saga_stream(name), GROUP).watch)
        found: Sagas[Any] = Sagas(self._broker, self._source, name, self._patience, notices, lambda: self._closed)
        self._notices[name] = notices  # of names that are none, nothing is kept
        return found

    async def aclose(self) -> None:
        """End all waits."""
        self._closed = True
        for notices in self._notices.values():
            await notices.close()


def _name_of(saga: "Saga[Any] | str") -> str:
    """The name of a declared saga, or the name itself.

    Raises:
        InvalidArgument: it is neither.
    """
    from eventlib.declare.sagas import Saga

    if isinstance(saga, Saga):
        return saga.name
    if isinstance(saga, str):
        return saga
    raise InvalidArgument(
        "saga", f"{shown(cast(object, saga))[:200]} is none; give what `App.saga` returned, or a name"
    )
