"""Where a tracer sees publishes and deliveries alike. Without one, looking for it is all that this costs.

A tracer is installed for the whole process, as tracers are: see `eventlib.opentelemetry`.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

TraceContext = tuple[str | None, str | None]  # W3C traceparent and tracestate
NONE: TraceContext = (None, None)


class Message(Protocol):
    """The envelope of a message: who made it, and in which trace."""

    @property
    def id(self) -> str: ...
    @property
    def correlation_id(self) -> str | None: ...
    @property
    def traceparent(self) -> str | None: ...
    @property
    def tracestate(self) -> str | None: ...


class Held(Protocol):
    """A delivery."""

    @property
    def stream(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def consumer(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def envelope(self) -> Message | None: ...


class Sending(Protocol):
    """Messages on their way to the server."""

    def is_about(self, message_id: str) -> None:
        """Say which message it is, if it is one."""

    def end(self, error: BaseException | None = None) -> None:
        """The server has them, or they have failed."""


class Receiving(Protocol):
    """A wait for a message."""

    def got(self, message: Message) -> None:
        """The message has come."""


class Tracer(Protocol):
    """What is told of publishes and deliveries. Its context managers are entered and left in one task."""

    def here(self) -> TraceContext:
        """The context that a message continues which is written now."""

    def writing(self, stream: str | None, count: int, given: TraceContext) -> AbstractContextManager[Sending]:
        """Messages are written in the block, for one stream or for several (None).

        They get its context, unless they were `given` another. The block is left before `Sending.end` is called, or
        with the error that kept them from it.
        """

    def receiving(self, streams: Sequence[str], correlation_id: str) -> AbstractContextManager[Receiving]:
        """A program waits in the block for a message with this correlation id."""

    def processing(self, deliveries: Sequence[Held]) -> AbstractContextManager[object]:
        """A handler runs in the block. What it raises has failed."""

    def settling(self, how: Literal["retry", "dead_letter"], delivery: Held) -> AbstractContextManager[object]:
        """A delivery that failed is settled in the block."""


active: Tracer | None = None


def install(tracer: Tracer | None) -> None:
    """Tell this tracer from now on, in the whole process. None: no tracer."""
    global active  # noqa: PLW0603 - one for the process, read where each message passes
    active = tracer
