"""The wire form of an event: one CloudEvents 1.0 envelope in structured JSON mode.

Source: https://github.com/cloudevents/spec, JSON event format 1.0.2. Extension attributes: `eventversion`,
`correlationid`, `causationid`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json, to_json
from uuid_utils import uuid7

from eventlib.errors import DecodeError, UnsupportedVersion
from eventlib.schema import Event, spec_of

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event with what is known about it.

    `time` is the moment of publishing by the publisher's clock. `correlation_id` is shared by everything that one
    request set off; `causation_id` is the id of the event whose handling published this one.
    """

    id: str
    source: str
    time: datetime
    event: Event
    correlation_id: str | None = None
    causation_id: str | None = None


def seal(event: Event, source: str, correlation_id: str | None, causation_id: str | None) -> Envelope:
    """Put an event into a new envelope: id (UUID version 7, sorts by time) and time are given here."""
    return Envelope(str(uuid7()), source, datetime.now(UTC), event, correlation_id, causation_id)


def encode(envelope: Envelope) -> bytes:
    """The envelope as UTF-8 JSON, `data` last.

    Written by hand because it is the publisher's hot path: one pydantic call for the data, none for the frame.
    """
    extensions = b""
    if envelope.correlation_id is not None:
        extensions += b',"correlationid":' + to_json(envelope.correlation_id)
    if envelope.causation_id is not None:
        extensions += b',"causationid":' + to_json(envelope.causation_id)
    return b'%b,"id":"%b","time":"%b"%b,"data":%b}' % (
        _constant_head(type(envelope.event), envelope.source),
        envelope.id.encode(),
        envelope.time.isoformat().encode(),
        extensions,
        envelope.event.__pydantic_serializer__.to_json(envelope.event, by_alias=True),
    )


@lru_cache(maxsize=1024)
def _constant_head(event_class: type[Event], source: str) -> bytes:
    """What is the same for all events of a class that one program publishes."""
    spec = spec_of(event_class)
    return b'{"specversion":"1.0","source":%b,"type":"%b","eventversion":%d' % (
        to_json(source),
        spec.type.encode(),
        spec.version,
    )


class _Frame(BaseModel, Generic[E]):
    """The envelope as read, its data already validated."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    eventversion: int
    time: datetime
    data: E
    correlationid: str | None = None
    causationid: str | None = None


@cache
def _frame_of(event_class: type[Event]) -> type[_Frame[Any]]:
    return _Frame[event_class]  # type: ignore[valid-type]  # pydantic makes the class at run time


def decode(raw: bytes, classes: Mapping[str, type[Event]]) -> Envelope | None:
    """Read an envelope whose event type is one of `classes`; None where it is another, well-formed type.

    One pass where the first class fits, which is the rule; the slow path finds out why it does not.

    Raises:
        DecodeError: not JSON, no envelope, or data that its class refuses.
        UnsupportedVersion: a version of a known type that is not the class's own.
    """
    first = next(iter(classes.values()))
    frame = _try_frame(raw, first)
    if frame is None:
        event_type, version = _head(raw)
        if event_type not in classes:
            return None
        expected = spec_of(classes[event_type])
        if version != expected.version:
            raise UnsupportedVersion(event_type, version, expected.version)
        try:
            frame = _frame_of(classes[event_type]).model_validate_json(raw, extra="ignore")
        except ValidationError as error:
            raise DecodeError(_summary(error)) from error
        except Exception as error:  # a validator of the class's own may raise anything
            raise DecodeError(f"{type(error).__name__} in a validator of {event_type}") from error
    return Envelope(frame.id, frame.source, frame.time, frame.data, frame.correlationid, frame.causationid)


def _try_frame(raw: bytes, event_class: type[Event]) -> _Frame[Any] | None:
    try:
        frame = _frame_of(event_class).model_validate_json(raw, extra="ignore")
    except Exception:  # a validator of the class's own may raise anything, all the more on another type's data
        return None
    spec = spec_of(event_class)
    return frame if (frame.type, frame.eventversion) == (spec.type, spec.version) else None


def _head(raw: bytes) -> tuple[str, int]:
    try:
        envelope = from_json(raw)
    except ValueError as error:
        raise DecodeError(f"not JSON: {error}") from error
    match envelope:
        case {"specversion": "1.0", "id": str(), "type": str(event_type), "eventversion": int(version)}:
            return event_type, version
        case _:
            raise DecodeError("no CloudEvents 1.0 envelope: specversion, id, type and eventversion are needed")


def _summary(error: ValidationError) -> str:
    problems = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors(include_url=False)]
    return "; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else "")
