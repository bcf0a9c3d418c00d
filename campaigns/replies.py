"""Does a caller that is killed with thousands of requests outstanding get every reply when it comes back?

Starts a private Redis, a service, and a caller process. The caller keeps its correlation ids in a file, then sends all
requests at once. It is killed with SIGKILL when all are outstanding, and again and again while replies come in; some
replies come while it is dead. Each new process asks for the replies that are not noted yet, and requests again what
gets none.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import eventlib as ev
from campaigns import command
from eventlib.testing import eventually

TOP = Path(__file__).parents[1]
_REPLY_S = 5.0  # a caller that is back waits for so long before it requests again
_LONG_S = 120.0


class Asked(ev.Event, type="asked", version=1, stream="campaign-requests"):
    number: int


class Answered(ev.Event, type="answered", version=1, stream="campaign-replies"):
    number: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found. `lost` requests got no reply, `wrong` ones got another's."""

    requests: int
    kills: int
    answered: int
    lost: int
    wrong: int
    requested_again: int  # requests that were in the stream more than once
    outstanding_at_first_kill: int
    took_s: float

    @property
    def holds(self) -> bool:
        """Whether every caller got its reply."""
        return not (self.lost or self.wrong)


# The caller process


async def call(url: str, namespace: str, folder: Path) -> None:
    """Get the reply to each request that is not noted as answered; what each process does until it is killed."""
    noted = os.open(folder / "answered", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    back = (folder / "ids").exists()
    ids = (folder / "ids").read_text().split() if back else _new_ids(folder)
    done = {number for number, _ in answers(folder)}

    async def one(bus: ev.Bus, number: int, id_: str) -> None:
        try:
            if not back:
                raise LookupError
            answered = await bus.reply(id_, Answered, timeout_s=_REPLY_S)
        except (LookupError, ev.EventWaitTimeout):
            answered = await bus.request(Asked(number=number), Answered, timeout_s=_LONG_S, correlation_id=id_)
        os.write(noted, f"{number} {answered.number}\n".encode())

    async with ev.connect(ev.App("caller"), url, namespace=namespace) as bus, asyncio.TaskGroup() as calls:
        for number, id_ in enumerate(ids):
            if number not in done:
                calls.create_task(one(bus, number, id_))


def _new_ids(folder: Path) -> list[str]:
    """Correlation ids, kept before anything is requested."""
    ids = [ev.new_correlation_id() for _ in range(int((folder / "requests").read_text()))]
    (folder / "new").write_text("\n".join(ids))
    (folder / "new").rename(folder / "ids")
    return ids


def answers(folder: Path) -> list[tuple[int, int]]:
    """Each answer that a caller noted: the number of its request, and the number in the reply."""
    lines = (folder / "answered").read_text().splitlines() if (folder / "answered").exists() else []
    return [(int(asked), int(answered)) for asked, answered in (line.split() for line in lines)]


# The service


class Service:
    """Takes requests, and answers as many as it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []  # number and correlation id
        self.answering = 0  # how many of them may be answered
        self._more = asyncio.Event()

    def answer(self, count: int) -> None:
        """Let so many requests, in their order, be answered. Those that came before are among them."""
        self.answering = max(self.answering, count)
        self._more.set()

    @asynccontextmanager
    async def running(self, url: str, namespace: str) -> AsyncIterator[None]:
        """Serve for the length of the block."""
        app = ev.App("service")

        @app.subscribe_batch(Asked, group="service", size=500)
        async def take(batch: ev.Batch[Asked]) -> None:
            self.asked += [(event.number, delivery.correlation_id or "") for event, delivery in batch]
            self._more.set()

        async with ev.connect(app, url, namespace=namespace) as bus, bus.running():
            publishing = asyncio.create_task(self._publish(bus))
            try:
                yield
            finally:
                publishing.cancel()
                await asyncio.wait({publishing})

    async def _publish(self, bus: ev.Bus) -> None:
        published = 0
        while True:
            await self._more.wait()
            self._more.clear()
            due = self.asked[published : self.answering]
            published += len(due)
            await asyncio.gather(*(bus.publish(Answered(number=n), correlation_id=id_) for n, id_ in due))


# The campaign


async def run(url: str, requests: int, kills: int, namespace: str = "campaign") -> Outcome:
    """Run the campaign. It leaves the keys of `namespace` behind."""
    service, began_s = Service(), time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "requests").write_text(str(requests))
        async with service.running(url, namespace):
            caller = _start_caller(url, namespace, folder)
            try:
                await eventually(lambda: len(service.asked) >= requests, _LONG_S)
                outstanding = requests - len(answers(folder))
                for kill in range(1, kills + 1):
                    caller.kill()
                    caller.wait()
                    half = requests * (2 * kill - 1) // (2 * kills)
                    service.answer(half)  # while no caller is there
                    caller = _start_caller(url, namespace, folder)
                    await eventually(lambda: len(answers(folder)) >= half, _LONG_S)  # noqa: B023 - awaited in the loop
                    service.answer(requests * kill // kills)  # the next kill comes while these are on their way
                    sys.stderr.write(f"{kill} kills, {len(answers(folder)):,} of {requests:,} answered\n")
                service.answer(10 * requests)  # what was requested again too
                await eventually(lambda: caller.poll() is not None, _LONG_S)
            finally:
                caller.kill()
                caller.wait()
        found = answers(folder)
    return Outcome(
        requests=requests,
        kills=kills,
        answered=len({asked for asked, _ in found}),
        lost=requests - len({asked for asked, _ in found}),
        wrong=sum(asked != answered for asked, answered in found),
        requested_again=len(service.asked) - len({number for number, _ in service.asked}),
        outstanding_at_first_kill=outstanding,
        took_s=round(time.monotonic() - began_s, 3),
    )


def _start_caller(url: str, namespace: str, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "campaigns.replies", "--caller", url, namespace, str(folder)]
    return subprocess.Popen(command, cwd=TOP)


def main() -> None:
    """Run the campaign, print what was found, and fail if the guarantee did not hold."""
    parser = command.parser("replies", __doc__, "--requests 5000 --kills 5")
    parser.add_argument("--requests", type=int, default=5000, help="how many requests (5,000)")
    parser.add_argument("--kills", type=int, default=5, help="how often the caller is killed (5)")
    parser.add_argument("--caller", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.caller:
        url, namespace, folder = options.caller
        asyncio.run(call(url, namespace, Path(folder)))
        return
    if not (1 <= options.requests <= 100_000 and 1 <= options.kills <= 100):
        parser.error("--requests is 1 to 100,000 and --kills 1 to 100")
    with ev.private_server() as server:
        outcome = asyncio.run(run(server.url, options.requests, options.kills))
    found = asdict(outcome) | {"holds": outcome.holds}
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    command.write_json(options.json, found)
    sys.exit(0 if outcome.holds else 1)


if __name__ == "__main__":
    main()
