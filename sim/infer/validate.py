"""validate(): the main job. Both worlds for each scenario, and the claims about the library, measured."""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from eventlib import App, connect
from eventlib.catalog import FileUploaded
from sim.declare.loads.constant import ConstantLoad
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.declare.service_times.constant import ConstantTime
from sim.evidence.checks import Claim, Verdict
from sim.evidence.checks import check as judge
from sim.evidence.history import KIND, History
from sim.evidence.metrics import lateness_s, measure
from sim.infer.calibrate import calibrate
from sim.infer.compare import Comparison, compare
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate

Steps = Callable[[str, float], None]  # told which step runs and what share of it is done

SIMULATED_SEEDS = range(30)
_BURST = 50_000
_UPLOADED_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Validation:
    """All that a report shows."""

    server: str
    comparisons: tuple[Comparison, ...]
    claims: tuple[Claim, ...]


async def validate(scenarios: Sequence[Scenario], *, url: str, progress: Steps) -> Validation:
    """Calibrate, run each scenario in both worlds, drive a steady load and a burst, and judge the claims.

    The first scenario runs live twice for each of two seeds, the others twice for one.

    Raises:
        SimError, EventlibError: as `simulate` and `run_live` do.
    """
    overheads, idle = await calibrate(url=url, progress=lambda share: progress("timing this machine", share))
    comparisons = []
    for index, scenario in enumerate(scenarios):
        simulated = simulate(
            scenario,
            SIMULATED_SEEDS,
            overheads=overheads,
            progress=lambda share: progress(f"simulating {scenario.name}", share),  # noqa: B023 - called at once
        )
        live = await run_live(
            scenario,
            range(1 if index else 2),
            repeats=2,
            url=url,
            progress=lambda share: progress(f"running {scenario.name} live", share),  # noqa: B023 - called at once
        )
        comparisons.append(compare(simulated, live))
    steady = await run_live(
        steady_load(), [0], repeats=1, url=url, progress=lambda share: progress("driving a steady load", share)
    )
    progress("publishing a burst", 0.0)
    burst_per_s = await publish_burst(url)
    progress("publishing a burst", 1.0)
    claims = (
        _nothing_lost([comparison.live for comparison in comparisons]),
        _recovers(comparisons),
        _dead_letters(comparisons),
        _sustained(steady),
        _burst(burst_per_s),
        _latency(idle),
    )
    return Validation(idle.server, tuple(comparisons), claims)


def steady_load() -> Scenario:
    """A steady 2,000 events a second: can the generator and the library keep up?"""
    work = ConstantTime(kind="constant", mean_s=0.002)
    return Scenario(
        name="steady load",
        load=ConstantLoad(kind="constant", event="order.placed", rate_per_s=2000, duration_s=3.0),
        services={"billing": Service(consumes="order.placed", consumers=2, concurrency=16, service_time=work)},
        drain_s=10,
    )


def file_uploaded(index: int) -> FileUploaded:
    """One of any number of different ones, about 470 bytes each on the wire."""
    return FileUploaded(
        file_id=f"01J9ZQ4K7M{index:016d}",
        user_id="01J9ZQ4K7M0000000000000042",
        file_name=f"report-{index}.pdf",
        media_type="application/pdf",
        size_bytes=index,
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        storage_key=f"files/{index}",
        uploaded_at=_UPLOADED_AT,
    )


async def publish_burst(url: str, count: int = _BURST) -> float:
    """Publish `count` typed events of ordinary size as fast as one process can; events a second."""
    events = [file_uploaded(index) for index in range(count)]
    async with connect(App("burst"), url, namespace=f"wb-{secrets.token_hex(6)}") as bus:
        try:
            start = time.perf_counter()
            await bus.publish_many(events)
            return count / (time.perf_counter() - start)
        finally:
            await bus.delete_all()


# The claims


