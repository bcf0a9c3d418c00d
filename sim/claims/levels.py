"""Judging a speed that was measured several times: by its interval, and by what the machine itself can do."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from sim.evidence.claims import ClaimVerdict, Finding
from sim.wording import number

_BUSY_S = 0.05  # how long the processor is asked for
_SHARE_MIN = 0.8  # with less of a core, other programs are what is measured
_SCHEDULED = Path("/proc/thread-self/schedstat")  # of Linux: how long this thread ran, and how long it waited to run


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean of independent measurements and its 95 % interval, by Student's t. One alone has no bounds."""
    found = np.asarray(values, float)
    mean = float(found.mean())
    if len(found) < 2:
        return mean, float("-inf"), float("inf")
    half = float(stdtrit(len(found) - 1, 0.975) * found.std(ddof=1) / np.sqrt(len(found)))
    return mean, mean - half, mean + half


def share_of_a_core() -> float:
    """Which share of a processor a busy loop gets now. Other programs take the rest."""
    begun_s, used_s = time.perf_counter(), time.process_time()
    while time.perf_counter() - begun_s < _BUSY_S:
        pass
    return (time.process_time() - used_s) / (time.perf_counter() - begun_s)


async def quiet_share(looks: int = 5, gap_s: float = 0.05) -> float:
    """The median of some looks at `share_of_a_core`."""
    found = []
    for _ in range(looks):
        found.append(share_of_a_core())
        await asyncio.sleep(gap_s)
    return float(np.median(found))


@dataclass(slots=True)
class Core:
    """Which share of a processor core this thread gets: the least of before, meanwhile and afterwards."""

    share: float = 1.0


@asynccontextmanager
async def core() -> AsyncIterator[Core]:
    """Look at the share of a core around the block, and on Linux while it runs. It is known at the block's end."""
    found = Core(await quiet_share())
    before_s = _ran_and_waited_s()
    yield found
    ran_s, waited_s = (now - before for now, before in zip(_ran_and_waited_s(), before_s, strict=True))
    meanwhile = ran_s / (ran_s + waited_s) if waited_s > 0 else 1.0
    found.share = min(found.share, meanwhile, await quiet_share())


def _ran_and_waited_s() -> tuple[float, float]:
    """For how long this thread has run, and has waited for a processor while it could have run.

    Source: the kernel's Documentation/scheduler/sched-stats.rst. Nothing where the system does not tell.
    """
    try:
        ran_ns, waited_ns, _ = _SCHEDULED.read_text().split()
    except (OSError, ValueError):
        return 0.0, 0.0
    return int(ran_ns) / 1e9, int(waited_ns) / 1e9


def at_least(
    threshold: float,
    values: Sequence[float],
    unit: str,
    *,
    limit: float,
    limit_of: str,
    share: float,
    ratio: bool = False,
) -> Finding:
    """Is a speed at least `threshold`? `limit` is what the machine could do at best, as `limit_of` says.

    Unknown where the interval has the threshold inside, or where it is missed and the machine could not do it. Other
    programs only make things slower: a speed that is reached beside them holds. One that is missed is unknown where
    this process had less than 80 % of a core (`share`), and so is every `ratio` of two speeds.
    """
    mean, low, high = mean_interval(values)
    reached = "true" if low >= threshold else "false" if high < threshold else "unknown"
    beyond = limit < threshold
    return _judged(reached, threshold, (mean, low, high), unit, limit, limit_of, share, beyond, len(values), ratio)


def at_most(
    threshold: float, values: Sequence[float], unit: str, *, limit: float, limit_of: str, share: float
) -> Finding:
    """Is a time at most `threshold`? As `at_least`, the other way round."""
    mean, low, high = mean_interval(values)
    reached = "true" if high <= threshold else "false" if low > threshold else "unknown"
    beyond = limit > threshold
    found = _judged(reached, threshold, (mean, low, high), unit, limit, limit_of, share, beyond, len(values))
    return replace(found, numbers={**found.numbers, "lower_is_better": 1.0})


def _judged(
    reached: str,
    threshold: float,
    found: tuple[float, float, float],
    unit: str,
    limit: float,
    limit_of: str,
    share: float,
    beyond: bool,
    runs: int,
    ratio: bool = False,
) -> Finding:
    mean, low, high = found
    text = f"{number(mean)} {unit} (95 % interval {number(low)} to {number(high)}, n = {runs})"
    text += f"; the limit here, {limit_of}, is {number(limit)} {unit}"
    verdict: ClaimVerdict = "true" if reached == "true" else "false" if reached == "false" else "unknown"
    if share < _SHARE_MIN and (ratio or verdict != "true"):
        verdict, text = "unknown", f"{text}; too noisy to tell: this process got only {share:.0%} of a core"
    elif beyond and verdict == "false":
        verdict, text = "unknown", f"{text}; the machine itself is too slow"
    elif verdict == "unknown":
        text = f"{text}; too noisy to tell: the threshold lies inside the interval"
    numbers = {"mean": mean, "machine_limit": limit, "share_of_a_core": share, "threshold": threshold}
    return Finding(verdict, text, numbers, (low, high), mean / threshold)
