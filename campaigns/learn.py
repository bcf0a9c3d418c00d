"""Watch consumers whose truth is known, and hold what `workbench learn` finds beside it.

They are written with redis-py alone (reading one entry, and ten), with FastStream and with eventlib. FastStream comes
with the packages of `make bench`; without it, its row is left out, and the result says so.
"""

import asyncio
import importlib.util
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import redis.asyncio as redis
from rich.console import Console
from rich.table import Table

import eventlib as ev
from campaigns import command
from campaigns.learn_consumer import CONCURRENCY, Ordered
from eventlib.testing import eventually

_GROUP, _STREAM = "billing", "learned"
_START_S, _WARM_UP_S, _STOP_S = 30.0, 3.0, 10.0
GOALS = {"arrival rate": 0.02, "mean service time": 0.10, "p95 of lag": 0.20}

Send = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Deployment:
    """Consumers of one kind under a Poisson load."""

    kind: str
    consumers: int
    at_once: int
    rate_per_s: float
    mean_s: float


DEPLOYMENTS = (
    Deployment("redis-py 1", 3, 1, 40.0, 0.05),
    Deployment("redis-py 10", 1, 1, 12.0, 0.05),
    Deployment("faststream", 1, 1, 12.0, 0.05),
    Deployment("eventlib", 1, CONCURRENCY, 52.0, 0.05),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A number as it is, as it was learned, and how far that is off, as a share."""

    kind: str
    what: str
    truth: float
    learned: float
    error: float
    within: bool | None  # None: there is no goal for it


async def campaign(url: str, deployment: Deployment, for_s: float, folder: Path) -> list[Row]:
    """Deploy, watch, and compare."""
    notes = [folder / f"notes-{number}" for number in range(deployment.consumers)]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(redis.Redis.from_url(url))
        send, key = await _sender(url, deployment, client, stack)
        consumers = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "campaigns.learn_consumer", deployment.kind, url, key, _GROUP, file.name),
                *(str(deployment.mean_s), str(file)),
            )
            for file in notes
        ]
        sent: list[float] = []
        load = asyncio.create_task(_load(send, deployment.rate_per_s, sent))
        try:
            await eventually(lambda: all(file.exists() and file.stat().st_size for file in notes), _START_S)
            await asyncio.sleep(_WARM_UP_S)
            said = await _learn(url, key, for_s, folder)
        finally:
            load.cancel()
            await asyncio.wait({load})
            await asyncio.sleep(1.0)
            for consumer in consumers:
                consumer.terminate()
            for consumer in consumers:
                await asyncio.wait_for(consumer.wait(), _STOP_S)
        await client.flushdb()
    done = np.array([[float(x) for x in line.split()] for file in notes for line in file.read_text().splitlines()])
    return _rows(deployment, said, np.array(sent), done)


async def _sender(url: str, deployment: Deployment, client: "redis.Redis", stack: AsyncExitStack) -> tuple[Send, str]:
    """What sends one entry, and the key of the stream."""
    if deployment.kind == "eventlib":
        bus = await stack.enter_async_context(ev.connect(ev.App("load"), url))
        return (lambda at_s: bus.publish(Ordered(sent_s=at_s))), _STREAM
    await client.xgroup_create(_STREAM, _GROUP, "0", mkstream=True)
    if deployment.kind == "faststream":
        from faststream.redis import RedisBroker

        broker = RedisBroker(url, logger=None)
        await broker.connect()
        stack.push_async_callback(broker.stop)
        return (lambda at_s: broker.publish(at_s, stream=_STREAM)), _STREAM
    return (lambda at_s: client.xadd(_STREAM, {"sent_s": at_s})), _STREAM


async def _load(send: Send, rate_per_s: float, sent: list[float]) -> None:
    """A Poisson load, open-loop."""
    rng, due = random.Random(1), time.monotonic()
    under_way: set[asyncio.Task[object]] = set()
    while True:
        due += rng.expovariate(rate_per_s)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        at_s = time.time()
        sent.append(at_s)
        task: asyncio.Task[object] = asyncio.ensure_future(send(at_s))
        under_way.add(task)
        task.add_done_callback(under_way.discard)


async def _learn(url: str, key: str, for_s: float, folder: Path) -> dict[str, Any]:
    """Run the command, as a user does."""
    arguments = ["-m", "workbench", "learn", url, key, _GROUP, "--for", f"{for_s:g}"]
    arguments += ["--out", str(folder / "learned.yaml"), "--json", str(folder / "learned.json")]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stderr=subprocess.PIPE)
    _, told = await process.communicate()
    if process.returncode:
        raise RuntimeError(told.decode())
    found: dict[str, Any] = json.loads((folder / "learned.json").read_text())
    return found


def _rows(deployment: Deployment, said: dict[str, Any], sent: "np.ndarray", done: "np.ndarray") -> list[Row]:
    """Truth beside what was learned, over the time that was watched."""
    begin_s = said["begin_s"]
    end_s = begin_s + said["watched_s"]
    watched = done[(done[:, 0] >= begin_s) & (done[:, 0] < end_s)]
    lag_s = watched[:, 2] - watched[:, 0]
    found, predicted = said["findings"], said["lag_predicted"]
    pairs = {
        "arrival rate": (np.count_nonzero((sent >= begin_s) & (sent < end_s)) / said["watched_s"], "arrival_rate"),
        "mean service time": (float((watched[:, 2] - watched[:, 1]).mean()), "service_time"),
        "consumers": (float(deployment.consumers), "consumers"),
        "concurrency": (float(deployment.at_once), "concurrency"),
    }
    numbers = {what: (truth, float(found[name]["value"])) for what, (truth, name) in pairs.items()}
    numbers["p50 of lag"] = float(np.quantile(lag_s, 0.5)), predicted["p50_s"][0]
    numbers["p95 of lag"] = float(np.quantile(lag_s, 0.95)), predicted["p95_s"][0]
    rows = []
    for what, (truth, learned) in numbers.items():
        error = learned / truth - 1.0
        rows.append(
            Row(
                deployment.kind, what, truth, learned, error, bool(abs(error) <= GOALS[what]) if what in GOALS else None
            )
        )
    return rows


def main() -> None:
    """Run the campaign. The exit status is 1 if something was learned worse than it should be."""
    parser = command.parser("learn", __doc__, "--for 60")
    parser.add_argument("--for", dest="for_s", type=float, default=60.0, help="seconds to watch each deployment (60)")
    parser.add_argument("--only", choices=[each.kind for each in DEPLOYMENTS], help="one kind of consumer alone")
    options = parser.parse_args()
    rows: list[Row] = []
    out, left_out = Console(), []
    for deployment in DEPLOYMENTS:
        if options.only not in (None, deployment.kind):
            continue
        if deployment.kind == "faststream" and importlib.util.find_spec("faststream") is None:
            left_out.append("FastStream is not installed, so it was left out; `make bench` installs it.")
            continue
        with ev.private_server(port=0) as server, tempfile.TemporaryDirectory() as folder:
            rows += asyncio.run(campaign(server.url, deployment, options.for_s, Path(folder)))
    _show(out, rows)
    command.print_faults(out, left_out)
    command.write_json(options.json, {"rows": [asdict(row) for row in rows], "left_out": left_out})
    sys.exit(0 if all(row.within is not False for row in rows) else 1)


def _show(out: Console, rows: list[Row]) -> None:
    table = Table(title="What was learned, beside the truth")
    for column in ("consumers", "what", "truth", "learned", "error", "goal", "met"):
        table.add_column(column, justify="left" if column in ("consumers", "what", "met") else "right")
    for row in rows:
        goal = f"{GOALS[row.what]:.0%}" if row.what in GOALS else ""
        met = "" if row.within is None else "yes" if row.within else "no"
        numbers = [f"{row.truth:.4g}", f"{row.learned:.4g}", f"{100 * row.error:+.1f} %"]
        table.add_row(row.kind, row.what, *numbers, goal, met)
    out.print(table)


if __name__ == "__main__":
    main()
