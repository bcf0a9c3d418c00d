"""How long a call waits for a server that comes and goes, in virtual time: no real wait, no real server."""

import random
from types import SimpleNamespace

import pytest

from eventlib import reconnect
from eventlib.errors import BrokerError, BrokerUnavailable
from eventlib.reconnect import until_answered

LONGEST_S = 0.5  # between two tries, as docs/outages.md has it


class Clock:
    """Time that passes only while something waits."""

    def __init__(self) -> None:
        self.now_s = 0.0

    async def sleep(self, wait_s: float) -> None:
        self.now_s += wait_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(reconnect, "asyncio", SimpleNamespace(sleep=clock.sleep))
    return clock


def patient(error: BrokerError, failures: int) -> float:
    return 30.0


async def waited_s(clock: Clock, answers: "list[bool] | float", rng: random.Random) -> float:
    """How long one call waits. The server answers each try as listed, or from that time on."""
    began_s, tries = clock.now_s, 0

    async def call() -> None:
        nonlocal tries
        tries += 1
        if clock.now_s < answers if isinstance(answers, float) else not answers[tries - 1]:
            raise BrokerUnavailable("here", "gone")

    await until_answered(call, patient, rng)
    return clock.now_s - began_s


@pytest.mark.parametrize("outage_s", [0.01, 0.3, 3.0, 29.0])
async def test_a_call_goes_on_within_the_longest_wait_after_the_server_is_back(clock: Clock, outage_s: float) -> None:
    for seed in range(200):
        clock.now_s = 0.0
        assert await waited_s(clock, outage_s, random.Random(seed)) < outage_s + LONGEST_S


async def test_a_server_that_answers_most_tries_holds_no_call_up_for_long(clock: Clock) -> None:
    """Three tries in ten are lost: one call in 10,000 needs eight tries, none of its waits is beyond the longest."""
    rng = random.Random(1)
    waits = [await waited_s(clock, [rng.random() >= 0.3 for _ in range(50)], rng) for _ in range(10_000)]
    assert max(waits) < 8 * LONGEST_S
    assert sum(waits) / len(waits) < 0.1 * LONGEST_S
