"""The order of each key is kept while consumers are killed, stopped and started during handlers, on every server."""

import itertools
import random
import subprocess

import pytest

import eventlib as ev
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.live.conftest import WORKS_S, ConsumerProcesses
from tests.live.ordered_consumer import Paid
from tests.order import Note, faults
from tests.shop import Connect, nothing_left

ACCOUNTS = 12


@pytest.fixture(scope="session")
def url(server: str) -> str:
    return server


def noted(processes: ConsumerProcesses) -> list[Note]:
    lines = processes.handler_log.read_text().splitlines() if processes.handler_log.exists() else []
    words = [line.split() for line in lines]
    return [Note(what, who, *rest[:1], *map(int, rest[1:])) for what, who, *rest in words]  # type: ignore[arg-type]


async def test_the_order_is_kept_while_consumers_are_killed_repeatedly(
    connect: Connect, inspector: Inspector, url: str, namespace: str, processes: ConsumerProcesses
) -> None:
    rng = random.Random(0)
    consumers: list[subprocess.Popen[bytes]] = []
    published = [Paid(account=f"{n}", step=step) for step, n in itertools.product(range(60), range(ACCOUNTS))]

    def done() -> set[tuple[str, int]]:
        return {(note.key, note.step) for note in noted(processes) if note.what == "done"}

    async with connect(ev.App("shop")) as bus:
        for round_ in range(4):
            while len(consumers) < 3:
                consumers.append(processes.start(url, namespace, 0.02, "ordered_consumer"))
            share = len(published) // 4
            await bus.publish_many(published[round_ * share : (round_ + 1) * share])
            goal = len(done()) + share // 3
            await eventually(lambda: len(done()) > goal, WORKS_S)  # noqa: B023 - awaited in the loop
            victim = consumers.pop(rng.randrange(3))
            if round_ == 2:
                victim.terminate()
                await eventually(lambda: victim.poll() is not None)  # noqa: B023
                continue
            victim.kill()
            victim.wait()
            with processes.handler_log.open("a") as log:
                log.write(f"killed {victim.pid}\n")
        await eventually(lambda: nothing_left(bus), WORKS_S)
        assert await bus.dead_letters("orders", "billing").find() == []
        assert await inspector.raw.exists(inspector.keys.key_queue_heads, inspector.keys.key_queues) == 0
    assert done() == {(event.account, event.step) for event in published}
    assert faults(noted(processes)) == []
