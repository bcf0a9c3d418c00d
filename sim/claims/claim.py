"""A claim: one statement of the reference document, and how it is measured."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

from sim.claims.site import Site
from sim.evidence.claims import Finding

Measure = Callable[[Site], Awaitable[Finding]]


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement. `how` says in a sentence what is done to find out, `threshold` what has to come out.

    `limit_s` is how long the measurement may take; `noisy` says that it measures speed, so that other programs matter.
    `elsewhere` says that it starts other programs, waits for their ends, and judges no time and no foreign key: others
    may be measured beside it.
    """

    id: str
    theme: str
    sentence: str
    how: str
    threshold: str
    measure: Measure
    limit_s: float
    noisy: bool
    elsewhere: bool

    @property
    def number(self) -> int:
        return int(self.id.removeprefix("S"))


def claim(
    id_: str,
    sentence: str,
    *,
    theme: str,
    how: str,
    threshold: str,
    limit_s: float = 30.0,
    noisy: bool = False,
    elsewhere: bool = False,
) -> Callable[[Measure], Claim]:
    """Declare the decorated coroutine function as the measurement of a claim."""

    def declare(measure: Measure) -> Claim:
        return Claim(id_, theme, sentence, how, threshold, measure, limit_s, noisy, elsewhere)

    return declare


def claims_of(module: ModuleType) -> Iterator[Claim]:
    """The claims that a module declares."""
    return (value for value in vars(module).values() if isinstance(value, Claim))


def holds(
    held: bool, measured: str, *, distance: float | None = None, evidence: tuple[str, ...] = (), **numbers: float
) -> Finding:
    """True or false by a fact that no repetition would change."""
    return Finding("true" if held else "false", measured, numbers, distance=distance, evidence=evidence)


def counted(found: int, wanted: int, what: str, *, evidence: tuple[str, ...] = (), **numbers: float) -> Finding:
    """True if so many of `what` were found, or more."""
    text = f"{found:,} {what}"
    return holds(found >= wanted, text, distance=found / wanted, evidence=evidence, found=float(found), **numbers)


def unknown(why: str) -> Finding:
    """It could not be measured here."""
    return Finding("unknown", why)
