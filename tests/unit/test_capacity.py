"""CapacityLimit in the queue is given in the order of asking, also where somebody comes, goes or closes in between."""

import asyncio

import pytest

import eventlib as ev
from eventlib.publish import publisher as publishing
from eventlib.publish.publisher import CapacityLimit


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> CapacityLimit:
    """Full, with room for one."""
    monkeypatch.setattr(publishing, "QUEUED_MAX", 1)
    made = CapacityLimit()
    made.take(1, 1)
    return made


async def enter(room: CapacityLimit, name: str, order: list[str]) -> None:
    if not room.free:
        await room.wait()
    room.take(1, 1)
    order.append(name)


async def begin(room: CapacityLimit, names: str, order: list[str]) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(enter(room, name, order)) for name in names]
    await asyncio.sleep(0)
    return tasks


async def test_first_come_first_served(room: CapacityLimit) -> None:
    order = list[str]()
    tasks = await begin(room, "abc", order)
    for expected in ("a", "ab", "abc"):
        room.give_back(1, 1)
        assert not room.free  # it is promised to whoever waits, and not to whoever comes now
        await asyncio.wait([tasks[len(expected) - 1]])
        assert "".join(order) == expected


async def test_two_go_where_there_is_room_for_two(room: CapacityLimit, monkeypatch: pytest.MonkeyPatch) -> None:
    order = list[str]()
    tasks = await begin(room, "abc", order)
    monkeypatch.setattr(publishing, "QUEUED_MAX", 2)
    room.give_back(1, 1)
    await asyncio.wait(tasks[:2])
    assert order == ["a", "b"] and not tasks[2].done()
    room.give_back(1, 1)
    await tasks[2]


@pytest.mark.parametrize("woken", [False, True])
async def test_who_gives_up_lets_the_next_one_in(room: CapacityLimit, woken: bool) -> None:
    order = list[str]()
    tasks = await begin(room, "ab", order)
    if woken:
        room.give_back(1, 1)
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    if not woken:
        room.give_back(1, 1)
    await tasks[1]
    assert order == ["b"]


@pytest.mark.parametrize("woken", [False, True])
async def test_closing_turns_away_who_waits_even_if_just_called(room: CapacityLimit, woken: bool) -> None:
    order = list[str]()
    tasks = await begin(room, "ab", order)
    if woken:
        room.give_back(1, 1)
    room.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [ev.BusClosed, ev.BusClosed]
    assert order == []
