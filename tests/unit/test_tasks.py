"""A task is refused where it is declared, or where it is enqueued, if it could not run or its result not come back."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, Field, SecretStr

import eventlib as ev
from eventlib.queueing import PRIORITIES, WEIGHTS, FairQueue, passed_by_max, pattern_of
from eventlib.tasks.queues import due_text
from eventlib.tasks.results import read_result, write_result
from eventlib.tasks.writing import written_task


class Receipt(BaseModel):
    number: int
    sent_at: datetime


class Unwritable:
    """It has no form on the wire."""


class Losing(BaseModel):
    password: SecretStr
    hidden: int = Field(default=1, exclude=True)


async def no_hints(order) -> None: ...  # type: ignore[no-untyped-def]
async def no_return(order: int): ...  # type: ignore[no-untyped-def]
async def many(*orders: int) -> None: ...
async def lost(order: int) -> Losing: ...  # type: ignore[empty-body]
async def odd(order: Unwritable) -> None: ...
async def fine(order: int, customer: str = "a") -> None: ...
def plain(order: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (no_hints, "no annotation"),
        (no_return, "annotate what it returns"),
        (many, "no fixed name"),
        (lost, "would not come back"),
        (odd, "cannot be"),
        (plain, "async def plain"),
    ],
)
def test_a_function_that_cannot_be_a_task_is_refused(function: Any, problem: str) -> None:
    with pytest.raises(ev.InvalidDeclaration, match=problem):
        ev.App("shop").task()(function)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"name": "SendReceipt"}, "lower-case"),
        ({"priority": "urgent"}, "critical, high, normal, low"),
        ({"timeout_s": 0.0}, "from 0.001 to a year"),
        ({"timeout_s": "5"}, "timeout_s='5'"),
        ({"retry": 3}, "give a Retry"),
        ({"rate": 3}, "give a Rate"),
        ({"fair_by": "tenant"}, "not among its parameters"),
        ({"unique_by": "order"}, "tuple"),
        ({"unique_by": ["id"]}, "not among its parameters"),
        ({"unique": "queued"}, "unique_by="),
        ({"unique_by": ["order"], "unique": "always"}, "'queued' or 'running'"),
        ({"unique_by": ["order"], "unique": "queued", "unique_for_s": 1.0}, "either"),
        ({"unique_by": ["order"], "unique_for_s": 0.0}, "from 0.001 to a year"),
        ({"limit": 0}, "at least 1"),
        ({"limit_by": "customer"}, "belong together"),
        ({"limit_per_key": 1}, "belong together"),
        ({"keep_result_s": float("nan")}, "from 0.001 to a year"),
        ({"timeout_s": "5"}, "timeout_s='5'; it must be seconds"),
        ({"keep_result_s": "900"}, "keep_result_s='900'"),
        ({"unique_by": ["order"], "unique_for_s": "1"}, "unique_for_s='1'"),
        ({"queue": 3}, "3 is not a valid name"),
        ({"unique_by": None}, "tuple"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ev.InvalidDeclaration, match=problem):
        ev.App("shop").task(**settings)(fine)


@pytest.mark.parametrize("rate", [(0, 1.0), (1, 0.0), (1.5, 1.0), (1, "1"), (1, None)])
def test_a_rate_that_lets_nothing_start_is_refused(rate: tuple[Any, Any]) -> None:
    with pytest.raises(ev.InvalidDeclaration, match="Rate"):
        ev.Rate(*rate)


@pytest.mark.parametrize(
    "settings",
    [{"concurrency": 0}, {"lease_s": 0.0}, {"weights": {"low": 0}}, {"weights": {"x": 1}}, {"retry_budget": 1}]
    + [{"fair_weights": each} for each in ({"a": "2"}, {"a": float("nan")}, {object(): 1.0})],
)
def test_a_queue_that_cannot_work_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ev.InvalidDeclaration, match="queue 'default'"):
        ev.App("shop").queue("default", **settings)


@pytest.mark.parametrize(("tenant", "type_"), [(5, int), (10**30, int), (None, str | None), ("5", str), (True, bool)])
def test_the_weight_of_a_tenant_counts_whatever_its_type(tenant: Any, type_: Any) -> None:
    app = ev.App("shop")

    async def pay(by: Any) -> None: ...

    pay.__annotations__["by"] = type_
    task = app.task(fair_by="by")(pay)
    app.queue("default", fair_weights={tenant: 2.0})
    assert app.queues["default"].fair_weights == {task.key_of(task.event(tenant), ["by"]): 2.0}


def test_a_window_that_is_no_whole_number_of_milliseconds_is_not_shortened() -> None:
    task = ev.App("shop").task(rate=ev.Rate(1, per_s=0.0014))(fine)
    [limit] = json.loads(written_task(task.call(1), "shop").record)["limits"]
    assert limit["within"] == 2


def test_a_name_that_is_declared_twice_is_refused() -> None:
    app = ev.App("shop")
    app.task(name="t")(fine)
    with pytest.raises(ev.InvalidDeclaration, match="already declared"):
        app.task(name="t")(lambda_task)


async def lambda_task() -> None: ...


@pytest.mark.parametrize("arguments", [(), ("no number",), (1, "a", "b"), (1, 2)])
def test_arguments_that_do_not_fit_are_refused(arguments: tuple[Any, ...]) -> None:
    task = ev.App("shop").task()(fine)
    with pytest.raises(ev.InvalidArgument, match="task 'fine'"):
        task.call(*arguments)


async def test_a_task_needs_no_parentheses() -> None:
    app = ev.App("shop")

    @app.task
    async def double(number: int) -> int:
        return 2 * number

    assert app.tasks == {"double": double} and await double(3) == 6


def test_a_wrong_declaration_is_refused_and_shows_the_right_one() -> None:
    app: Any = ev.App("shop")
    wrong = [
        (lambda: app.task("double"), "@app.task"),
        (lambda: app.task(fine, "high"), r"call it as `@app.task\(priority"),
        (lambda: app.task(prio="high"), "unexpected keyword argument 'prio'"),
        (app.queue, r"app.queue\("),
        (lambda: app.schedule("nightly"), r"app.schedule\("),
        (lambda: app.saga("order"), r"app.saga\("),
        (lambda: app.subscribe(fine), r"@app.subscribe\(OrderPlaced, group="),
    ]
    for declare, right in wrong:
        with pytest.raises(ev.InvalidDeclaration, match=right):
            declare()


async def test_a_task_is_called_like_its_function() -> None:
    @ev.App("shop").task()
    async def double(number: int) -> int:
        return 2 * number

    assert await double(3) == 6
    assert double.arguments_of(double.event(number=4)) == {"number": 4}


@pytest.mark.parametrize(
    ("delay_s", "at", "problem"),
    [
        (-1.0, None, "zero or more"),
        (float("nan"), None, "zero or more"),
        ("1", None, "zero or more"),
        (1e12, None, "zero or more"),
        (1.0, datetime(2030, 1, 1, tzinfo=UTC), "either"),
        (None, datetime(2030, 1, 1), "with its zone"),
        (None, "tomorrow", "with its zone"),
    ],
)
def test_a_time_that_means_nothing_is_refused(delay_s: Any, at: Any, problem: str) -> None:
    with pytest.raises(ev.InvalidArgument, match=problem):
        due_text(delay_s, at)


def test_the_last_time_of_all_is_a_time() -> None:
    assert due_text(None, datetime.max.replace(tzinfo=UTC)).startswith("=2534")
    assert due_text(None, datetime.min.replace(tzinfo=UTC)).startswith("=-")
    assert due_text(0.0, None) == due_text(None, None) == ""


def test_a_result_comes_back_as_it_was() -> None:
    @ev.App("shop").task()
    async def send() -> list[Receipt]: ...  # type: ignore[empty-body]

    sent = [Receipt(number=1, sent_at=datetime(2026, 1, 1, tzinfo=UTC))]
    assert read_result(send, write_result(send, sent)) == sent
    with pytest.raises(ev.InvalidArgument, match="annotation refuses"):
        write_result(send, 3)
    with pytest.raises(ev.DecodeError, match="'send'"):
        read_result(send, b'{"value":3}')


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
async def test_a_progress_out_of_its_range_is_refused(fraction: float) -> None:
    from eventlib.tasks.current import CurrentTask

    task: Any = CurrentTask("t", None, None)  # type: ignore[arg-type]  # it is refused before
    with pytest.raises(ev.InvalidArgument, match="from 0 to 1"):
        await task.progress(fraction)


def test_there_is_no_current_task_outside_of_one() -> None:
    with pytest.raises(ev.InvalidArgument, match="no task runs here"):
        ev.current_task()


def test_the_bounds_of_the_default_weights_are_those_that_are_stated() -> None:
    pattern = pattern_of([WEIGHTS[priority] for priority in PRIORITIES])
    assert [passed_by_max(pattern, priority) for priority in range(4)] == [1, 3, 7, 14]


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (3, 2, 1, 1), (8, 4, 2, 1), (100, 1, 1, 1), (5, 5, 1, 7)])
def test_each_priority_has_its_turns_and_they_are_spread(weights: tuple[int, ...]) -> None:
    pattern = pattern_of(weights)
    assert [pattern.count(priority) for priority in range(4)] == list(weights)
    for priority, weight in enumerate(weights):
        assert passed_by_max(pattern, priority) < 2 * sum(weights) / weight


def test_a_queue_starts_a_single_task_among_the_next_of_each_tenant() -> None:
    queue = FairQueue[str]([1])
    for tenant in "abc":
        for number in range(1000):
            queue.add(f"{tenant}{number}", 0, tenant)
    for _ in range(50):
        queue.take()
    queue.add("single", 0, "d")
    assert "single" in [queue.take() for _ in range(4)]
