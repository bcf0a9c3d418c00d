"""An event class reads its older versions through a chain of upcasters, each checked where the class is declared."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ConfigDict, Field

import eventlib as ev
from eventlib.events.envelope import decode
from eventlib.events.schema import oldest_version, upcast_data
from tests.wire.orders import OrderPlaced, OrderShipped

Data = dict[str, Any]
ONE = {"order_id": "A1", "total": "42.00"}
TWO = {"order_id": "A1", "total_cents": 4200}


def in_cents(data: Data) -> Data:
    return {"order_id": data["order_id"], "total_cents": round(float(data["total"]) * 100)}


def as_it_is(data: Data) -> Data:
    return data


def declare(version: int, *upcasters: object) -> type[ev.Event]:
    """An order of this version with these upcasters."""
    body = {
        "__module__": __name__,
        "__annotations__": {"order_id": str, "total_cents": int},
        **{f"_upcast{index}": upcaster for index, upcaster in enumerate(upcasters)},
    }
    return type("Order", (ev.Event,), body, type="order.placed", version=version, stream="orders")


def entry(version: object, data: object) -> bytes:
    envelope = {"specversion": "1.0", "source": "shop", "type": "order.placed", "eventversion": version}
    rest = {"id": "e1", "time": "2026-01-02T03:04:05Z", "data": data}
    return json.dumps(envelope | rest, separators=(",", ":")).encode()


def read(event_class: type[ev.Event], version: object, data: object) -> Any:
    envelope = decode(entry(version, data), {"order.placed": event_class})
    assert envelope is not None
    return envelope.event


@pytest.mark.parametrize(("version", "data"), [(1, ONE), (2, TWO), (3, TWO | {"currency": "EUR"})])
def test_every_version_of_the_chain_is_read_as_the_newest(version: int, data: Data) -> None:
    assert read(OrderPlaced, version, data) == OrderPlaced(order_id="A1", total_cents=4200, currency="EUR")


@pytest.mark.parametrize("version", [-1, 0, 4, 2**70])
def test_a_version_outside_of_the_chain_is_unsupported(version: int) -> None:
    with pytest.raises(ev.UnsupportedVersion) as caught:
        read(OrderPlaced, version, {})
    assert caught.value.args == ("order.placed", version, 1, 3)


def test_the_chain_can_begin_after_version_one() -> None:
    order = declare(3, ev.upcast(2, example=TWO)(as_it_is))
    assert (oldest_version(order), oldest_version(OrderPlaced), oldest_version(OrderShipped)) == (2, 1, 1)
    assert read(order, 2, TWO) == order(**TWO)
    with pytest.raises(ev.UnsupportedVersion, match="reads 2 to 3"):
        read(order, 1, ONE)


def test_the_order_of_declaration_does_not_matter() -> None:
    order = declare(3, ev.upcast(2, example=TWO)(as_it_is), ev.upcast(1, example=ONE)(in_cents))
    assert read(order, 1, ONE) == order(**TWO)


def test_an_upcaster_can_be_called_and_is_no_field() -> None:
    upcasted = OrderPlaced._cents_not_text(dict(ONE))
    assert upcasted == TWO
    assert set(OrderPlaced.model_fields) == {"order_id", "total_cents", "currency"}


def test_staticmethod_may_be_written_too() -> None:
    order = declare(2, ev.upcast(1, example=ONE)(staticmethod(in_cents)))
    assert read(order, 1, ONE) == order(**TWO)


def test_the_example_may_be_changed_by_the_upcaster() -> None:
    example = {"order_id": "A1", "lines": [{"cents": 4200}]}

    def summed(data: Data) -> Data:
        data["total_cents"] = data["lines"].pop()["cents"]
        return data

    order = declare(2, ev.upcast(1, example=example)(summed))
    assert example == {"order_id": "A1", "lines": [{"cents": 4200}]}
    assert read(order, 1, example) == order(**TWO)


def test_upcast_data_is_validated_as_json() -> None:
    """A strict class takes a time or a tuple from JSON's text and list, so it must from an upcaster's too."""

    class Measured(ev.Event, type="order.placed", version=2, stream="s"):
        model_config = ConfigDict(strict=True)

        weight_kg: float
        places: tuple[int, int]
        key: bytes = Field(alias="theKey")

        @ev.upcast(1, example={"kg": 1, "theKey": "é"})
        def _rename(data: dict[str, Any]) -> dict[str, Any]:
            return {"weight_kg": data["kg"], "places": [1, 2], "theKey": data["theKey"], "newer": True}

    assert read(Measured, 1, {"kg": 2, "theKey": "k"}) == Measured(weight_kg=2.0, places=(1, 2), theKey=b"k")


@pytest.mark.parametrize("data", [{"order_id": "A1"}, {"order_id": "A1", "total": "many"}, {}, {"total": None}])
def test_an_upcaster_that_fails_on_real_data_is_an_error_of_the_entry(data: Data) -> None:
    with pytest.raises(ev.DecodeError, match="version 1"):
        read(OrderPlaced, 1, data)


@pytest.mark.parametrize("data", [None, [], "A1", 7])
def test_old_data_that_is_no_object_is_an_error_of_the_entry(data: object) -> None:
    with pytest.raises(ev.DecodeError, match="data"):
        read(OrderPlaced, 1, data)


@pytest.mark.parametrize("made", [None, [], {1, 2}, {"order_id": "A1", "total_cents": object()}, {"order_id": "A1"}])
def test_an_upcaster_must_return_valid_data(made: Any) -> None:
    order = declare(2, ev.upcast(1, example=ONE)(lambda data: in_cents(data) if data["total"] == "42.00" else made))
    with pytest.raises(ev.DecodeError):
        read(order, 1, {"order_id": "A1", "total": "1"})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_an_upcaster_cannot_return_values_that_json_lacks(number: float) -> None:
    class Measured(ev.Event, type="order.placed", version=2, stream="s"):
        weight_kg: float | None

        @ev.upcast(1, example={"kg": 1.0})
        def _rename(data: dict[str, Any]) -> dict[str, Any]:
            return {"weight_kg": data["kg"] if data["kg"] == 1.0 else number}

    with pytest.raises(ev.DecodeError, match="finite"):
        read(Measured, 1, {"kg": 2.0})


def test_numbers_pass_the_chain_exactly() -> None:
    order = declare(2, ev.upcast(1, example=TWO)(as_it_is))
    assert read(order, 1, TWO | {"total_cents": 10**30}).total_cents == 10**30


def test_a_subclass_is_another_event_and_inherits_no_upcasters() -> None:
    class Special(OrderPlaced, type="order.special", version=2, stream="orders"):
        pass

    assert oldest_version(Special) == 2


WRONG: dict[str, tuple[Callable[[], object], list[str]]] = {
    "a gap": (lambda: declare(3, ev.upcast(1, example=ONE)(in_cents)), ["upcast(2)", "gap"]),
    "from its own version": (lambda: declare(2, ev.upcast(2, example=TWO)(as_it_is)), ["upcast(2)", "version 2"]),
    "from the future": (lambda: declare(2, ev.upcast(5, example=TWO)(as_it_is)), ["upcast(5)", "version 2"]),
    "from version 0": (lambda: declare(2, ev.upcast(0, example=TWO)(as_it_is)), ["upcast(0)"]),
    "twice": (
        lambda: declare(2, ev.upcast(1, example=ONE)(in_cents), ev.upcast(1, example=ONE)(in_cents)),
        ["upcast(1)", "twice"],
    ),
    "a first version with an upcaster": (lambda: declare(1, ev.upcast(1, example=ONE)(in_cents)), ["upcast(1)"]),
    "an example that it fails on": (lambda: declare(2, ev.upcast(1, example={})(in_cents)), ["upcast(1)", "KeyError"]),
    "a result that is not valid": (
        lambda: declare(2, ev.upcast(1, example=ONE)(as_it_is)),
        ["upcast(1)", "version 2", "total_cents"],
    ),
    "nothing returned": (lambda: declare(2, ev.upcast(1, example=ONE)(lambda data: None)), ["upcast(1)", "None"]),  # type: ignore[arg-type,return-value]
    "an example that is no object": (
        lambda: declare(2, ev.upcast(1, example=["A1"])(as_it_is)),  # type: ignore[arg-type]
        ["upcast(1)"],
    ),
    "an example without JSON form": (
        lambda: declare(2, ev.upcast(1, example={"order_id": object()})(as_it_is)),
        ["upcast(1)"],
    ),
    "broken further on": (
        lambda: declare(3, ev.upcast(1, example=ONE)(as_it_is), ev.upcast(2, example=TWO)(as_it_is)),
        ["upcast(1)", "version 3"],
    ),
    "by chance": (
        lambda: declare(2, ev.upcast(1, example=ONE)(lambda _: {"order_id": str(random.random()), "total_cents": 1})),
        ["upcast(1)", "random"],
    ),
}


@pytest.mark.parametrize(("declaration", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_chain_is_refused_where_it_is_declared(declaration: Callable[[], object], told: list[str]) -> None:
    with pytest.raises(ev.InvalidDeclaration) as caught:
        declaration()
    assert caught.value.where == "Order"
    assert all(text in caught.value.problem for text in told), caught.value.problem


def test_upcasters_without_a_type_are_refused() -> None:
    with pytest.raises(ev.InvalidDeclaration, match=r"Nameless: has upcasters"):
        type("Nameless", (ev.Event,), {"_up": ev.upcast(1, example=ONE)(in_cents), "__module__": __name__})


def test_the_chain_runs_once_from_where_the_data_is() -> None:
    assert json.loads(upcast_data(OrderPlaced, 2, dict(TWO))) == TWO | {"currency": "EUR"}
