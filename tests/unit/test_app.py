"""An App is a declaration: it is checked where it is written, long before anything runs."""

import math
from typing import Any, cast

import pytest
from pydantic import Field, computed_field

import eventlib as ev
from eventlib.declare.subscriptions import GroupSettings
from eventlib.policy import Lease
from tests.shop import OrderPlaced, OrderShipped


async def handle(event: ev.Event, delivery: ev.Delivery) -> None: ...


def not_a_coroutine(event: ev.Event, delivery: ev.Delivery) -> None: ...


def test_a_subscription_keeps_its_settings() -> None:
    app, retry = ev.App("shop"), ev.Retry(attempts=2)
    declared = app.subscribe(OrderPlaced, group="billing", retry=retry, timeout_s=3.0)(handle)
    assert declared is handle
    [subscription] = app.subscriptions
    assert (subscription.event_class, subscription.group, subscription.handler) == (OrderPlaced, "billing", handle)
    assert (subscription.retry, subscription.timeout_s) == (retry, 3.0)


def test_defaults() -> None:
    app = ev.App("shop")
    app.subscribe(OrderPlaced, group="billing")(handle)
    assert app.subscriptions[0].retry == ev.Retry()
    assert app.subscriptions[0].timeout_s is None
    assert app.settings("billing") == GroupSettings(concurrency=16, prefetch=0, lease=Lease(30.0))


def test_group_settings() -> None:
    app = ev.App("shop")
    app.group("billing", concurrency=4, prefetch=2, lease_s=1.5)
    assert app.settings("billing") == GroupSettings(4, 2, Lease(1.5))


def test_ordered_by_names_a_field_by_its_wire_name() -> None:
    class Renamed(ev.Event, type="order.renamed", version=1, stream="orders"):
        order: str = Field(alias="order-id")

        @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated properties
        @property
        def initial(self) -> str:
            return self.order[0]

    for field in ("order-id", "initial", "number"):
        app = ev.App("shop")
        app.group("billing", ordered_by=field)
        app.subscribe(OrderPlaced, group="billing")(handle)
        app.subscribe(Renamed, group="billing")(handle)
        assert app.settings("billing").ordered_by == field
    app = ev.App("shop")
    app.group("billing", ordered_by="order")
    app.subscribe(Renamed, group="billing")(handle)
    with pytest.raises(ev.InvalidDeclaration, match=r"group 'billing': ordered_by='order' .*'initial', 'order-id'"):
        app.settings("billing")


def test_two_apps_share_nothing() -> None:
    one, two = ev.App("one"), ev.App("two")
    one.group("billing", concurrency=1)
    one.subscribe(OrderPlaced, group="billing")(handle)
    assert (two.groups, two.subscriptions) == ({}, [])


def test_one_group_may_handle_many_types_and_one_type_go_to_many_groups() -> None:
    app = ev.App("shop")
    for event_class, group in ((OrderPlaced, "billing"), (OrderShipped, "billing"), (OrderPlaced, "stock")):
        app.subscribe(event_class, group=group)(handle)
    assert len(app.subscriptions) == 3


def test_a_second_handler_of_a_type_in_a_group_is_refused() -> None:
    app = ev.App("shop")
    app.subscribe(OrderPlaced, group="billing")(handle)
    with pytest.raises(ev.DuplicateHandler) as caught:
        app.subscribe(OrderPlaced, group="billing")
    assert (caught.value.group, caught.value.event_type) == ("billing", "order.placed")


def test_an_event_without_a_type_cannot_be_subscribed_to() -> None:
    class Untyped(ev.Event):
        pass

    with pytest.raises(ev.UnknownEventType):
        ev.App("shop").subscribe(Untyped, group="billing")


def test_a_handler_that_is_no_coroutine_function_is_refused() -> None:
    with pytest.raises(ev.InvalidDeclaration, match=r"handler not_a_coroutine: .*async def"):
        ev.App("shop").subscribe(OrderPlaced, group="billing")(not_a_coroutine)  # type: ignore[arg-type]


async def of_one(event: ev.Event) -> None: ...


async def of_any(*args: Any, more: int = 0) -> None: ...


def test_a_handler_whose_parameters_do_not_fit_is_refused() -> None:
    app = ev.App("shop")
    with pytest.raises(ev.InvalidDeclaration, match=r"async def handler\(event, delivery\)"):
        app.subscribe(OrderPlaced, group="billing")(of_one)  # type: ignore[arg-type]
    with pytest.raises(ev.InvalidDeclaration, match=r"async def handler\(batch\)"):
        app.subscribe_batch(OrderPlaced, group="billing")(handle)  # type: ignore[arg-type]
    app.subscribe(OrderPlaced, group="billing")(of_any)
    app.subscribe_batch(OrderShipped, group="billing")(of_any)


def test_a_setting_of_a_wrong_type_is_refused_at_its_declaration() -> None:
    app, wrong = ev.App("shop"), cast(Any, 3)
    with pytest.raises(ev.InvalidDeclaration, match="give a RetryBudget"):
        app.group("billing", retry_budget=wrong)
    with pytest.raises(ev.InvalidDeclaration, match="give a Retry"):
        app.subscribe(OrderPlaced, group="billing", retry=wrong)
    with pytest.raises(ev.InvalidDeclaration, match="give a Retention"):
        app.stream("orders", retention=wrong)
    for no_event in ("order.placed", dict, 3):
        with pytest.raises(ev.UnknownEventType):
            app.subscribe(cast(Any, no_event), group="billing")


@pytest.mark.parametrize("name", ["", "my shop", "a:b", "{a}"])
def test_a_name_that_cannot_be_part_of_a_key_is_refused(name: str) -> None:
    app = ev.App("shop")
    with pytest.raises(ev.InvalidDeclaration, match="App name"):
        ev.App(name)
    with pytest.raises(ev.InvalidDeclaration, match="group"):
        app.group(name)
    with pytest.raises(ev.InvalidDeclaration, match="group"):
        app.subscribe(OrderPlaced, group=name)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, math.nan, "5"])
def test_an_invalid_timeout_is_refused(timeout_s: Any) -> None:
    with pytest.raises(ev.InvalidDeclaration, match="timeout_s"):
        ev.App("shop").subscribe(OrderPlaced, group="billing", timeout_s=timeout_s)


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"prefetch": -1},
        {"lease_s": 0.0},
        {"newer_version_wait_s": -1.0},
        {"newer_version_wait_s": float("nan")},
        {"newer_version_wait_s": "60"},
        {"lease_s": -1.0},
        {"lease_s": math.nan},
        {"lease_s": math.inf},
        {"lease_s": "30"},
    ],
)
def test_an_invalid_group_setting_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ev.InvalidDeclaration, match="billing"):
        ev.App("shop").group("billing", **wrong)


def test_settings_of_a_group_can_be_made_once() -> None:
    app = ev.App("shop")
    app.group("billing")
    with pytest.raises(ev.InvalidDeclaration, match="once"):
        app.group("billing", concurrency=2)


@pytest.mark.parametrize(
    "wrong",
    [{"concurrency": 1.5}, {"concurrency": math.inf}, {"concurrency": 10**19}, {"prefetch": 0.5}, {"lease_s": 1e300}],
)
def test_numbers_that_nothing_could_run_with_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ev.InvalidDeclaration, match="whole numbers"):
        ev.App("shop").group("billing", **wrong)
