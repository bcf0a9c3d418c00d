"""The wire form of an event: one CloudEvents 1.0 envelope in structured JSON mode.

Source: https://github.com/cloudevents/spec, JSON event format 1.0.2. Extension attributes: `eventversion`,
`correlationid`, `causationid`, and `traceparent` and `tracestate` of the distributed tracing extension.

Reading and writing are the library's hottest path. So pydantic-core reads a whole envelope in one pass, and the part
that all envelopes of one writer share is made only once.
"""

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache, partial
from time import time_ns
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict
from uuid_utils import uuid7

from eventlib import tracing
from eventlib.errors import DecodeError, EventTooLarge, InvalidArgument, UnsupportedVersion, shown
from eventlib.events.roundtrip import first_difference, is_same, proof_of
from eventlib.events.schema import Data, Event, oldest_version, spec_of, upcast_data
from eventlib.events.trace_context import checked_trace, child_of, refuse_bad_trace


class Envelope(NamedTuple):
    """An event with its CloudEvents attributes.

    `time` is the moment of publishing by the publisher's clock. `correlation_id` is shared by all events that one
    request caused. `causation_id` is the id of the event whose handling published this one. `traceparent` and
    `tracestate` are the W3C trace context of the publishing.
    """

    id: str
    source: str
    time: datetime
    event: Event
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


current: ContextVar[Envelope | None] = ContextVar("eventlib_current", default=None)
"""The event being handled. Events that its handler, or a task of the handler, publishes continue its correlation."""


# Writing

# Redis accepts 512 MB, but it blocks all clients while it copies that, and sends it again with each delivery.
EVENT_BYTES_MAX = 16 * 2**20


