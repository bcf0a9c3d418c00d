"""Publishes that wait for capacity go on in the order in which they came, whatever is cancelled or closed."""

import asyncio

import pytest

import eventlib as ev
from eventlib.publish import capacity as capacity_module
from eventlib.publish.capacity import CapacityLimit


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> CapacityLimit:
    """Capacity for one event, which is taken."""
    monkeypatch.setattr(capacity_module, "QUEUED_MAX", 1)
    made = CapacityLimit()
    made.acquire(1, 1)
    return made


async def enter(capacity: CapacityLimit, name: str, order: list[str]) -> None:
    if not capacity.available:
        await capacity.wait_until_available()
    capacity.acquire(1, 1)
    order.append(name)


async def start(capacity: CapacityLimit, names: str, order: list[str]) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(enter(capacity, name, order)) for name in names]
    await asyncio.sleep(0)
    return tasks


async def test_waiting_publishes_get_capacity_in_order(full: CapacityLimit) -> None:
    order = list[str]()
    tasks = await start(full, "abc", order)
    for expected in ("a", "ab", "abc"):
        full.release(1, 1)
        assert not full.available  # it belongs to the first waiting publish, not to one that comes now
        await asyncio.wait([tasks[len(expected) - 1]])
        assert "".join(order) == expected


async def test_two_publishes_go_on_when_there_is_capacity_for_two(
    full: CapacityLimit, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = list[str]()
    tasks = await start(full, "abc", order)
    monkeypatch.setattr(capacity_module, "QUEUED_MAX", 2)
    full.release(1, 1)
    await asyncio.wait(tasks[:2])
    assert order == ["a", "b"] and not tasks[2].done()
    full.release(1, 1)
    await tasks[2]


@pytest.mark.parametrize("its_turn", [False, True])
async def test_a_cancelled_publish_passes_its_capacity_on_to_the_next(full: CapacityLimit, its_turn: bool) -> None:
    order = list[str]()
    tasks = await start(full, "ab", order)
    if its_turn:
        full.release(1, 1)
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    if not its_turn:
        full.release(1, 1)
    await tasks[1]
    assert order == ["b"]


@pytest.mark.parametrize("its_turn", [False, True])
async def test_closing_refuses_waiting_publishes_even_if_one_was_just_given_capacity(
    full: CapacityLimit, its_turn: bool
) -> None:
    order = list[str]()
    tasks = await start(full, "ab", order)
    if its_turn:
        full.release(1, 1)
    full.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [ev.BusClosed, ev.BusClosed]
    assert order == []
