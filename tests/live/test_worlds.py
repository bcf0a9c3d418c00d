"""The live world: real processes, a real server, a real SIGKILL; and no process is left, however a run ends."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import redis.asyncio as redis

from eventlib import AccessDenied, BrokerError, BrokerUnavailable, private_server
from eventlib.policy import Retry, RetryBudget
from eventlib.testing import free_port
from eventlib.testing.waiting import eventually
from sim.declare.faults.errors import Errors
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario, LiveRunFailed
from sim.evidence.history import KIND, ROW, History
from sim.infer.compare import compare
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate
from tests.live.live_runs import (
    endless,
    fork_server,
    fork_servers,
    in_time,
    keys_of_runs,
    no_process_left,
    problems,
    under_way,
)
from tests.model.small import attempts_by_message, exponential, kill, poisson, rows_of, scenario, service, steady

pytestmark = pytest.mark.own_fork_server

LEASE_S = 2.0  # a busy machine must not make a living process look dead
KILLED_AT_S, BACK_AFTER_S = 0.6, 0.2
SLOTS = 30


def shop() -> Scenario:
    """Billing is as busy as it can be when one of its consumers is killed; what it emits is shipped.

    An attempt lasts so long that some are in hand then, even if a process or the server stood still just before.
    """
    billing = service(0.4, consumers=2, concurrency=SLOTS, error_rate=0.1, lease_s=LEASE_S, emits=("paid",))
    retry = Retry(attempts=8, wait_s=0.02)
    return scenario(
        steady(140.0, 3.0),
        kill("billing", KILLED_AT_S, BACK_AFTER_S),
        billing=billing.model_copy(update={"retry": retry}),
        shipping=service(0.002, "paid", concurrency=8, lease_s=LEASE_S, retry=retry),
    )


@pytest.fixture(scope="module")
def measured(url: str) -> History:
    """The shop, live, with a consumer killed; nothing of it is left."""
    with no_process_left():
        return asyncio.run(run_live(shop(), [0], repeats=1, url=url))


# A killed consumer


def test_no_message_is_lost_when_a_consumer_is_killed(measured: History) -> None:
    assert problems(measured) == {}
    assert len(rows_of(measured, "sent")) >= 2 * 420  # placed and paid


def test_the_kill_is_in_the_history(measured: History) -> None:
    """As a SIGKILL at its time, and a new consumer in the same place after the time declared."""
    (killed,), (restarted,) = rows_of(measured, "killed"), rows_of(measured, "restarted")
    assert killed["service"] == restarted["service"] == 0
    assert killed["consumer"] == restarted["consumer"] == 0
    assert killed["t_s"] >= KILLED_AT_S
    assert restarted["t_s"] >= KILLED_AT_S + BACK_AFTER_S
    first = rows_of(measured, "started", "billing")
    first = first[first["consumer"] == 0]["t_s"]
    assert not np.any((first > killed["t_s"]) & (first < KILLED_AT_S + BACK_AFTER_S))
    assert np.any(first > restarted["t_s"])


def test_messages_of_the_killed_consumer_are_delivered_again(measured: History) -> None:
    """Each attempt that the kill cut off is followed by the next one, when the lease has run out and not before."""
    (killed_s,) = rows_of(measured, "killed")["t_s"]
    started = rows_of(measured, "started", "billing")
    ended = np.concatenate([rows_of(measured, kind, "billing") for kind in ("handled", "failed")])
    done = {(int(row["message"]), int(row["attempt"])) for row in ended}
    cut = [row for row in started if (int(row["message"]), int(row["attempt"])) not in done]
    assert 1 <= len(cut) <= SLOTS
    for row in cut:
        assert row["consumer"] == 0 and row["t_s"] <= killed_s
        (again,) = started[(started["message"] == row["message"]) & (started["attempt"] == row["attempt"] + 1)]
        # The lease counts from the read, which a busy machine may note late; half of it tells it from none at all.
        assert again["t_s"] >= row["t_s"] + LEASE_S / 2


def test_both_worlds_write_the_same_table(measured: History, tmp_path: Path) -> None:
    simulated = simulate(shop(), [0])
    assert measured.rows.dtype == simulated.rows.dtype == ROW
    assert measured.events == simulated.events
    assert {run.seed for run in measured.runs} == {0}
    assert measured.server.startswith(("Redis ", "Valkey ", "redis ", "valkey "))
    assert np.all(np.diff(measured.rows["t_s"]) >= 0)
    assert rows_of(measured, "sampled")["value"].max() > 0
    measured.save(tmp_path / "live.parquet")
    assert History.open(tmp_path / "live.parquet").rows.tobytes() == measured.rows.tobytes()
    assert compare(simulated, measured)["billing.attempts_mean"].live > 1.0


async def test_a_run_leaves_no_key(measured: History, url: str) -> None:
    assert measured.rows.size
    assert await keys_of_runs(url) == set()


async def test_a_message_that_kills_its_consumers_becomes_a_dead_letter(url: str) -> None:
    """Two attempts are allowed and two consumers die of it. The third delivery makes it a dead letter unhandled."""
    poison = service(60.0, lease_s=1.0, retry=Retry(attempts=2))
    kills = [kill("desk", 1.5, 0.0), kill("desk", 6.5, 0.0)]  # between them it is taken over, on a busy machine too
    history = await run_live(scenario(steady(0.15, 7.0), *kills, desk=poison), [0], repeats=1, url=url)
    assert rows_of(history, "started")["attempt"].tolist() == [1, 2]
    assert len(rows_of(history, "dead")) == history.runs[0].left["desk"].dead == 1
    assert problems(history) == {}


# Where nothing depends on time, the worlds agree exactly


async def test_both_worlds_make_the_same_attempts(url: str) -> None:
    """Without kills and windows of errors, the seed decides what fails: attempt by attempt, message by message."""
    retry = Retry(attempts=3, wait_s=0.01)
    declared = scenario(
        poisson(100.0, 1.0),
        billing=service(0.001, concurrency=4, error_rate=0.4, retry=retry, emits=("paid", "paid")),
        audit=service(0.0, consumers=2, prefetch=5, error_rate=0.1, retry=Retry(attempts=1)),
        shipping=service(consumes="paid", concurrency=8, error_rate=0.3, retry=retry).model_copy(
            update={"service_time": exponential(0.002)}
        ),
    )
    simulated = simulate(declared, [3, 4])
    live = await run_live(declared, [3, 4], repeats=1, url=url)
    for name in declared.services:
        assert attempts_by_message(live, name) == attempts_by_message(simulated, name)
        assert max(count for *_, count in attempts_by_message(live, name)) == declared.services[name].retry.attempts
        assert [run.left[name] for run in live.runs] == [run.left[name] for run in simulated.runs]
    for kind in set(KIND) - {"sampled", "cpu", "server_cpu"}:  # the simulated world has no processor
        columns = ["run", "service", "event", "message", "attempt"]
        assert np.array_equal(np.sort(rows_of(live, kind)[columns]), np.sort(rows_of(simulated, kind)[columns])), kind


# No process is left


async def test_a_retry_budget_holds_in_both_worlds(url: str) -> None:
    """A service is down for a second. In neither world its consumer runs more retries than its budget allows."""
    budget = RetryBudget(ratio=0.1, per_s=40.0, burst=10.0, wait_s=0.2)
    retry = Retry(attempts=20, wait_s=0.02, wait_s_max=0.1)
    desk = service(0.001, concurrency=8, retry=retry, retry_budget=budget)
    down = Errors(kind="errors", service="desk", at_s=0.0, for_s=1.0, error_rate=1.0)
    declared = scenario(steady(100.0, 2.0), down, desk=desk)
    for history in (simulate(declared, [0]), await run_live(declared, [0], repeats=1, url=url)):
        started, handled = rows_of(history, "started"), rows_of(history, "handled")
        again_s = started["t_s"][started["attempt"] > 1]
        assert len(handled) == 200, history.world  # all come through in the end
        for end_s in np.linspace(0.2, history.runs[0].ended_s, 40):
            earned = 10.0 + 40.0 * end_s + 0.1 * int((handled["t_s"] <= end_s).sum())
            assert int((again_s <= end_s).sum()) <= earned + 5, (history.world, end_s)
        # Each attempt that failed needed another one. In the second that it was down, many did.
        assert len(again_s) == len(rows_of(history, "failed")) > 50, history.world


async def test_a_cancelled_run_leaves_no_process(url: str) -> None:
    with no_process_left():
        async with under_way(url) as run:
            assert len(fork_server().children()) == 3
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await in_time(run)
    assert await keys_of_runs(url) == set()


async def test_a_run_cancelled_while_it_starts_leaves_no_process(url: str) -> None:
    """The fork server is there, and still importing."""
    with no_process_left():
        run = asyncio.create_task(run_live(endless(), [0], repeats=1, url=url))
        await eventually(fork_servers)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await in_time(run)
    assert await keys_of_runs(url) == set()


LEFT_BEHIND = """
import asyncio, sys
from sim.worlds.live import run_live
from sim.declare.scenario import Scenario
async def main():
    begun = asyncio.Event()
    run = asyncio.create_task(run_live(Scenario.model_validate_json(sys.argv[1]), [0], progress=lambda _: begun.set()))
    await begun.wait()
