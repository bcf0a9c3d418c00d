"""An event at its third version, as it reads the bytes in this folder.

The files are what versions 1 to 4 and foreign writers wrote. Nothing writes them anew: a change of the library that
cannot read them any more breaks what is stored at its users.
"""

from pathlib import Path
from typing import Any

import eventlib as ev

FOLDER = Path(__file__).parent


class OrderPlaced(ev.Event, type="order.placed", version=3, stream="orders"):
    order_id: str
    total_cents: int
    currency: str

    @ev.upcast(1, example={"order_id": "A1", "total": "42.00"})
    def _cents_not_text(data: dict[str, Any]) -> dict[str, Any]:
        data["total_cents"] = round(float(data.pop("total")) * 100)
        return data

    @ev.upcast(2, example={"order_id": "A1", "total_cents": 4200})
    def _with_currency(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"currency": "EUR"}


class OrderShipped(ev.Event, type="order.shipped", version=1, stream="orders"):
    order_id: str


CLASSES: dict[str, type[ev.Event]] = {"order.shipped": OrderShipped, "order.placed": OrderPlaced}


def stored(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes()
