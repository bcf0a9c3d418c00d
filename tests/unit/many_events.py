"""Events with every kind of field that has a JSON form, for what must hold for any schema."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

import eventlib as ev


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    model_config = ConfigDict(extra="forbid")

    city: str = Field(description="Where it is")


class Cat(BaseModel):
    kind: Literal["cat"]
    claws: int


class Dog(BaseModel):
    kind: Literal["dog"]


class placed(BaseModel):  # noqa: N801  # its component is no event's: a type may be called as a class is
    additionalProperties: int = 0  # noqa: N815  # a field may be called as a keyword is


class Order(ev.Event, type="order", stream="orders"):
    """An order.

    This is the second paragraph.
    """

    it: placed = placed()


class OrderPlaced(ev.Event, type="order.placed", version=3, stream="orders"):
    order_id: str = Field(description="The order's own number", alias="orderId", min_length=1, pattern="^[A-Z]")
    home: Address = Field(description="Where it goes")
    bill_to: Address | None = None
    color: Color = Color.RED
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Field(default=Dog(kind="dog"))
    tags: frozenset[str] = frozenset()
    pair: tuple[int, str] = (1, "a")
    price: Decimal = Decimal("1.5")
    day: date | None = None
    took: timedelta = timedelta(seconds=1)
    counts: dict[str, int] = Field(default={})
    key: UUID | None = None
    weight_kg: float = Field(default=1.0, ge=0, lt=10)
    anything: Any = None
    at: datetime

    @ev.upcast(2, example={"orderId": "A1", "home": {"city": "Bern"}})
    def _with_time(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"at": "2026-01-02T03:04:05Z"}


class TreeGrown(ev.Event, type="tree.grown", stream="trees"):
    name: str
    children: list["TreeGrown"] = Field(default=[])
