"""The messages of sagas. They are entries of a stream for each saga name, which only its workers read."""

from eventlib.events.schema import Event
from eventlib.saga_policy import Act

GROUP = "workers"
_STREAM = "saga"  # no message is published: scripts append them to the stream of their saga


def saga_stream(name: str) -> str:
    """The stream of the sagas of one name."""
    return f"saga.{name}"


class Advance(Event, type="eventlib.saga.advance", version=1, stream=_STREAM):
    """Do, or undo, one step of a saga."""

    saga: str
    seq: int
    version: int
    step: str
    act: Act


class Alarm(Event, type="eventlib.saga.alarm", version=1, stream=_STREAM):
    """The saga's time is over."""

    saga: str
    after_s: float


class Emitted(Event, type="eventlib.saga.emitted", version=1, stream=_STREAM):
    """A step emitted an event, whose envelope is `body`: publish it, once."""

    stream: str
    id: str
    body: str
