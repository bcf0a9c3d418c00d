"""A saga's mistakes are refused where it is declared."""

from typing import Any

import pytest
from pydantic import BaseModel

import eventlib as ev
from tests.saga_shop import Context, Order


async def reserve(saga: Context) -> str:
    return "s1"


async def release(saga: Context) -> None: ...


class Unkeepable:
    """Not a model."""


async def odd(saga: Context) -> Unkeepable:
    return Unkeepable()


def declare(*steps: Any, **settings: Any) -> Any:
    return ev.App("shop").saga("order", *steps, **({"input": Order} | settings))


@pytest.mark.parametrize(
    ("steps", "settings", "told"),
    [
        ([], {}, "needs 1 to 100 steps"),
        ([reserve], {}, "each a Step"),
        ([ev.Step(reserve), ev.Step(reserve)], {}, "two steps named 'reserve'; give one of them another name="),
        ([ev.Step(reserve)], {"input": dict}, "give a pydantic model or an Event class"),
        ([ev.Step(reserve)], {"version": 0}, "versions count from 1"),
        ([ev.Step(reserve)], {"timeout_s": 0.0}, "timeout_s=0.0"),
        ([ev.Step(reserve)], {"timeout_s": "5"}, "timeout_s='5'; it must be seconds"),
        ([ev.Step(reserve)], {"keep_s": float("inf")}, "keep_s=inf"),
        ([ev.Step(reserve)], {"timeout_s": "60"}, "timeout_s='60'"),
        ([ev.Step(reserve)], {"keep_s": "60"}, "keep_s='60'"),
        ([ev.Step(reserve)], {"lease_s": "60"}, "lease_s"),
        ([ev.Step(reserve)], {"concurrency": 0}, "concurrency >= 1"),
        ([ev.Step(reserve)], {"lease_s": 0.0}, "lease_s"),
    ],
)
def test_a_saga_that_cannot_work(steps: list[Any], settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ev.InvalidDeclaration, match="saga 'order'") as refused:
        declare(*steps, **settings)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"do": lambda saga: None, "name": "x"}, "async def step"),
        ({"do": reserve, "undo": lambda saga: None}, "async def step"),
        ({"do": reserve, "retry": 3}, "give a Retry"),
        ({"do": reserve, "timeout_s": -1.0}, "timeout_s=-1.0"),
        ({"do": reserve, "timeout_s": "5"}, "timeout_s='5'"),
        ({"do": reserve, "undo_timeout_s": "5"}, "undo_timeout_s='5'; it must be seconds"),
        ({"do": reserve, "unknown": "ignore"}, "it is one of retry, undo, park"),
        ({"do": reserve, "name": "a b"}, "a b"),
        ({"do": odd}, "cannot be kept as JSON"),
    ],
)
def test_a_step_that_cannot_work(step: dict[str, Any], told: str) -> None:
    with pytest.raises(ev.InvalidDeclaration) as refused:
        ev.Step(**step)
    assert told in str(refused.value)


def test_a_version_is_declared_once() -> None:
    app = ev.App("shop")
    first = app.saga("order", ev.Step(reserve), input=Order)
    with pytest.raises(ev.InvalidDeclaration, match="raise version= for other steps"):
        app.saga("order", ev.Step(reserve), input=Order)
    assert app.sagas == {("order", 1): first, ("order", 2): app.saga("order", ev.Step(reserve), input=Order, version=2)}


def test_what_is_pinned_of_a_step() -> None:
    steps = [ev.Step(reserve, undo=release), ev.Step(reserve, undo=ev.NOTHING_TO_UNDO, name="again")]
    plan = declare(*steps, ev.Step(release, unknown="park")).plan
    assert [(step.name, step.undo, step.unknown) for step in plan] == [
        ("reserve", "undo", "retry"),
        ("again", "nothing", "retry"),
        ("release", "none", "park"),
    ]


class Loses(BaseModel):
    value: Any


async def loses(saga: Context) -> Loses:
    return Loses(value=None)


@pytest.mark.parametrize(
    ("step", "result", "told"),
    [
        (reserve, 3, "JSON form"),
        (loses, Loses(value=(1, 2)), "another value"),
        (loses, Loses(value=object()), "JSON form"),
    ],
)
def test_a_result_that_does_not_come_back_is_refused(step: Any, result: object, told: str) -> None:
    with pytest.raises(ev.InvalidArgument, match=told):
        ev.Step(step).keep(result)


def test_a_result_comes_back() -> None:
    step = ev.Step(reserve)
    assert step.read(step.keep("s1")) == "s1"