asyncio.run(main())
"""


def test_a_run_that_its_event_loop_leaves_behind_ends() -> None:
    """The loop cancels all tasks at once, also the one that hears of the end of processes: nothing may wait for it."""
    command = [sys.executable, "-c", LEFT_BEHIND, endless().model_dump_json(by_alias=True)]
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    with no_process_left(), subprocess.Popen(command, env=environment) as owner:
        try:
            assert owner.wait(timeout=90.0) == 0
        finally:
            owner.kill()


OWNER = """
import asyncio, sys
from sim.worlds.live import run_live
from sim.declare.scenario import Scenario
asyncio.run(run_live(Scenario.model_validate_json(sys.argv[1]), [0], progress=lambda _: print("running", flush=True)))
"""


def test_a_killed_owner_leaves_no_process() -> None:
    """Neither the fork server, nor consumers, nor the private server with its guard, nor the server's directory."""
    command = [sys.executable, "-c", OWNER, endless().model_dump_json(by_alias=True)]
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"running\n"
        family = psutil.Process(owner.pid).children(recursive=True)
        assert len(family) == 6  # fork server, two consumers, generator, guard, server
        (server,) = (one for one in family if "redis.sock" in " ".join(one.cmdline()) and not one.children())
        directory = Path(server.cwd())
        owner.kill()
    _, alive = psutil.wait_procs(family, timeout=30)
    for process in alive:
        process.kill()
    assert not alive
    assert not directory.exists()


