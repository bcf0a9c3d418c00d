"""The guarantees hold on every server found."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventlib.broker.connections import Broker
from eventlib.policy import Lease, Retry, Uniform


@pytest.fixture(scope="session")
def url(server: str) -> str:
    return server


@pytest.fixture
async def broker(url: str, namespace: str) -> AsyncIterator[Broker]:
    """The layer below the bus, for calls that the bus does not offer."""
    made = Broker(url, namespace)
    yield made
    await made.close()


@pytest.fixture
def waits_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that retry policies choose during the test, those before a server is asked again among them."""
    chosen, delay_s = list[float](), Retry.delay_s

    def note(retry: Retry, attempt: int, rng: Uniform) -> float:
        chosen.append(delay_s(retry, attempt, rng))
        return chosen[-1]

    monkeypatch.setattr(Retry, "delay_s", note)
    return chosen


@pytest.fixture
def no_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """No consumer sweeps. Otherwise the consumer that lost an entry could take it back during the test."""
    monkeypatch.setattr(Lease, "sweep_wait_s", lambda *_: 3600.0)


@pytest.fixture
def early_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consumers sweep as soon as they run, so the usual lease will do, for which no machine stands still."""
    monkeypatch.setattr(Lease, "sweep_wait_s", lambda *_: 0.05)


@pytest.fixture
async def unhandled_errors() -> list[str]:
    """Errors of tasks and futures that no code awaited, as the event loop reports them."""
    complaints = list[str]()
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about["message"]))
    return complaints
