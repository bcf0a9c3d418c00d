"""An event's wire names are written out and checked where the class is made."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

import eventlib as ev
from eventlib.events.schema import EventSpec, spec_of, valid_name


class OrderPlaced(ev.Event, type="order.placed", version=2, stream="orders"):
    order_id: str
    total_cents: int
    weight_kg: float = 1.0


def declare(**names: Any) -> type[ev.Event]:
    class Wrong(ev.Event, **names):
        pass

    return Wrong


def test_an_event_carries_its_wire_names() -> None:
    assert spec_of(OrderPlaced) == EventSpec("order.placed", 2, "orders")


def test_the_first_version_is_one() -> None:
    assert spec_of(declare(type="order.placed", stream="orders")).version == 1


def test_the_wire_names_do_not_depend_on_the_class_name() -> None:
    renamed = type("Renamed", (ev.Event,), {}, type="order.placed", stream="orders")
    assert spec_of(renamed).type == "order.placed"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"type": "order.placed"}, "stream"),
        ({"stream": "orders"}, "type"),
        ({"type": "", "stream": "orders"}, "type"),
        ({"type": "Order.Placed", "stream": "orders"}, "lower-case"),
        ({"type": "order..placed", "stream": "orders"}, "dots"),
        ({"type": "order.", "stream": "orders"}, "dots"),
        ({"type": "1order", "stream": "orders"}, "type"),
        ({"type": "order placed", "stream": "orders"}, "type"),
        ({"type": "order.placed\n", "stream": "orders"}, "type"),
        ({"type": 'order"placed', "stream": "orders"}, "type"),
        ({"type": "order.placed", "stream": "orders", "version": 0}, "version"),
        ({"type": "order.placed", "stream": "orders", "version": -1}, "version"),
        ({"type": "order.placed", "stream": ""}, "stream"),
        ({"type": "order.placed", "stream": "or:ders"}, "stream"),
        ({"type": "order.placed", "stream": "{orders}"}, "stream"),
    ],
)
def test_a_bad_declaration_says_where_and_what(names: dict[str, Any], told: str) -> None:
    with pytest.raises(ev.InvalidDeclaration) as caught:
        declare(**names)
    assert "Wrong" in caught.value.where
    assert told in str(caught.value)


@pytest.mark.parametrize("name", ["a", "orders", "Orders-2", "a.b_c", "0"])
def test_a_name_that_can_be_part_of_a_key(name: str) -> None:
    assert valid_name(name, "here") == name


@pytest.mark.parametrize("name", ["", " ", "a b", "a:b", "{a}", "a}", "-a", ".a", "a\n", "é", "a*", "a/b"])
def test_a_name_that_cannot_be_part_of_a_key(name: str) -> None:
    with pytest.raises(ev.InvalidDeclaration, match="here"):
        valid_name(name, "here")


def test_a_class_without_a_type_can_be_declared_but_not_named() -> None:
    with pytest.raises(ev.UnknownEventType, match="Wrong"):
        spec_of(declare())


def test_a_subclass_of_a_typed_event_does_not_inherit_its_name() -> None:
    class Special(OrderPlaced):
        pass

    with pytest.raises(ev.UnknownEventType):
        spec_of(Special)


def test_an_event_is_immutable() -> None:
    event = OrderPlaced(order_id="A1", total_cents=1)
    with pytest.raises(ValidationError):
        event.total_cents = 2  # type: ignore[misc]


def test_a_misspelt_field_is_refused_where_the_event_is_made() -> None:
    with pytest.raises(ValidationError, match="total_cent"):
        OrderPlaced(order_id="A1", total_cents=1, total_cent=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("weight_kg", [math.nan, math.inf, -math.inf])
def test_a_number_without_a_json_form_is_refused(weight_kg: float) -> None:
    with pytest.raises(ValidationError):
        OrderPlaced(order_id="A1", total_cents=1, weight_kg=weight_kg)
