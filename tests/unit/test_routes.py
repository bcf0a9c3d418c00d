"""The routes of the outage policies: when a batch is repeated, and what is left of one that is given up."""

import asyncio
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

import eventlib as ev
from eventlib.broker.publishing import PublishCommands
from eventlib.publish import repeating
from eventlib.publish.batches import Callers, Slice
from eventlib.publish.repeating import RepeatingRoute
from eventlib.publish.spool import SpoolFile
from eventlib.publish.spooling import SpoolingRoute
from eventlib.records import NumberedBatch
from eventlib.testing.waiting import eventually

BATCH = NumberedBatch("orders", 1, [b"x", b"y"])


class ManualCommands:
    """Notes the calls, and lets the test end each of them. Those past the first `open_calls` get no answer."""

    def __init__(self, open_calls: int = 1_000) -> None:
        self.calls: list[asyncio.Future[int]] = []
        self.forgotten: list[str] = []
        self._open_calls = open_calls

    def append(self, *_: object, **__: object) -> "asyncio.Future[int]":
        call: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.calls.append(call)
        if len(self.calls) > self._open_calls:
            call.set_exception(ev.BrokerUnavailable("here", "gone"))
        return call

    async def forget_producer(self, stream: str, producer: str) -> None:
        self.forgotten.append(stream)


def of(commands: ManualCommands) -> PublishCommands:
    return cast(PublishCommands, commands)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SpoolFile]:
    opened = SpoolFile(tmp_path / "spool", 1_000_000, "ev")
    yield opened
    opened.close()


def a_slice(called_at_s: float) -> Slice:
    made = Slice((b"x",), (), 1)
    made.called_at_s = called_at_s
    return made


# Repeating


async def test_each_caller_waits_as_long_as_it_may_although_one_batch_carries_all() -> None:
    loop, patience_s = asyncio.get_running_loop(), 0.3
    early, late = a_slice(loop.time() - 0.2), a_slice(loop.time())
    failed_at_s: dict[Slice, float] = {}
    for each in (early, late):
        each.sent.add_done_callback(lambda _, each=each: failed_at_s.setdefault(each, loop.time()))  # type: ignore[misc]
    with pytest.raises(ev.BrokerUnavailable):
        await RepeatingRoute(of(ManualCommands(0)), patience_s).send(BATCH, Callers([early, late]))
    await asyncio.sleep(0)
    assert not early.arrived and not late.arrived
    assert failed_at_s[early] - early.called_at_s >= patience_s
    assert failed_at_s[late] - late.called_at_s >= patience_s
    assert failed_at_s[early] < late.called_at_s + patience_s


async def test_a_refusal_is_not_repeated() -> None:
    commands = ManualCommands()
    route = RepeatingRoute(of(commands), 30.0)
    sending = route.send(BATCH, Callers([a_slice(asyncio.get_running_loop().time())]))
    commands.calls[0].set_exception(ev.BrokerError("here", "no"))
    with pytest.raises(ev.BrokerError, match="no"):
        await sending
    assert len(commands.calls) == 1


async def test_no_try_is_made_after_the_process_was_stopped_for_so_long_that_the_server_may_have_forgotten_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The number would be appended a second time."""
    commands, loop = ManualCommands(), asyncio.get_running_loop()
    caller = a_slice(loop.time())
    route = RepeatingRoute(of(commands), 60.0)
    sending = route.send(BATCH, Callers([caller]))
    commands.calls[0].set_exception(ev.BrokerUnavailable("here", "gone"))
    task = asyncio.ensure_future(_finished(sending))
    await asyncio.sleep(0)
    monkeypatch.setattr(route, "now", lambda: loop.time() + 60.0 + repeating._REMEMBER_S / 2.0)
    with pytest.raises(ev.BrokerUnavailable, match="gone"):
        await task
    assert len(commands.calls) == 1


async def _finished(sending: object) -> None:
    await sending  # type: ignore[misc]


async def test_the_server_is_told_to_forget_a_producer_only_where_every_try_was_answered() -> None:
    commands, now_s = ManualCommands(), asyncio.get_running_loop().time()
    route = RepeatingRoute(of(commands), 30.0)
    answered = route.send(BATCH._replace(stream="stock"), Callers([a_slice(now_s)]))
    commands.calls[0].set_result(2)
    await answered
    repeated = route.send(BATCH, Callers([a_slice(now_s)]))
    commands.calls[1].set_exception(ev.BrokerUnavailable("here", "gone"))
    task = asyncio.ensure_future(_finished(repeated))
    await eventually(lambda: len(commands.calls) == 3)
    commands.calls[2].set_result(2)
    await task
    await route.close()
    assert commands.forgotten == ["stock"]


@pytest.mark.parametrize("arrived", [False, True])
async def test_a_repeated_batch_that_is_given_up_before_it_is_awaited_cancels_its_call(arrived: bool) -> None:
    commands = ManualCommands()
    sending = RepeatingRoute(of(commands), 30.0).send(BATCH, Callers([]))
    if arrived:
        commands.calls[0].set_result(1)
    sending.cancel()
    del sending
    gc.collect()  # "coroutine was never awaited" would be an error
    assert len(commands.calls) == 1
    assert commands.calls[0].cancelled() == (not arrived)


# Spooling


@pytest.mark.parametrize("arrived", [False, True])
async def test_a_spooled_batch_that_is_given_up_before_it_is_awaited_is_not_written(
    file: SpoolFile, arrived: bool
) -> None:
    commands = ManualCommands()
    sending = SpoolingRoute(of(commands), file).send(BATCH, Callers([]))
    if arrived:
        commands.calls[0].set_exception(ev.BrokerUnavailable("here", "gone"))
    sending.cancel()
    del sending
    gc.collect()  # "coroutine was never awaited" would be an error
    await asyncio.sleep(0.05)
    assert commands.calls[0].cancelled() == (not arrived)
    assert file.empty


async def test_the_note_of_a_replay_is_repeated_where_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class AnsweringCommands(ManualCommands):
        def append(self, *args: object, **rest: object) -> "asyncio.Future[int]":
            call = super().append(*args, **rest)
            call.set_result(2)
            return call

    file, commands = SpoolFile(tmp_path / "spool", 1_000_000, "ev"), AnsweringCommands()
    file.append(BATCH)
    pwrite, refusals = os.pwrite, [OSError(28, "No space left on device")] * 2

    def refuse_twice(fd: int, data: memoryview, at: int) -> int:
        if refusals:
            raise refusals.pop()
        return pwrite(fd, data, at)

    monkeypatch.setattr(os, "pwrite", refuse_twice)
    route = SpoolingRoute(of(commands), file)
    await eventually(lambda: not refusals)
    await eventually(lambda: "is replayed" in caplog.text)
    await route.close()
    assert file.empty and len(commands.calls) == 1  # only the note is repeated
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR", "ERROR", "WARNING"]
    assert "No space left" in caplog.text
