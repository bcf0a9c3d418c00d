"""Event classes made from descriptions, for property tests: a description can be changed a little, as a class is."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address
from types import GenericAlias
from typing import Annotated, Any, Literal, NamedTuple, NotRequired
from uuid import UUID, uuid1, uuid4

from hypothesis import strategies as st
from pydantic import (
    UUID1,
    UUID4,
    AfterValidator,
    AliasChoices,
    AnyUrl,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    FutureDate,
    HttpUrl,
    IPvAnyAddress,
    Json,
    JsonValue,
    NaiveDatetime,
    PastDate,
    PlainSerializer,
    PlainValidator,
    RootModel,
    Strict,
    StringConstraints,
    Tag,
    WrapValidator,
    create_model,
)
from typing_extensions import TypedDict

import eventlib as ev


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Paint(Enum):
    RED = "red"
    BLUE = "blue"
    GREEN = "green"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Lenient(Enum):
    RED = "red"

    @classmethod
    def _missing_(cls, value: object) -> "Lenient":
        return cls.RED


class Point(NamedTuple):
    x: int
    y: int = 0


class Deep(NamedTuple):
    x: int
    y: int
    z: int = 0


class Half(TypedDict, total=False):
    a: int
    b: str


class Whole(TypedDict):
    a: int
    b: NotRequired[str]


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    claws: int = 4


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    claws: int = 4


class StrictCat(BaseModel):
    kind: Literal["cat"]
    claws: Annotated[int, Field(le=4)] = 4


class Clawless(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["dog"] = "dog"


@dataclass
class Place:
    city: str
    zip: str = ""


@dataclass
class Checked:
    city: str
    zip: str = ""

    def __post_init__(self) -> None:
        if self.zip == "0":
            raise ValueError("no such place")


class Tree(BaseModel):
    name: str = ""
    children: list["Tree"] = []


class NamedTree(BaseModel):
    name: Annotated[str, Field(max_length=1)] = ""
    children: list["NamedTree"] = []


def small(value: Any) -> Any:
    if value in (3, "b", True):
        raise ValueError("not this one")
    return value


def smaller(value: Any) -> Any:
    if value in (1, 3, "b", "a"):
        raise ValueError("none of these")
    return value


def unlike(forbidden: object) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value == forbidden:
            raise ValueError("forbidden")
        return value

    return check


def from_hex(value: Any) -> Any:
    return int(value, 16) if isinstance(value, str) else value


def around(value: Any, handler: Callable[[Any], Any]) -> Any:
    return handler(0 if value == 2 else value)


def tag_of(value: Any) -> str:
    return "text" if isinstance(value, str) else "number"


def shown(value: Any) -> str:
    return "even" if isinstance(value, int) and value % 2 == 0 else "odd"


_tz = st.sampled_from([None, UTC, timezone(timedelta(hours=1))])
_datetimes = st.builds(
    lambda d, tz: d.replace(tzinfo=tz), st.datetimes(datetime(2000, 1, 1), datetime(2050, 1, 1)), _tz
)
_texts = st.sampled_from(["", "a", "b", "ab", " a", "a ", "A", "abc", "1", "0x1", "red", "é"]) | st.text(max_size=3)
_ints = st.integers(-3, 12) | st.integers()
_floats = st.sampled_from([0.0, 1.0, 0.5, 2.5, float("nan"), float("inf"), -1.0]) | st.floats()
_decimals = st.sampled_from([Decimal(x) for x in ("0", "1", "1.5", "123.45", "12345", "0.001", "1E+3", "-7", "NaN")])

# Types that one could take another one's place, with values that some of them refuse.
FAMILIES: dict[str, tuple[st.SearchStrategy[Any], list[Any]]] = {
    "datetime": (
        _datetimes,
        [
            datetime,
            AwareDatetime,
            NaiveDatetime,
            Annotated[datetime, Field(ge=datetime(2020, 1, 1))],
            Annotated[datetime, Field(ge=datetime(2030, 1, 1))],
            Annotated[datetime, Strict()],
            str,
            Annotated[str, Field(max_length=20)],
        ],
    ),
    "date": (
        st.dates(date(2000, 1, 1), date(2050, 1, 1)),
        [
            date,
            PastDate,
            FutureDate,
            Annotated[date, Field(lt=date(2030, 1, 1))],
            Annotated[date, Field(le=date(2029, 1, 1))],
            str,
        ],
    ),
    "time": (
        st.builds(lambda t, tz: t.replace(tzinfo=tz), st.times(), _tz),
        [time, Annotated[time, Field(ge=time(12))], str],
    ),
    "timedelta": (
        st.timedeltas(timedelta(0), timedelta(days=3)),
        [
            timedelta,
            Annotated[timedelta, Field(le=timedelta(days=1))],
            Annotated[timedelta, Field(le=timedelta(days=2))],
            str,
        ],
    ),
    "decimal": (
        _decimals,
        [
            Decimal,
            Annotated[Decimal, Field(decimal_places=2)],
            Annotated[Decimal, Field(decimal_places=0)],
            Annotated[Decimal, Field(max_digits=3)],
            Annotated[Decimal, Field(max_digits=5)],
            Annotated[Decimal, Field(max_digits=5, decimal_places=2)],
            Annotated[Decimal, Field(max_digits=5, decimal_places=3)],
            Annotated[Decimal, Field(max_digits=6, decimal_places=4)],
            Annotated[Decimal, Field(ge=0)],
            Annotated[Decimal, Field(ge=Decimal("1.25"))],
            Annotated[Decimal, Field(multiple_of=0.5)],
            Annotated[Decimal, Field(allow_inf_nan=True)],
            Annotated[Decimal, Strict()],
            float,
            str,
            float | str,
            Fraction,
        ],
    ),
    "number": (
        _ints | _floats | st.booleans(),
        [
            int,
            float,
            bool,
            Annotated[int, Field(ge=0)],
            Annotated[int, Field(gt=0, lt=10)],
            Annotated[float, Field(ge=0)],
            Annotated[int, Field(multiple_of=2)],
            Annotated[int, Field(multiple_of=3)],
            Annotated[int, Strict()],
            Annotated[float, Strict()],
            Annotated[float, Field(allow_inf_nan=True)],
            Level,
            Literal[1, 2],
            Literal[1],
            Literal[True],
            int | float,
            int | None,
            Annotated[int, AfterValidator(small)],
            Annotated[int, AfterValidator(smaller)],
            Annotated[int, AfterValidator(unlike(1))],
            Annotated[int, AfterValidator(unlike(2))],
            Annotated[float, AfterValidator(small)],
            Annotated[int, BeforeValidator(from_hex)],
            Annotated[int, BeforeValidator(from_hex), PlainSerializer(hex)],
            Annotated[float, BeforeValidator(from_hex), PlainSerializer(hex)],
            Annotated[int, PlainSerializer(str)],
            Annotated[float, PlainSerializer(str)],
            Annotated[int, Strict(), PlainSerializer(str)],
            Annotated[int, WrapValidator(around)],
            Annotated[Any, PlainValidator(small)],
            Annotated[int, AfterValidator(lambda v: unlike(5)(v) + 0)],
            Annotated[int, AfterValidator(lambda v: unlike(6)(v) + 0)],
            Any,
            JsonValue,
            Decimal,
        ],
    ),
    "text": (
        _texts | st.sampled_from(list(Paint)),
        [
            str,
            Annotated[str, Field(min_length=1)],
            Annotated[str, Field(min_length=1, max_length=2)],
            Annotated[str, Field(pattern="^[a-z]*$")],
            Annotated[str, Field(pattern="^[ab]*$")],
            Annotated[str, StringConstraints(strip_whitespace=True)],
            Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)],
            Annotated[str, StringConstraints(to_lower=True)],
            Annotated[str, StringConstraints(to_upper=True, pattern="^[A-Z]*$")],
            Annotated[str, AfterValidator(small)],
            Annotated[str, AfterValidator(str.strip)],
            Literal["a", "b"],
            Literal["a"],
            Color,
            Paint,
            Lenient,
            bytes,
            Annotated[bytes, Field(max_length=2)],
            str | int,
            Annotated[int | str, Field(union_mode="left_to_right")],
            Annotated[str | int, Field(union_mode="left_to_right")],
            Annotated[Annotated[str, Tag("text")] | Annotated[int, Tag("number")], Discriminator(tag_of)],
            str | None,
            Json[int],
            Any,
        ],
    ),
    "uuid": (st.uuids() | st.builds(uuid4) | st.builds(uuid1), [UUID, UUID4, UUID1, str]),
    "url": (
        st.sampled_from(["http://a.b/", "https://a.b/c", "ftp://a.b/", "x:y"]),
        [AnyUrl, HttpUrl, str],
    ),
    "address": (
        st.sampled_from(["1.2.3.4", "::1"]),
        [IPv4Address, IPv6Address, IPvAnyAddress, IPv4Address | IPv6Address, str],
    ),
    "mapping": (
        st.dictionaries(
            st.sampled_from(["1", "01", "2", "red", "a", "2020-01-01T00:00:00"]), st.integers(0, 3), max_size=3
        )
        | st.dictionaries(st.integers(0, 3), st.integers(0, 3), max_size=3),
        [
            dict[str, int],
            dict[int, int],
            dict[float, int],
            dict[Annotated[str, Field(max_length=1)], int],
            dict[Annotated[str, Field(pattern="^a$")], int],
            dict[Annotated[str, Field(pattern="^a$")], Annotated[int, Field(le=2)]],
            dict[Annotated[int, Field(ge=1)], int],
            dict[Color, int],
            dict[Paint, int],
            dict[Literal["a", "1"], int],
            dict[datetime, int],
            dict[AwareDatetime, int],
            dict[str, Annotated[int, Field(le=2)]],
            Annotated[dict[str, int], Field(min_length=2)],
            Annotated[dict[int, int], Field(min_length=2)],
            dict[Annotated[str, AfterValidator(small)], int],
            dict[str, Any],
            dict[bool, int],
        ],
    ),
    "sequence": (
        st.lists(st.integers(0, 3), max_size=4) | st.tuples(st.integers(0, 3), st.integers(0, 3)),
        [
            list[int],
            set[int],
            frozenset[int],
            deque[int],
            tuple[int, ...],
            tuple[int, int],
            tuple[int, str],
            tuple[int, int, int],
            list[Annotated[int, Field(le=2)]],
            Annotated[list[int], Field(min_length=1)],
            Annotated[set[int], Field(min_length=2)],
            Annotated[set[bool | int], Field(min_length=2)],
            Annotated[list[int], Field(max_length=2)],
            Annotated[list[int], AfterValidator(sorted)],
            list[float],
            list[Any],
            Point,
            Deep,
            RootModel[list[int]],
        ],
    ),
    "object": (
        st.fixed_dictionaries(
            {},
            optional={
                "kind": st.sampled_from(["cat", "dog"]),
                "claws": st.integers(0, 5),
                "city": _texts,
                "zip": st.sampled_from(["", "0", "1"]),
                "name": _texts,
                "a": st.integers(0, 3),
                "b": _texts,
                "children": st.sampled_from([[], [{"name": "abc", "children": []}]]),
            },
        ),
        [
            Cat,
            Dog,
            StrictCat,
            Clawless,
            Cat | Dog,
            Annotated[Cat | Dog, Field(discriminator="kind")],
            Annotated[StrictCat | Clawless, Field(discriminator="kind")],
            Place,
            Checked,
            Tree,
            NamedTree,
            Half,
            Whole,
            dict[str, Any],
            Any,
        ],
    ),
}

SETTINGS: list[ConfigDict] = [
    {},
    {"strict": True},
    {"str_strip_whitespace": True},
    {"str_min_length": 1},
    {"str_max_length": 2},
    {"coerce_numbers_to_str": True},
    {"ser_json_timedelta": "float"},
    {"ser_json_bytes": "hex", "val_json_bytes": "hex"},
    {"ser_json_bytes": "base64", "val_json_bytes": "base64"},
    {"allow_inf_nan": True, "ser_json_inf_nan": "constants"},
    {"allow_inf_nan": True, "ser_json_inf_nan": "strings"},
    {"use_enum_values": True},
    {"validate_default": True},
]

NAMES: list[dict[str, Any]] = [
    {},
    {"alias": "other"},
    {"validation_alias": AliasChoices("value", "other"), "serialization_alias": "value"},
    {"validation_alias": AliasChoices("other", "value"), "serialization_alias": "value"},
    {"validation_alias": AliasChoices("other", "value"), "serialization_alias": "other"},
]
DEFAULTS: list[dict[str, Any]] = [{}, {"default": None}, {"default": 1, "validate_default": True}]
CONTAINERS: list[Callable[[Any], Any]] = [
    lambda kind: kind,
    lambda kind: kind | None,
    lambda kind: GenericAlias(list, (kind,)),
    lambda kind: GenericAlias(dict, (str, kind)),
]


@dataclass(frozen=True)
class Described:
    """A field of a class, by its places in the lists above."""

    family: str
    kind: int
    container: int = 0
    names: int = 0
    default: int = 0
    settings: int = 0
    nested: bool = False
    more: bool = False  # there is another, optional field

    def event(self) -> type[ev.Event]:
        kind = CONTAINERS[self.container](FAMILIES[self.family][1][self.kind])
        field = Field(**NAMES[self.names], **DEFAULTS[self.default])
        fields: dict[str, Any] = {"value": (kind, field)} | ({"more": (int, 7)} if self.more else {})
        wire: dict[str, Any] = {"type": "thing.made", "stream": "things"}
        settings = SETTINGS[self.settings]
        if self.nested:
            inside = create_model("Inside", __config__=settings, **fields)
            return create_model("Made", __base__=ev.Event, __cls_kwargs__=wire, inside=(inside, ...))
        configured = type("Configured", (ev.Event,), {"model_config": settings, "__module__": __name__})
        return create_model("Made", __base__=configured, __cls_kwargs__=wire, **fields)

    def values(self) -> st.SearchStrategy[dict[str, Any]]:
        """Arguments of the class; it may refuse them."""
        one = FAMILIES[self.family][0]
        many = [one, one | st.none(), st.lists(one, max_size=2), st.dictionaries(st.text(max_size=1), one, max_size=2)]
        name = "other" if self.names in (1, 3, 4) else "value"
        fields: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries({name: many[self.container]})
        if self.default:
            fields |= st.just({})
        return fields.map(lambda given: {"inside": given}) if self.nested else fields


def descriptions() -> st.SearchStrategy[Described]:
    """Any description."""

    def of(family: str) -> st.SearchStrategy[Described]:
        return st.builds(
            Described,
            family=st.just(family),
            kind=st.integers(0, len(FAMILIES[family][1]) - 1),
            container=st.sampled_from([0, 0, 0, 1, 2, 3]),
            names=st.sampled_from([0, 0, 0, 1, 2, 3, 4]),
            default=st.sampled_from([0, 0, 0, 1, 2]),
            settings=st.sampled_from([0, 0, 0, *range(len(SETTINGS))]),
            nested=st.booleans(),
            more=st.booleans(),
        )

    return st.sampled_from(sorted(FAMILIES)).flatmap(of)


@st.composite
def changed(draw: st.DrawFn, old: Described) -> Described:
    """The description with one or two differences."""
    new = old
    for _ in range(draw(st.integers(1, 2))):
        fresh = draw(descriptions())
        part = draw(st.sampled_from(["kind", "kind", "kind", "container", "names", "default", "settings", "more"]))
        value = draw(st.integers(0, len(FAMILIES[old.family][1]) - 1)) if part == "kind" else getattr(fresh, part)
        new = Described(**{**vars(new), part: value})
    return new
