"""Dead letters, and the description of why an event died."""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic_core import ValidationError, from_json

from eventlib.errors import DecodeError
from eventlib.events.envelope import decode
from eventlib.policy import cause_of
from eventlib.records import EVENT

_ERROR_LENGTH_MAX = 2000
_TRACEBACK_LENGTH_MAX = 4000
_POISON = "its consumers ended several times without giving a reason: it is the cause, or was held beside the cause"


def describe(reason: str, error: BaseException | None, *, handler: str, consumer: str) -> dict[str, str]:
    """The fields that say why an entry is dead. They can be stored, and their length is limited."""
    fields = {
        "reason": reason,
        "error": described(cause_of(error)) if error is not None else _POISON if reason == "poison" else "",
        "handler": handler,
        "consumer": consumer,
    }
    fault = error
    if error is not None and not handler:  # eventlib refused it: that traceback says nothing, an upcaster's does
        fault = None if isinstance(error.__cause__, ValidationError) else error.__cause__
    if fault is not None:
        fields["traceback"] = _trace(fault)
    return fields


@dataclass(frozen=True)
class DeadLetter:
    """One dead letter: an entry that its group gave up, and why. Times are Unix seconds by the server's clock."""

    id: str
    origin: str  # its id in the event stream
    reason: str
    error: str  # type and text
    traceback: str
    attempts: int  # used up since it was published or last replayed
    handler: str
    consumer: str
    failed_at_s: float | None  # when an attempt first failed
    replays: int  # how often it was replayed before it died
    raw: Mapping[bytes, bytes] = field(repr=False)  # the entry's own fields, byte for byte
    edited: bytes | None = field(default=None, repr=False)  # the event that a replay delivers instead
    edited_at_s: float | None = None  # when it was last edited, here or before a replay

    @property
    def died_at_s(self) -> float:
        return int(self.id.partition("-")[0]) / 1000.0

    @property
    def event(self) -> bytes | None:
        """The event that a replay delivers: as edited, or as it was published."""
        return self.raw.get(EVENT) if self.edited is None else self.edited

    @property
    def event_id(self) -> str | None:
        return self._text("id")

    @property
    def event_type(self) -> str | None:
        return self._text("type")

    @property
    def correlation_id(self) -> str | None:
        return self._text("correlationid")

    @cached_property
    def obstacle(self) -> str | None:
        """Why it cannot be replayed before it is edited. None: it can be replayed.

        An event that its class refused can be replayed, because the program that handles it may have changed.
        """
        return obstacle_to(self.event)

    @cached_property
    def _envelope(self) -> Mapping[str, Any]:
        envelope = json_of(self.event or b"")
        return envelope if isinstance(envelope, dict) else {}

    def _text(self, name: str) -> str | None:
        value = self._envelope.get(name)
        return value if isinstance(value, str) else None


def json_of(text: bytes) -> Any:
    """The value of a JSON text. None if it is not JSON."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return None


def obstacle_to(event: bytes | None) -> str | None:
    """Why no consumer can open the event, whatever event classes it has. None: a consumer can."""
    if event is None:
        return "the entry has no field 'event'"
    try:
        decode(event, {})
    except DecodeError as error:
        return error.reason
    return None


def described(error: BaseException) -> str:
    """An error as text that can be stored and is not long."""
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be read)"
    return storable(f"{type(error).__name__}: {text}"[:_ERROR_LENGTH_MAX])


def _trace(error: BaseException) -> str:
    """The last frames of the error and of its causes. A long text loses its beginning, because its end says most."""
    try:
        lines = traceback.TracebackException.from_exception(error, limit=-20, compact=True, max_group_width=5).format()
        text = "".join(lines)
    except Exception:  # the error's own methods may fail in any way
        return ""
    return storable(text if len(text) <= _TRACEBACK_LENGTH_MAX else f"...{text[-_TRACEBACK_LENGTH_MAX:]}")


def storable(text: str) -> str:
    """The text without what has no UTF-8 form, such as half of a surrogate pair in the name of a file."""
    return text.encode(errors="backslashreplace").decode()
