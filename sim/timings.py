"""What is timed of a machine: how long each step takes, and what each process needs of the processor.

The functions read it from a file's JSON, and raise LookupError, TypeError or ValueError where it is something else.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STEPS = {
    "lateness_s": "from when the load is meant to send an event until it does",
    "append_s": "from handing an event to the bus until the server has it",
    "publish_s": "from handing an event to the bus until its reply",
    "dispatch_s": "from the server to the start of the handler, where a reader waits for the entry",
    "read_s": "from asking to the start of the handler, where the entry waits for a reader",
    "next_s": "from the end of a handler to the start of the next, where its event was read ahead",
    "handle_s": "what a handler takes longer than its service time",
    "settle_s": "from the end of a handler until the server knows",
    "retry_s": "what a retry comes later than its delay, beside the dispatch",
    "start_s": "from starting a consumer until it reads",
}
ROLES = {
    "generator": "the process that sends the load: for each batch, and for each event",
    "consumer": "the process of a consumer: for each time that it wakes up, and for each event",
    "server": "Redis: for each command, and for each event",
}
RESTS_S = (0.001, 0.004, 0.016, 0.064)  # how long a process had rested: these bounds make five classes


def rest_class(rest_s: float) -> int:
    """The class of a rest of so many seconds: an index of `Block.steps`."""
    return bisect_right(RESTS_S, rest_s)


@dataclass(frozen=True, slots=True)
class Block:
    """What was measured in about a second of one run. `steps` has seconds, by step and class of rest."""

    run: int
    steps: Mapping[str, Sequence[Sequence[float]]]


@dataclass(frozen=True, slots=True)
class CpuUse:
    """What one process used of the processor in one run of `lasted_s` seconds, and what for.

    `wakes` counts batches or commands.
    """

    run: int
    role: str
    cpu_s: float
    wakes: float
    events: float
    lasted_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CpuCost:
    """Seconds of processor time that a process needs each time that it is woken up, and for each event."""

    wake_s: float = 0.0
    event_s: float = 0.0


def read_blocks(found: Sequence[Mapping[str, Any]]) -> tuple[Block, ...]:
    """The blocks of a file."""
    blocks = tuple(
        Block(int(block["run"]), {step: _seconds(step, block["steps"][step]) for step in block["steps"]})
        for block in found
    )
    if not any(of_class for block in blocks for step in block.steps.values() for of_class in step):
        raise ValueError("there are no blocks with times")
    return blocks


def read_cpu_use(found: Mapping[str, Any]) -> CpuUse:
    """What one process used, of a file."""
    if found["role"] not in ROLES:
        raise ValueError(f"there is no role {found['role']!r}")
    numbers = (read_positive(name, found[name]) for name in ("cpu_s", "wakes", "events", "lasted_s"))
    return CpuUse(int(found["run"]), found["role"], *numbers)


def read_texts(name: str, found: Mapping[str, str]) -> dict[str, str]:
    """Texts by name, of a file. `name` is what they are called there."""
    if not all(isinstance(text, str) for text in found.values()):
        raise ValueError(f"{name} is no text by name")
    return dict(found)


def read_scales(found: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The scales of a file."""
    scales = {step: [float(one) for one in found[step]] for step in found}
    for step, of_step in scales.items():
        if step not in STEPS or len(of_step) != len(RESTS_S) + 1 or not all(0.0 < one < np.inf for one in of_step):
            raise ValueError(f"the scales of {step} are not {len(RESTS_S) + 1} positive numbers")
    return scales


def read_positive(name: str, found: object) -> float:
    """A number of a file that is 0 or more."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0.0 <= found < np.inf:
        raise ValueError(f"{name} is {found!r}, no number of 0 or more")
    return float(found)


def _seconds(step: str, classes: Sequence[Sequence[float]]) -> list[list[float]]:
    if step not in STEPS:
        raise ValueError(f"there is no step {step!r}")
    seconds = [[float(one) for one in of_class] for of_class in classes]
    if len(seconds) > len(RESTS_S) + 1 or not all(0.0 <= one < np.inf for of_class in seconds for one in of_class):
        raise ValueError(f"{step} needs seconds in {len(RESTS_S) + 1} classes")
    return seconds
