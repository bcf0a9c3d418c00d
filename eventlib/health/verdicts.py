"""Whether a program is alive, and whether it is ready. Pure: it judges what was noted, and when."""

from collections.abc import Iterator
from dataclasses import dataclass

from eventlib.consume.liveness import ConsumerHealth
from eventlib.publish.publisher import PublishLoad


@dataclass(frozen=True, slots=True)
class Limits:
    """For how many seconds something may last before a probe fails.

    `blocked_s` is for the event loop that does not go on. `deaf_s` is for a server that does not answer, and for a
    consumer or a publisher that is full. A read ends once a second: a deaf consumer is noticed `deaf_s` after the last.
    """

    blocked_s: float = 10.0
    deaf_s: float = 8.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a probe is told. It is good if there is no problem."""

    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How a program stood at one moment, as its event loop noted it.

    `silent_s` is since when the server has answered no question, `problem` the last failure of a connection, if the
    server was not heard since. `left` is true if consumers ran and none runs any more, `closed` if the bus is closing.
    """

    consumers: tuple[ConsumerHealth, ...]
    load: PublishLoad
    silent_s: float
    problem: str | None
    outstanding: int
    scheduling: tuple[str, ...]
    left: bool
    closed: bool


def alive(loop_silent_s: float, limits: Limits) -> Verdict:
    """Whether the process can still do something. A server that is away is no reason to end it."""
    if loop_silent_s > limits.blocked_s:
        return Verdict((f"the event loop has not gone on for {loop_silent_s:.1f} s; a handler may block it",))
    return Verdict(())


def ready(seen: Snapshot, loop_silent_s: float, limits: Limits) -> Verdict:
    """Whether the program does its work now: it is alive, hears, keeps its leases, has room, and is not leaving."""
    return Verdict((*alive(loop_silent_s, limits).problems, *_unready(seen, limits)))


def _unready(seen: Snapshot, limits: Limits) -> Iterator[str]:
    if seen.closed:
        yield "the bus is closing"
    elif seen.left:
        yield "its consumers have ended"
    if seen.silent_s > limits.deaf_s:
        yield f"the server has not answered for {seen.silent_s:.1f} s{_because(seen.problem)}"
    for consumer in seen.consumers:
        for problem in _of_consumer(consumer, limits.deaf_s):
            yield f"{consumer.stream}/{consumer.group} {problem}"
    if seen.load.waiting_s > limits.deaf_s:
        yield f"a publish has waited for {seen.load.waiting_s:.1f} s"


def _of_consumer(consumer: ConsumerHealth, deaf_s: float) -> Iterator[str]:
    if consumer.leaving:
        yield "is leaving"
    elif not consumer.running:
        yield "has ended"
    if consumer.silent_s > deaf_s:
        yield f"has heard nothing for {consumer.silent_s:.1f} s{_because(consumer.problem)}"
    if consumer.leases_due_s > deaf_s:
        yield f"could not renew its leases for {consumer.leases_due_s:.1f} s{_because(consumer.problem)}"
    if consumer.full_s > deaf_s and consumer.circuit in ("open", "half-open"):
        yield f"has been paused for {consumer.full_s:.1f} s by its circuit breaker: its handlers failed too often"
    elif consumer.full_s > deaf_s:
        yield f"has been full for {consumer.full_s:.1f} s: its handlers hold {consumer.in_hand} entries"


def _because(problem: str | None) -> str:
    return "" if problem is None else f" ({problem})"