async def test_a_killed_owner_leaves_no_key(raw: redis.Redis, url: str) -> None:
    """On a server of others, who would never know what the keys were."""
    before = {key async for key in raw.scan_iter("wb-*", count=1000)}
    command = [sys.executable, "-c", OWNER, endless().model_dump_json(by_alias=True)]
    owner = await asyncio.create_subprocess_exec(
        *command, env=os.environ | {"REDIS_URL": url}, stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    await owner.stdout.readline()
    keys = {key async for key in raw.scan_iter("wb-*", count=1000)} - before
    owner.kill()
    await owner.wait()
    assert keys
    await eventually(lambda: _are_gone(raw, keys))


async def _are_gone(raw: redis.Redis, keys: set[bytes]) -> bool:
    return not await raw.exists(*keys)


async def test_a_killed_fork_server_fails_the_run_and_leaves_no_process(url: str) -> None:
    with no_process_left():
        async with under_way(url) as run:
            orphans = fork_server().children()
            assert len(orphans) == 3
            fork_server().kill()
            _, alive = await asyncio.to_thread(
                psutil.wait_procs, orphans, timeout=30
            )  # they have no parent here any more
            for process in alive:
                process.kill()
            assert not alive
            with pytest.raises(LiveRunFailed, match="live run: the fork server ended although it was not told to"):
                await in_time(run)
    assert await keys_of_runs(url) == set()


async def test_a_fork_server_killed_at_once_fails_the_run(url: str) -> None:
    """Before it has started anyone."""
    with no_process_left():
        run = asyncio.create_task(run_live(endless(), [0], repeats=1, url=url))
        await eventually(fork_servers)
        fork_server().kill()
        with pytest.raises(LiveRunFailed, match="the fork server ended although it was not told to"):
            await in_time(run)


async def test_a_suspended_process_does_not_outlive_its_fork_server(url: str) -> None:
    """It cannot see that its pipe has closed: the owner of the run wakes it."""
    with no_process_left():
        async with under_way(url) as run:
            children = fork_server().children()
            children[0].suspend()
            await eventually(lambda: children[0].status() == psutil.STATUS_STOPPED)
            fork_server().kill()
            _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=30)
            for process in alive:
                process.kill()
            assert not alive
            with pytest.raises(LiveRunFailed, match="the fork server ended although it was not told to"):
                await in_time(run)


async def test_a_suspended_process_does_not_outlive_a_cancelled_run(url: str) -> None:
    with no_process_left():
        async with under_way(url) as run:
            fork_server().children()[0].suspend()
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await in_time(run)


