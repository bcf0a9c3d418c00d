"""Events are typed, versioned and immutable. Their wire names are written out, never taken from class names.

Older versions can still be read: an event class holds a chain of upcasters, each from one version to the next. Each
upcaster is tried on its own example when the class is declared.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json, to_json

from eventlib.errors import InvalidArgument, InvalidDeclaration, UnknownEventType
from eventlib.events.roundtrip import refuse_what_is_lost

_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")

Data = dict[str, Any]  # the data object of an envelope, as JSON gives it


class EventSpec(NamedTuple):
    """The wire names of an event."""

    type: str
    version: int
    stream: str


class Upcaster(staticmethod):  # type: ignore[type-arg]  # staticmethod takes no type argument at run time
    """A function inside an event class that turns the data of one version into the next one's; made by `upcast`."""

    def __init__(self, function: Callable[[Data], Data], version: int, example: Mapping[str, Any]) -> None:
        super().__init__(function)
        self.version = version
        self.example = example


def upcast(version: int, *, example: Mapping[str, Any]) -> Callable[[Callable[[Data], Data]], Upcaster]:
    """Declare the decorated function, inside an event class, as the upcaster from `version` to `version + 1`.

    It gets a data object, which it may change, and returns a data object. The same data must always give the same
    result. `example` is data as `version` wrote it. When the class is declared, the example goes through the whole
    chain and must become a valid event.

        class OrderPlaced(Event, type="order.placed", version=2, stream="orders"):
            order_id: str
            total_cents: int

            @upcast(1, example={"order_id": "A1", "total": "42.00"})
            def _v1_to_v2(data: dict[str, Any]) -> dict[str, Any]:
                data["total_cents"] = round(float(data.pop("total")) * 100)
                return data
    """

    def declare(function: Callable[[Data], Data]) -> Upcaster:
        return Upcaster(getattr(function, "__func__", function), version, example)

    return declare


