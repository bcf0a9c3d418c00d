"""Histories written by hand, so that what metrics and checks must say of them is known."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from eventlib.policy import Retry
from sim.declare.faults import Fault
from sim.declare.scenario import Scenario
from sim.evidence.history import KIND, ROW, History, Left, Run, World, sorted_rows
from tests.model.small import scenario, service, steady

Row = tuple[Any, ...]
NOTHING = Left(0, 0, 0, 0, 0)


def desk(*faults: Fault) -> Scenario:
    """One service that allows three attempts."""
    return scenario(steady(5.0, 2.0), *faults, desk=service(retry=Retry(attempts=3)))


def chain() -> Scenario:
    """`billing` consumes event 0 and emits event 1, which `shipping` consumes."""
    return scenario(steady(10.0, 1.0), billing=service(emits=("paid",)), shipping=service(consumes="paid"))


def row(kind: str, t_s: float, **columns: Any) -> Row:
    """One row; what is not given is none."""
    blank = {"run": 0, "service": -1, "consumer": -1, "event": -1, "message": -1, "attempt": 0}
    filled = blank | {"intended_s": np.nan, "value": np.nan} | columns | {"kind": KIND[kind], "t_s": t_s}
    return tuple(filled[name] for name in ROW.names or ())


def sent(message: int, at_s: float, *, late_s: float = 0.0, **columns: Any) -> list[Row]:
    """The load sends a message, and the server has it at once."""
    there = {"event": 0, "message": message, "intended_s": at_s} | columns
    return [row(kind, at_s + late_s, **there) for kind in ("sent", "published")]


def attempted(
    message: int, start_s: float, end_s: float, outcome: str = "handled", attempt: int = 1, **columns: Any
) -> list[Row]:
    """A handler's attempt, and what became of it: handled and acknowledged, retried or dead."""
    there = {"service": 0, "consumer": 0, "event": 0, "message": message, "attempt": attempt, "intended_s": 0.0}
    ends = {"handled": ("handled", "acked"), "retried": ("failed", "retried"), "dead": ("failed", "dead")}[outcome]
    rows = [row("started", start_s, **there | columns)]
    return rows + [row(kind, end_s, **there | columns) for kind in ends]


def whole(message: int, at_s: float, end_s: float, **columns: Any) -> list[Row]:
    """A message that is sent at `at_s` and handled at `end_s`, as it should be."""
    return sent(message, at_s) + attempted(message, at_s, end_s, **{"intended_s": at_s} | columns)


def sampled(values: Iterable[float], every_s: float = 0.1, **columns: Any) -> list[Row]:
    """Looks at the backlog, `every_s` seconds apart."""
    return [row("sampled", i * every_s, value=value, **{"service": 0} | columns) for i, value in enumerate(values)]


def history(
    *groups: Iterable[Row],
    declared: Scenario | None = None,
    world: World = "live",
    seeds: Iterable[int] = (0,),
    left: Left = NOTHING,
    ended_s: float = 10.0,
) -> History:
    """All the rows, in order; a seed that comes again is a repeat."""
    declared = declared or desk()
    seeds = list(seeds)
    runs = tuple(
        Run(seed, seeds[:index].count(seed), ended_s, dict.fromkeys(declared.services, left))
        for index, seed in enumerate(seeds)
    )
    rows = np.array([one for group in groups for one in group], ROW)
    return History(world, declared, "Redis 8.2", runs, sorted_rows(rows))