def _nothing_lost(histories: Sequence[History]) -> Claim:
    judged = [check for history in histories for check in judge(history) if check.name in ("lost", "pending")]
    published = sum(int((history.rows["kind"] == KIND["published"]).sum()) for history in histories)
    killed = sum(int((history.rows["kind"] == KIND["killed"]).sum()) for history in histories)
    runs = sum(len(history.runs) for history in histories)
    return Claim(
        "At-least-once delivery: nothing the server acknowledged is lost",
        f"{'; '.join(sorted({check.detail for check in judged if check.verdict != 'true'})) or 'none lost'}"
        f" of {published:,} publishes in {runs} live runs with {killed} SIGKILLs",
        _all(check.verdict for check in judged),
        "every acknowledged publish is looked for among the handled and dead-lettered, in notes that survive a kill",
    )


def _recovers(comparisons: Sequence[Comparison]) -> Claim:
    found = [
        (name, measure(c.live)[metric])
        for c in comparisons
        for name in {fault.service for fault in c.live.scenario.faults if fault.kind == "kill"}
        for metric in (f"{name}.recovery_s", "recovery_s")
        if metric in measure(c.live)
    ]
    if not found:
        return Claim("A killed consumer's work is taken over", "no consumer was killed", "unknown", "")
    worst_s = max(float(values.max()) for _, values in found)
    names = ", ".join(name for name, _ in found)
    return Claim(
        "A killed consumer's work is taken over",
        f"the backlog of {names} was back {worst_s:.2f} s after SIGKILL at the latest",
        "unknown" if np.isnan(worst_s) else "true" if np.isfinite(worst_s) else "false",
        "time from the kill until the sampled backlog stays a second long at or below its highest before the kill",
    )


def _dead_letters(comparisons: Sequence[Comparison]) -> Claim:
    noted = sum(int((c.live.rows["kind"] == KIND["dead"]).sum()) for c in comparisons)
    kept = sum(left.dead for c in comparisons for run in c.live.runs for left in run.left.values())
    within = [check for c in comparisons for check in c.checks if check.name == "attempts_within_policy"]
    verdict = _all(check.verdict for check in within) if noted <= kept else "false"
    return Claim(
        "What keeps failing is tried as often as its policy says, then kept in the dead-letter queue",
        f"{noted} given up, {kept} found in the dead-letter queues; attempts beyond the policy: "
        + ", ".join(check.detail for check in within),
        verdict,
        "dead letters that the consumers noted against the length of the queues in Redis",
    )


def _sustained(history: History) -> Claim:
    per_s = float(measure(history)["throughput_per_s"][0])
    late_s = float(np.quantile(lateness_s(history.rows), 0.99))
    return Claim(
        "Processing sustains 1,000 messages a second and more",
        f"{per_s:,.0f}/s handled of 2,000/s offered; the generator's p99 lateness was {late_s * 1000:.1f} ms",
        "true" if per_s >= 1000 and judge(history)[0].verdict == "true" else "false",
        "3 s of open-loop load on two consumer processes, retries and leases on",
    )


def _burst(per_s: float) -> Claim:
    return Claim(
        "Publishing bursts reach 50,000 messages a second",
        f"{per_s:,.0f}/s",
        "true" if per_s >= 50_000 else "false",
        f"publish_many of {_BURST:,} typed events of about 470 bytes, encoded, sent and acknowledged by one process",
    )


def _latency(idle: History) -> Claim:
    frame = idle.frame()
    sent_s = frame[(frame["kind"] == "sent") & (frame["event"] == "first")].set_index("message")["t_s"]
    first = frame[(frame["kind"] == "started") & (frame["service"] == "one") & (frame["attempt"] == 1)]
    latencies_s = (first.set_index("message")["t_s"] - sent_s).to_numpy()
    p50_ms, p99_ms = (float(np.quantile(latencies_s, q)) * 1000 for q in (0.5, 0.99))
    return Claim(
        "An event reaches an idle service in less than a millisecond",
        f"p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms",
        "true" if p50_ms < 1.0 else "false",
        "from handing it to the bus in one process to the start of the handler in another, 100/s",
    )


def _all(verdicts: Iterable[Verdict]) -> Verdict:
    found = set(verdicts)
    if "false" in found:
        return "false"
    return "true" if found == {"true"} else "unknown"