class Event(BaseModel):
    """A fact that happened: subclass it, name its type, version and stream, and annotate its fields.

    Unknown fields are refused when an event is made, because your code has a mistake. They are ignored when an event is
    read, because its writer may be newer than the reader. When the shape changes, raise the version and add an `upcast`
    from the old one: events that were written before are then delivered as the newest version.

        class OrderPlaced(Event, type="order.placed", version=2, stream="orders"):
            order_id: str
            total_cents: int
    """

    # Infinity and NaN have no JSON form. They are refused here, or they would arrive as null.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    event_spec: ClassVar[EventSpec | None] = None
    event_upcasters: ClassVar[tuple[Upcaster, ...]] = ()  # from the oldest version that can be read to the newest

    def __init_subclass__(
        cls, *, type: str | None = None, version: int = 1, stream: str | None = None, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        cls.event_spec = None  # a subclass of a typed event is another event: it does not inherit the name
        cls.event_upcasters = ()
        if type is None and stream is None:
            return
        if stream is None:
            raise InvalidDeclaration(cls.__name__, 'name the stream it travels on: stream="orders"')
        if version < 1:
            raise InvalidDeclaration(cls.__name__, f"version={version}; versions count from 1")
        cls.event_spec = EventSpec(
            valid_type(type, cls.__name__), version, valid_name(stream, f"{cls.__name__} stream")
        )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.event_spec is not None:
            refuse_what_is_lost(cls)
        declared = [value for value in vars(cls).values() if isinstance(value, Upcaster)]
        if declared:
            cls.event_upcasters = _chain(cls, declared)
            for upcaster in cls.event_upcasters:
                _try_example(cls, upcaster)


def spec_of(event_class: type[Event]) -> EventSpec:
    """The wire names of an event class.

    Raises:
        UnknownEventType: the class declares none.
        InvalidArgument: it is the class of a class, so the class was given for an event.
    """
    try:
        spec = event_class.event_spec
    except AttributeError:  # it is not an event class
        spec = None
    if spec is None:
        given: object = event_class  # of any type, where no checker looked
        if isinstance(given, type) and issubclass(given, type):  # the class of a class
            raise InvalidArgument("event", "it is a class, not an event; make one: `OrderPlaced(order_id=...)`")
        raise UnknownEventType(getattr(event_class, "__name__", repr(event_class)))
    return spec


def oldest_version(event_class: type[Event]) -> int:
    """The lowest version of the event that this class reads."""
    return spec_of(event_class).version - len(event_class.event_upcasters)


def upcast_data(event_class: type[Event], version: int, data: Data) -> bytes:
    """Data of an older version as JSON of the newest version. `data` may be changed. Upcasters' errors are passed on.

    The result is JSON, so that the class reads it in the same way as data of the newest version.
    """
    for upcaster in event_class.event_upcasters[version - oldest_version(event_class) :]:
        upcast_one: Callable[[Data], Data] = upcaster.__func__
        data = upcast_one(data)
        if not isinstance(data, dict):
            raise TypeError(f"the upcaster from version {upcaster.version} returned {data!r}, not a data object")
    return to_json(data, inf_nan_mode="constants")  # the class refuses them, but it might accept null


def _chain(event_class: type[Event], upcasters: list[Upcaster]) -> tuple[Upcaster, ...]:
    """The upcasters in order, if they lead to the class's own version without a gap."""
    name = event_class.__name__
    if event_class.event_spec is None:
        raise InvalidDeclaration(name, 'has upcasters but no wire names; write type="order.placed", version=2, stream=')
    newest = event_class.event_spec.version
    by_version: dict[int, Upcaster] = {}
    for upcaster in upcasters:
        version = upcaster.version
        if not 1 <= version < newest:
            raise InvalidDeclaration(
                name,
                f"upcast({version}) cannot lead to version {newest}; declare upcasters from versions 1 to "
                f"{newest - 1} only, or raise the class's version",
            )
        if version in by_version:
            raise InvalidDeclaration(name, f"upcast({version}) is declared twice; keep one of them")
        by_version[version] = upcaster
    for version in range(min(by_version), newest):
        if version not in by_version:
            raise InvalidDeclaration(
                name, f"no upcast({version}): the chain to version {newest} has a gap; declare the missing upcaster"
            )
    return tuple(by_version[version] for version in sorted(by_version))


def _try_example(event_class: type[Event], upcaster: Upcaster) -> None:
    """Run an upcaster's example to the end of the chain, twice: the result must be valid, and the same."""
    where, version = event_class.__name__, upcaster.version
    try:
        example = to_json(upcaster.example, inf_nan_mode="constants")
        first, second = (upcast_data(event_class, version, from_json(example)) for _ in range(2))
        event_class.model_validate_json(first, extra="ignore")
    except Exception as error:  # an upcaster may raise anything
        raise InvalidDeclaration(
            where,
            f"the example of upcast({version}) does not become a valid version {spec_of(event_class).version}; "
            f"correct the example or an upcaster: {type(error).__name__}: {error}",
        ) from error
    if first != second:
        raise InvalidDeclaration(
            where,
            f"the example of upcast({version}) gives another result each time; an upcaster may use its argument only: "
            "no clock, no random numbers",
        )


def valid_type(type_: str | None, where: str) -> str:
    """`type_`, if it can be an event type on the wire.

    Raises:
        InvalidDeclaration: it cannot.
    """
    if not isinstance(type_, str) or not _TYPE.fullmatch(type_):
        raise InvalidDeclaration(where, f"type={type_!r}; use lower-case words joined by dots: 'order.placed'")
    return type_


def valid_name(name: str, where: str) -> str:
    """`name`, if it can be part of a Redis key: no braces (they are the cluster's hash tag), colons or spaces.

    Raises:
        InvalidDeclaration: it cannot.
    """
    given: object = name  # of any type, where no checker looked
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        raise InvalidDeclaration(where, f"{name!r} is not a valid name; use letters, digits, '_', '-' and '.'")
    return name
