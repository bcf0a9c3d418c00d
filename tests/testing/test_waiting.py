"""`eventually` waits for a condition, and says which one did not come true."""

import itertools

import pytest

from eventlib.testing import eventually


async def test_it_returns_the_value_of_the_condition() -> None:
    counter = itertools.count()
    assert await eventually(lambda: next(counter)) == 1


async def test_a_condition_may_be_awaited() -> None:
    counter = itertools.count()

    async def count() -> int:
        return next(counter)

    assert await eventually(count) == 1


async def test_a_condition_that_does_not_come_true_is_shown() -> None:
    with pytest.raises(AssertionError, match=r"not true after 0.01 s: .*lambda: 1 > 2.* gave False"):
        await eventually(lambda: 1 > 2, timeout_s=0.01)


@pytest.mark.parametrize("condition", [dict, eval("lambda: None")], ids=["a class", "of no file"])
async def test_a_condition_without_source_is_named(condition: type) -> None:
    with pytest.raises(AssertionError, match="gave"):
        await eventually(condition, timeout_s=0.01)
