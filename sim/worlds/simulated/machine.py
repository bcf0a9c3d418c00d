"""The machine that a simulated run happens on: what each step takes there, and who waits for a processor.

Every process does one thing at a time, and so does the server. What comes while a process is busy is done when it is
free, and then needs no waking up. Where more processes are busy than there are cores, each is slower by as much.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from sim.calibration import Calibration
from sim.timings import RESTS_S, STEPS, CpuCost, rest_class

_DRAWN = 512  # samples that are drawn at once

Draw = Callable[[], float]


class Machine:
    """One machine in one run. What it adds to a scenario comes from random streams of its own."""

    def __init__(self, calibration: Calibration | None, seed: int, repeat: int = 0) -> None:
        self._stream = (seed, 2, repeat)
        self._calibration = calibration
        self.instant = calibration is None  # nothing takes any time: asking again and again would cost a tenth
        self._costs: dict[str, CpuCost] = {}
        self._cores = calibration.cores if calibration is not None else 1
        # Whether handlers that compute share the cores. Where no machine was measured, there is one for each process.
        self.shares = calibration is not None and bool(calibration.machine) and "cpu" not in calibration.left_out
        self._busy: list[BusyProcess] = []  # those that were busy lately
        self._starting: list[BusyProcess] = []  # those that were starting lately
        self.used_s = 0.0  # of the cores, by those that ran
        classes = range(len(RESTS_S) + 1)
        self._draws = {step: [self._sampler(place, step, rest) for rest in classes] for place, step in enumerate(STEPS)}
        self.server = Server(self.process("server"))

    def takes_s(self, step: str, rest: int = 0) -> float:
        """What a step takes this time, after a rest of this class."""
        return self._draws[step][rest]()

    def process(self, role: str) -> "Process":
        """A new process of this role."""
        if self._calibration is None:
            return _FREE
        if role not in self._costs:
            self._costs[role] = self._calibration.cpu_cost(role)
        return BusyProcess(self, self._costs[role])

    def starts_s(self, now: float, many: int, import_s: float = 0.0) -> list[float]:
        """How long each of so many processes takes to start that begin to start now; each imports for `import_s`.

        All of that is computing. So where there are more of them than cores, each goes on as fast as its share of the
        cores lets it (processor sharing), and the others feel them. What the others have used of the cores so far, on
        average, they go on using, up to a half.
        """
        takes_s = [self.takes_s("start_s") + import_s for _ in range(many)]
        if not self.shares:
            return takes_s
        self._starting = [one for one in self._starting if one.free_s > now]
        others = min(self.used_s / now, self._cores / 2) if now > 0.0 else 0.0
        takes_s = _shared_s(takes_s, self._cores - others, len(self._starting))
        for one_s in takes_s:
            starting = BusyProcess(self, CpuCost(), now + one_s)
            self._starting.append(starting)
            self._busy.append(starting)
        return takes_s

    def slowed_down_s(self, process: "BusyProcess", now: float, cpu_s: float) -> float:
        """How much longer a process needs for `cpu_s` of a processor that it shares with those that are busy now.

        Of n busy processes on c < n cores, each goes on at the rate c / n (processor sharing).
        """
        self._busy = [one for one in self._busy if one.free_s > now and one is not process]
        self._busy.append(process)
        n = len(self._busy)
        return cpu_s * (n / self._cores - 1.0) if n > self._cores else 0.0

    def _sampler(self, place: int, step: str, rest: int) -> Draw:
        samples = self._calibration.samples_s(step, rest) if self._calibration is not None else np.zeros(1)
        if samples.size == 1:
            only = float(samples[0])
            return lambda: only
        rng: Any = None
        drawn: list[float] = []

        def draw() -> float:
            nonlocal rng
            if not drawn:
                rng = rng or np.random.default_rng(np.random.SeedSequence((*self._stream, place, rest)))
                drawn.extend(samples[rng.integers(samples.size, size=_DRAWN)].tolist())
            return drawn.pop()

        return draw


class Process:
    """A process of an infinitely fast machine: nothing takes any time."""

    start_s = 0.0  # from the start of one event of a batch to that of the next

    def takes_s(self, step: str) -> float:
        """What a step takes this time that follows on what woke the process up."""
        return 0.0

    def woken_s(self, step: str, now: float) -> float:
        """What a step takes this time that wakes the process up now, if nothing else does meanwhile."""
        return 0.0

    def does_s(self, step: str, now: float, share: float = 0.5) -> float:
        """The process has something to do now. When it is done, in seconds from now.

        An idle one wakes up and takes what the step takes. A busy one finishes what it does and needs no waking.
        `share` is the part of an event's processor time that is due now.
        """
        return 0.0

    def late_s(self, now: float, events: int = 1, share: float = 0.5) -> float:
        """How much later than now a busy process gets to events that come now; 0 where it is idle."""
        return 0.0

    def computes_s(self, now: float, cpu_s: float) -> float:
        """How long a handler computes from now on that needs `cpu_s` of a processor. Here, each process has a core."""
        return cpu_s


class BusyProcess(Process):
    """A process of a real machine: when it is free, and how long it had rested before it last woke up."""

    def __init__(self, machine: Machine, cost: CpuCost, free_s: float = float("-inf")) -> None:
        self.start_s = cost.event_s / 2.0
        self._machine = machine
        self._rest = 0  # class of the rest before it last woke up
        self._wake_s = cost.wake_s
        self._event_s = cost.event_s
        self.free_s = free_s

    def takes_s(self, step: str) -> float:
        return self._machine.takes_s(step, self._rest)

    def woken_s(self, step: str, now: float) -> float:
        return self._machine.takes_s(step, rest_class(now - self.free_s))

    def does_s(self, step: str, now: float, share: float = 0.5) -> float:
        work_s = self._event_s * share
        if (late_s := self.free_s - now) > 0.0:
            return late_s + self._works_s(now, late_s, work_s)
        self._wakes(now)
        takes_s, work_s = self._machine.takes_s(step, self._rest), work_s + self._wake_s
        slowed_s = self._works_s(now, 0.0, work_s) - work_s
        # The step is done before all the work is that follows from it, so it bears its part of being slowed down.
        return takes_s + slowed_s * min(1.0, takes_s / work_s) if slowed_s else takes_s

    def late_s(self, now: float, events: int = 1, share: float = 0.5) -> float:
        work_s = self._event_s * share * events
        if (late_s := self.free_s - now) > 0.0:
            self._works_s(now, late_s, work_s)
            return late_s
        self._wakes(now)
        self._works_s(now, 0.0, self._wake_s + work_s)
        return 0.0

    def computes_s(self, now: float, cpu_s: float) -> float:
        if not self._machine.shares:
            return cpu_s
        self._machine.used_s += cpu_s
        cpu_s += self._machine.slowed_down_s(self, now, cpu_s)
        self.free_s = max(self.free_s, now + cpu_s)
        return cpu_s

    def _wakes(self, now: float) -> None:
        self._rest = rest_class(now - self.free_s)
        self.free_s = now

    def _works_s(self, now: float, after_s: float, cpu_s: float) -> float:
        """Work when it is free, `after_s` from now. How long that takes."""
        if cpu_s > 0.0:
            self._machine.used_s += cpu_s
            cpu_s += self._machine.slowed_down_s(self, now, cpu_s)
            self.free_s = now + after_s + cpu_s
        return cpu_s


def _shared_s(takes_s: list[float], cores: float, others: int) -> list[float]:
    """How long jobs take that begin together and share the cores with so many others; `takes_s` is what each needs."""
    shared_s, now_s, done_s = [0.0] * len(takes_s), 0.0, 0.0
    shortest_first = sorted(range(len(takes_s)), key=takes_s.__getitem__)
    for ended, place in enumerate(shortest_first):
        now_s += (takes_s[place] - done_s) * max(1.0, (len(takes_s) - ended + others) / cores)
        shared_s[place], done_s = now_s, takes_s[place]
    return shared_s


_FREE = Process()


class Server:
    """The server: one process that all others ask. A command waits for those that came before it.

    What a process asks at one moment waits once: that these commands follow each other is part of the steps measured.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._asked: tuple[object, float, float] = (None, float("-inf"), 0.0)  # by whom, when, and how long it waits

    def late_s(self, now: float, by: object, events: int = 1) -> float:
        """How much later than now the server gets to a command of this process, about so many events."""
        if self._process is _FREE:
            return 0.0
        late_s = self._process.late_s(now, events, share=1.0)
        last_by, last_at, last_late_s = self._asked
        if last_by is by and last_at == now:
            return last_late_s
        self._asked = by, now, late_s
        return late_s
