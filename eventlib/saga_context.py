"""What a step of a saga gets: the saga's input, what earlier steps returned, and a way to emit events."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

from eventlib.errors import InvalidArgument
from eventlib.events.envelope import write
from eventlib.events.schema import Event, spec_of

I = TypeVar("I", bound=BaseModel)  # noqa: E741 - the input
R = TypeVar("R")


class SagaContext(Generic[I]):
    """What one call of a step, or of an undo, may know and do.

    `results` has what the steps that are done returned, by their names. `idempotency_key` is the same in each attempt
    of this step, and another one in its undo: hand it to a service that does nothing twice for one key. `attempt`
    counts from 1. An attempt that ended silently counts too.
    """

    def __init__(
        self,
        name: str,
        id: str,
        input: I,
        results: Mapping[str, Any],
        *,
        step: str,
        act: Literal["do", "undo"],
        attempt: int,
        idempotency_key: str,
        source: str,
    ) -> None:
        self.name = name
        self.id = id
        self.input = input
        self.results = results
        self.step = step
        self.act = act
        self.attempt = attempt
        self.idempotency_key = idempotency_key
        self.emitted: list[tuple[str, str, bytes]] = []  # stream, event id and envelope of each
        self._source = source

    def result_of(self, step: "Callable[[SagaContext[I]], Any]") -> Any:
        """What the step function returned, for a step that is done.

        Raises:
            InvalidArgument: no step of this function is done.
        """
        name = step.__name__
        if name not in self.results:
            raise InvalidArgument(f"saga {self.name!r}", f"step {name} has no result: it is not done")
        return self.results[name]

    def emit(self, event: Event) -> str:
        """Publish an event if this call succeeds, in one act with its outcome. Returns the event's id.

        Events of a call that fails are dropped. Correlation and trace follow from the saga.

        Raises:
            InvalidArgument, EventTooLarge: the event has no JSON form, or takes more than 16 MiB.
        """
        stream = spec_of(type(event)).stream
        id_, body = write(event, self._source)
        self.emitted.append((stream, id_, body))
        return id_