def write(
    event: Event,
    source: str,
    correlation_id: str | None = None,
    causation_id: str | None = None,
    traceparent: str | None = None,
    tracestate: str | None = None,
    id: str | None = None,
) -> tuple[str, bytes]:
    """The id and the wire form of a new envelope: UTF-8 JSON that begins with a writer's constants, with `data` last.

    Attributes that are not given are taken from the `current` envelope. Without an `id`, the id is a UUID version 7,
    which sorts by time. A trace continues with a new parent id.

    Raises:
        InvalidArgument: the W3C recommendation does not allow the trace context, the id is empty, a correlation is not
            text, or something in the event has no JSON form.
        EventTooLarge: the envelope takes more than 16 MiB.
    """
    if traceparent is not None or tracestate is not None:
        refuse_bad_trace(traceparent, tracestate)
    if id is None:
        id = str(uuid7())
    elif not id:
        raise InvalidArgument("id", "is empty; leave it out to have one made")
    cause = current.get()
    if cause is not None:
        if correlation_id is None:
            correlation_id = cause.id if cause.correlation_id is None else cause.correlation_id
        if causation_id is None:
            causation_id = cause.id
    if traceparent is None and (cause is not None or tracing.active is not None):
        traceparent, tracestate = trace_here()
    proof = proof_of(event.__class__)
    try:
        extensions = b""
        if correlation_id is not None:
            extensions = b',"correlationid":' + _json_text("correlation_id", correlation_id)
        if causation_id is not None:
            extensions += b',"causationid":' + _json_text("causation_id", causation_id)
        if traceparent is not None:
            extensions += b',"traceparent":' + to_json(traceparent)
            if tracestate is not None:
                extensions += b',"tracestate":' + to_json(tracestate)
        second, microsecond = divmod(time_ns() // 1000, 1_000_000)
        written = b'%b,"id":%b,"time":"%b.%06dZ"%b,"data":%b}' % (
            _head(event.__class__, source),
            to_json(id),
            _rfc3339(second),
            microsecond,
            extensions,
            event.__pydantic_serializer__.to_json(event, by_alias=True, warnings=proof.warnings),
        )
    except ValueError as error:  # pydantic raises one for lone surrogates and unknown objects
        raise InvalidArgument(f"event {type(event).__name__}", f"has no JSON form: {error}") from error
    if len(written) > EVENT_BYTES_MAX:
        raise EventTooLarge(spec_of(type(event)).type, len(written), EVENT_BYTES_MAX)
    if not (proof.complete or proof.holds(event, len(written))):
        _refuse_what_does_not_come_back(event, written)
    return id, written


def trace_here() -> tracing.TraceContext:
    """The trace context of what is written now: the tracer's, or a child of that of the event being handled."""
    if tracing.active is not None and (found := tracing.active.here())[0] is not None:
        return found
    cause = current.get()
    if cause is None or cause.traceparent is None:
        return tracing.NONE
    return child_of(cause.traceparent), cause.tracestate


def readdressed(written: bytes, id: str, time_s: float) -> bytes:
    """The wire form that `write` made, under another id, and of another time in Unix seconds."""
    head, mark, rest = written.partition(_HEAD_END)
    found = _ID_AND_TIME.match(mark + rest)
    assert found is not None, "`write` made it"
    second, microsecond = divmod(round(time_s * 1e6), 1_000_000)
    addressed = b',"id":%b,"time":"%b.%06dZ"' % (to_json(id), _rfc3339(second), microsecond)
    return head + addressed + (mark + rest)[found.end() :]


def _refuse_what_does_not_come_back(event: Event, written: bytes) -> None:
    """Read the event as its consumers will. An event that they would not get, or not equal, is not published."""
    name, spec = type(event).__name__, spec_of(type(event))
    try:
        read = _reader(type(event), spec.version)(written)["data"]
    except ValidationError as error:
        raise InvalidArgument(f"event {name}", f"cannot be read back: {_summary(error)}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a validator may exit or cancel, and would in each consumer
        raise InvalidArgument(f"event {name}", f"cannot be read back: {type(error).__name__}: {error}") from error
    if not is_same(event, read):
        place = first_difference(event, read)
        raise InvalidArgument(f"event {name}, {place}", "has no JSON form that comes back as the same value")


def _json_text(name: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise InvalidArgument(f"{name}={shown(value)}", "is not text; give a str")
    return to_json(value)


@lru_cache(maxsize=8)
def _rfc3339(second: int) -> bytes:
    """The time to the second. It is cached, because many events are written in one second."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


@lru_cache(maxsize=1024)
def _head(event_class: type[Event], source: str) -> bytes:
    """The beginning of the envelope, which is the same for all events of one class and one program."""
    spec = spec_of(event_class)
    return b'{"specversion":"1.0","source":%b,"type":"%b","eventversion":%d' % (
        to_json(source),
        spec.type.encode(),
        spec.version,
    )


# Reading

_typed_dict: Any = TypedDict  # called at run time with what a checker cannot know
_Read = Callable[[bytes], dict[str, Any]]

_HEAD_END = b',"id":"'  # follows the constant beginning of an envelope that eventlib wrote
_ID_AND_TIME = re.compile(rb',"id":"(?:[^"\\]|\\.)*","time":"[^"]*"')
_HEAD_BYTES_MAX = 512
_HEADS_MAX = 1024  # different beginnings that are kept: one for each writer, type and version


class Decoder:
    """Reads envelopes of the event types in `classes`, which has a class for each type."""

    def __init__(self, classes: Mapping[str, type[Event]]) -> None:
        self._classes = classes
        self._readers: dict[bytes, _Read] = {}  # by the bytes before the id

    def decode(self, raw: bytes) -> Envelope | None:
        """The envelope. None if it is well-formed but of another type.

        An older version, from the class's oldest upcaster on, is read as the newest. A malformed trace context is left
        out.

        Raises:
            DecodeError: it is not JSON or not an envelope, its class refuses the data, or an upcaster fails.
            UnsupportedVersion: its class does not read this version.
        """
        end = raw.find(_HEAD_END, 0, _HEAD_BYTES_MAX)
        if end > 0:
            head = raw[:end]
            try:
                return _opened((self._readers.get(head) or self._learn(head))(raw))
            except Exception:  # a class's validator may raise anything; the careful way below says what is wrong
                pass
        return _decode_carefully(raw, self._classes)

    def _learn(self, head: bytes) -> _Read:
        """Find, and remember, the function that reads envelopes with this beginning.

        Raises:
            LookupError: there is none.
            UnsupportedVersion: as `decode`.
        """
        named = _named_by(head)
        if named is None or named[0] not in self._classes:
            raise LookupError
        read = _reader(self._classes[named[0]], named[1])
        if len(self._readers) >= _HEADS_MAX:
            self._readers.clear()
        self._readers[head] = read
        return read


def decode(raw: bytes, classes: Mapping[str, type[Event]]) -> Envelope | None:
    """One envelope; see `Decoder`."""
    return Decoder(classes).decode(raw)


@lru_cache(maxsize=_HEADS_MAX)
def _named_by(head: bytes) -> tuple[str, int] | None:
    """The type and version that the beginning of an envelope names. None if it names none.

    The rest of the envelope may name others, so the pass over the whole envelope checks both again.
    """
    try:
        found = from_json(head + b"}")
    except ValueError:
        return None
    return _type_and_version(found) if isinstance(found, dict) else None


def _decode_carefully(raw: bytes, classes: Mapping[str, type[Event]]) -> Envelope | None:
    try:
        found = from_json(raw)
    except ValueError as error:
        raise DecodeError(f"not JSON: {error}") from None
    named = _type_and_version(found) if isinstance(found, dict) and isinstance(found.get("id"), str) else None
    if named is None:
        raise DecodeError("no CloudEvents 1.0 envelope: specversion, id, type and eventversion are needed")
    event_class = classes.get(named[0])
    if event_class is None:
        return None
    read = _reader(event_class, named[1])
    try:
        return _opened(read(raw))
    except ValidationError as error:
        raise DecodeError(_summary(error)) from error
    except Exception as error:
        raise DecodeError(
            f"{type(error).__name__} while reading {named[0]} version {named[1]}: {_text_of(error)}"
        ) from error


def _type_and_version(attributes: Mapping[str, Any]) -> tuple[str, int] | None:
    match attributes:
        case {"specversion": "1.0", "type": str(event_type), "eventversion": int(version)}:
            return None if isinstance(version, bool) else (event_type, version)
    return None


@lru_cache(maxsize=1024)
def _reader(event_class: type[Event], version: int) -> _Read:
    """A function that reads one version of an event: its attributes, with `data` as the class's newest version.

    Raises:
        UnsupportedVersion: the class does not read this version.
    """
    spec, oldest = spec_of(event_class), oldest_version(event_class)
    if not oldest <= version <= spec.version:
        raise UnsupportedVersion(spec.type, version, oldest, spec.version)
    if version == spec.version:
        return _pass_over(spec.type, version, event_class)
    attributes_of = _pass_over(spec.type, version, Data)
    event_of = _pass_over_data(event_class)

    def read_old(raw: bytes) -> dict[str, Any]:
        attributes = attributes_of(raw)
        attributes["data"] = event_of(upcast_data(event_class, version, attributes["data"]))
        return attributes

    return read_old


def _pass_over(event_type: str, version: int, data: Any) -> _Read:
    """A function that reads a whole envelope in one pass. It checks the type and version, because an envelope may name
    each twice and the last one counts.
    """
    attributes = {
        "specversion": Literal["1.0"],
        "type": Literal[event_type],
        "eventversion": Literal[version],
        "id": Annotated[str, Field(min_length=1)],
        "source": str,
        "time": AwareDatetime,
        "data": data,
        "correlationid": NotRequired[str | None],
        "causationid": NotRequired[str | None],
        "traceparent": NotRequired[Any],
        "tracestate": NotRequired[Any],
    }
    frame = _typed_dict("frame", attributes)
    frame.__pydantic_config__ = ConfigDict(extra="ignore")
    return partial(TypeAdapter(frame).validator.validate_json, extra="ignore")


def _pass_over_data(event_class: type[Event]) -> Callable[[bytes], Event]:
    read_json = TypeAdapter(_typed_dict("frame", {"data": event_class})).validator.validate_json
    return lambda data: read_json(b'{"data":%b}' % data, extra="ignore")["data"]


_REQUIRED = 7  # required attributes in `_pass_over`: an envelope with no more has none of the optional ones
_new = tuple.__new__  # a NamedTuple's constructor, which is Python code, calls this: twice as fast, but unchecked


def _opened(read: dict[str, Any]) -> Envelope:
    correlation_id = causation_id = traceparent = tracestate = None
    if len(read) > _REQUIRED:
        given = read.get
        correlation_id, causation_id = given("correlationid"), given("causationid")
        if (traceparent := given("traceparent")) is not None:
            traceparent, tracestate = checked_trace(traceparent, given("tracestate"))
    return _new(
        Envelope,
        (read["id"], read["source"], read["time"], read["data"], correlation_id, causation_id, traceparent, tracestate),
    )


def _summary(error: ValidationError) -> str:
    found = ((".".join(map(str, p["loc"])), p["msg"]) for p in error.errors(include_url=False))
    problems = [f"{place}: {problem}" if place else problem for place, problem in found]
    return "; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else "")


def _text_of(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # it is an error class of a validator or an upcaster, so it may fail
        return "(its text cannot be read)"
