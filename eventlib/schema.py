"""Events are typed, versioned and immutable; their wire names are written out, never taken from class names."""

import re
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict

from eventlib.errors import InvalidDeclaration, UnknownEventType

_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")


class EventSpec(NamedTuple):
    """What an event is called on the wire."""

    type: str
    version: int
    stream: str


class Event(BaseModel):
    """A fact that happened: subclass it, name its type, version and stream, and annotate its fields.

    Unknown fields are refused where an event is made (a typing error in your code) and ignored where one is read (a
    writer that is newer than the reader).

        class OrderPlaced(Event, type="order.placed", version=2, stream="orders"):
            order_id: str
            total_cents: int
    """

    # Infinity and NaN have no JSON form: refused here instead of arriving as null.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    event_spec: ClassVar[EventSpec | None] = None

    def __init_subclass__(
        cls, *, type: str | None = None, version: int = 1, stream: str | None = None, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        cls.event_spec = None  # a subclass of a typed event is another event: it does not inherit the name
        if type is None and stream is None:
            return
        if stream is None:
            raise InvalidDeclaration(cls.__name__, 'name the stream it travels on: stream="orders"')
        if version < 1:
            raise InvalidDeclaration(cls.__name__, f"version={version}; versions count from 1")
        cls.event_spec = EventSpec(
            valid_type(type, cls.__name__), version, valid_name(stream, f"{cls.__name__} stream")
        )


def spec_of(event_class: type[Event]) -> EventSpec:
    """The wire names of an event class.

    Raises:
        UnknownEventType: the class declares none.
    """
    if event_class.event_spec is None:
        raise UnknownEventType(event_class.__name__)
    return event_class.event_spec


def valid_type(type_: str | None, where: str) -> str:
    """`type_`, if it can be an event type on the wire.

    Raises:
        InvalidDeclaration: it cannot.
    """
    if type_ is None or not _TYPE.fullmatch(type_):
        raise InvalidDeclaration(where, f"type={type_!r}; use lower-case words joined by dots: 'order.placed'")
    return type_


def valid_name(name: str, where: str) -> str:
    """`name`, if it can stand in a Redis key: no braces (they are the cluster's hash tag), colons or spaces.

    Raises:
        InvalidDeclaration: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise InvalidDeclaration(where, f"{name!r} is no valid name; use letters, digits, '_', '-' and '.'")
    return name
