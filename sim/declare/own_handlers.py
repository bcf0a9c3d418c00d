"""What is known of a service's own handlers: what their App declares, and what a short run showed of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from sim.declare.declared import Declared, Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.service_times.empirical import EmpiricalTime

MAX_SLOTS = 32  # events of one type that are numbered for one handled message, as long as it is not learned how many

Counts = npt.NDArray[np.int64]


class WireNames(Declared):
    """How events of one type travel."""

    version: int = Field(ge=1)
    stream: str


class Occurrences(Declared):
    """How often something happens to a message: `shares` are those of the messages with 0, 1, 2, ... of it."""

    shares: tuple[Annotated[float, Field(ge=0)], ...] = Field(min_length=1, max_length=MAX_SLOTS + 1)

    @model_validator(mode="after")
    def _has_some(self) -> Self:
        if not sum(self.shares) > 0:
            raise ValueError("shares: all are 0; give the share of each number of times, such as [0.9, 0.1]")
        return self

    def draw(self, n: int, rng: np.random.Generator) -> Counts:
        """How often it happens to each of n messages, shape (n,)."""
        shares = np.array(self.shares)
        return np.asarray(rng.choice(shares.size, n, p=shares / shares.sum()), np.int64)


class Emission(Occurrences):
    """What handlers publish of one event type, for each message that they handle.

    `shares` are those of the messages with 0, 1, 2, ... such events. They are published when the share `after` of the
    handling time has passed.
    """

    after: float = Field(default=1.0, ge=0, le=1)

    @property
    def mean(self) -> float:
        return sum(count * share for count, share in enumerate(self.shares))

    @property
    def slots(self) -> int:
        """For how many events of a message there are numbers: more than were seen, because a longer run sees more."""
        return min(MAX_SLOTS, 2 * max(1, len(self.shares) - 1))


class Learned(Declared):
    """What a short run showed of handlers, beside their service time and error rate. `attempts` is how long it was.

    An attempt at what failed before fails with probability `retry_error_rate`: handlers fail for a while, or for what
    the message says. An attempt rejects its message for good with probability `reject_rate`. `emits` are by event type.

    Attempts that fail, reject or snooze take `failed_time`, because a time-out takes longer than a success. Before its
    first attempt that counts, a message is snoozed as often as `snoozes` says, each time for `snooze_s`. The share
    `put_off_share` of the failures asks for its own wait, of `put_off_s`, in place of the retry policy's.

    Where the service follows a field of the payload, an attempt that succeeds takes `per_unit_s` for each unit of it
    beside the service time, and computes for `cpu_per_unit_s` of that. A call of a batch handler computes for
    `cpu_per_message_s` for each message.
    """

    attempts: int = Field(ge=1)
    retry_error_rate: float = Field(default=0.0, ge=0, le=1)
    reject_rate: float = Field(default=0.0, ge=0, le=1)
    emits: Mapping[str, Emission] = Field(default_factory=dict)
    failed_time: EmpiricalTime | None = None  # None: no attempt failed
    snoozes: Occurrences = Occurrences(shares=(1.0,))
    snooze_s: float = Field(default=0.0, ge=0)
    put_off_share: float = Field(default=0.0, ge=0, le=1)
    put_off_s: float = Field(default=0.0, ge=0)
    per_unit_s: float = Field(default=0.0, ge=0)
    cpu_per_unit_s: float = Field(default=0.0, ge=0)
    cpu_per_message_s: float = Field(default=0.0, ge=0)

    def draw_failing(self, n: int, rng: np.random.Generator, load: LoadKind) -> "FailingDraws":
        """What attempts at n messages take where they fail, and how often each message is snoozed."""
        snoozes = self.snoozes.draw(n, rng)
        if self.failed_time is None:
            return FailingDraws(None, None, snoozes)
        whole_s, cpu_s = self.failed_time.draw_parts(n, rng, load)
        return FailingDraws(whole_s, np.zeros(n) if cpu_s is None else cpu_s, snoozes)


class FailingDraws(NamedTuple):
    """What one seed makes of attempts that do not succeed. All have shape (messages,); None: as those that do."""

    whole_s: Floats | None
    cpu_s: Floats | None
    snoozes: Counts


class OwnHandlers(Declared):
    """What is known of the App and its handlers. `learned` is missing until they have run.

    `digest` is that of the handler's code. Importing the App takes `import_s` seconds.
    """

    digest: str
    import_s: float = Field(ge=0)
    learned: Learned | None = None


@dataclass(frozen=True, slots=True)
class Emitted:
    """Numbers of what a service publishes for one handled message: `slots` of them from `first` on, per way."""

    event: str
    first: int
    slots: int
