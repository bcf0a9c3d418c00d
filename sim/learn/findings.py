"""What was learned: each number with how it was found and how sure it is."""

from dataclasses import dataclass, field

from sim.declare.declared import Floats
from sim.learn.evidence import Consumers
from sim.learn.workers import Concurrency


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was learned. `low` and `high` bound it with 95 % confidence, where that can be said."""

    value: float
    unit: str  # "s", "1/s", "share" or ""
    how: str
    sure: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Retries:
    """What follows a failure, in the words of the library's own policy."""

    attempts: int
    wait_s: float
    jittered: bool  # the wait is drawn from zero to its double


@dataclass(frozen=True, slots=True)
class LagSeen:
    """Bounds of the quantiles of lag that were seen, in seconds: the ends of entries lie between two looks."""

    mean_s: float
    p50_s: tuple[float, float]
    p95_s: tuple[float, float]
    n: int
    first_attempts: bool  # the lag until the first attempt ended: the library puts retries aside under other ids
    unknown: str = ""  # why they are not known


@dataclass(frozen=True, slots=True)
class Learned:
    """A service as it was learned from its group."""

    arrivals_s: Floats  # since the first look; those that it found waiting or in hand are at 0
    at_begin: int  # how many of them were there at the first look
    begin_ms: float
    service_s: Floats  # equally probable values of the time that a handler takes
    consumers: Consumers
    workers: Concurrency
    retries: Retries | None  # None: nothing failed
    lag: LagSeen
    findings: dict[str, Finding]
    notes: list[str] = field(default_factory=list)