async def test_a_suspended_consumer_is_woken_when_the_run_ends(url: str) -> None:
    """Or it would not hear that it is to stop, and the run would fail in the end."""
    declared = scenario(steady(50.0, 3.0), desk=service(0.01, lease_s=30.0), drain_s=0.5)
    suspended: list[psutil.Process] = []

    def progress(share: float) -> None:
        if share > 0.1 and not suspended:  # early enough that some of the load is still to come
            suspended.extend(one for one in fork_server().children() if writes_rows_of(one, 0))
            suspended[0].suspend()

    with no_process_left():
        history = await in_time(run_live(declared, [0], repeats=1, url=url, progress=progress))
    assert suspended
    assert history.runs[0].left["desk"].waiting > 0 or history.runs[0].left["desk"].pending > 0


def writes_rows_of(process: psutil.Process, number: int) -> bool:
    """Whether it is the process that the run has started as number so many."""
    return any(file.path.endswith(f"/{number}.rows") for file in process.open_files())


async def test_a_consumer_that_ends_by_itself_fails_the_run(url: str) -> None:
    """It may have run out of memory: such a run is no evidence, and says who it was."""
    with no_process_left():
        async with under_way(url) as run:
            (second,) = (one for one in fork_server().children() if writes_rows_of(one, 1))
            second.send_signal(signal.SIGKILL)
            with pytest.raises(
                LiveRunFailed, match=r"live run: desk 1 ended although it was not told to, with status -9"
            ):
                await in_time(run)
    assert await keys_of_runs(url) == set()


# The server


async def test_an_unreachable_server_raises_the_librarys_error() -> None:
    began_s = time.monotonic()
    with no_process_left(), pytest.raises(BrokerUnavailable):
        await run_live(endless(), [0], url=f"redis://127.0.0.1:{free_port()}/0")
    assert time.monotonic() - began_s < 25.0  # it does not wait for a server that never was there, as it would for 30 s


async def test_a_wrong_password_raises_the_librarys_error() -> None:
    with private_server() as server:
        async with redis.Redis.from_url(server.url) as client:
            await client.config_set("requirepass", "right")
        with no_process_left(), pytest.raises(AccessDenied):
            await in_time(run_live(endless(), [0], url=server.url.replace("unix://", "unix://:wrong@")))


async def test_a_server_that_dies_during_a_run_fails_the_run() -> None:
    """The run fails with the library's own error, not with a group of them."""
    with private_server() as server, no_process_left():
        async with under_way(server.url) as run:
            os.kill(server.pid, signal.SIGKILL)
            with pytest.raises(BrokerError):
                await in_time(run)


async def test_handlers_that_never_end_are_what_is_left_in_both_worlds(url: str) -> None:
    """The run ends all the same: they are cancelled, and nothing was handled."""
    declared = Scenario.model_validate(
        {
            "name": "never",
            "load": {"kind": "constant", "event": "placed", "rate_per_s": 20, "duration_s": 0.2},
            "services": {"desk": {"consumes": "placed", "service_time": {"kind": "constant", "mean_s": 1000}}},
            "drain_s": 2.0,
        }
    )
    live = await run_live(declared, [0], repeats=1, url=url)
    predicted = simulate(declared, [0])
    assert [np.count_nonzero(one.rows["kind"] == KIND["handled"]) for one in (live, predicted)] == [0, 0]
    left = [one.runs[0].left["desk"] for one in (live, predicted)]
    assert [one.waiting + one.pending + one.retrying for one in left] == [4, 4]
    assert compare(predicted, live)["lag_s_p50"].live_interval.unhandled == 1.0


@pytest.mark.parametrize(("seeds", "repeats"), [([], 1), ([0], 0)])
async def test_a_run_without_seeds_or_repeats_is_refused(seeds: list[int], repeats: int) -> None:
    """Refused before anything is started, although there is no server."""
    with pytest.raises(InvalidScenario, match=r"^seeds: "):
        await run_live(endless(), seeds, repeats=repeats, url="redis://127.0.0.1:1/0")


async def test_progress_goes_from_0_to_1(url: str) -> None:
    told: list[float] = []
    tiny = scenario(steady(50.0, 0.1), desk=service(0.0))
    history = await run_live(tiny, [5, 6], repeats=2, url=url, progress=told.append)
    assert told == sorted(told)
    assert 0.0 <= told[0] <= 0.25 and 0.75 <= told[-1] <= 1.0
    assert [(run.seed, run.repeat) for run in history.runs] == [(5, 0), (6, 0), (5, 1), (6, 1)]
