"""Messages that a service can never handle."""

from collections.abc import Callable
from math import inf
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sim.declare.declared import Floats
from sim.declare.faults.kind import (
    Draw,
    Ending,
    FaultKind,
    PoisonInParts,
    ServiceFault,
    System,
    consumer_parts,
    drawn_of,
)
from sim.declare.faults.kind import Poison as Poisoned
from sim.declare.faults.worlds import Injection, LiveWorld, SimulatedWorld
from sim.declare.parts import PART
from sim.errors import InvalidTrace

KILLS_MAX = 100  # processes that poison may end in a run: each takes some 10 ms of the machine
_ENDINGS: dict[str, Ending] = {"fail": "fails", "kill": "kills"}


class Poison(ServiceFault):
    """Of the events that the load sends from `at_s` on, for `for_s` (None: to its end), some can never be handled.

    They are a `share` of the events, drawn by the seed, or the `messages` with these numbers. Every attempt at what
    they set off at the service fails; or, with `how: kill`, it kills its consumer at its end, and a new one starts
    `back_after_s` later. Either way, they end as dead letters.
    """

    kind: Literal["poison"]
    at_s: float = Field(default=0.0, ge=0)
    for_s: float | None = Field(default=None, gt=0)
    share: float | None = Field(default=None, gt=0, le=1)
    messages: tuple[int, ...] = ()
    how: Literal["fail", "kill"] = "fail"
    back_after_s: float = Field(default=0.0, ge=0)

    notes: ClassVar = ("killed", "restarted")
    done_to_it: ClassVar = "killed by poison"

    @property
    def until_s(self) -> float:
        return inf if self.for_s is None else self.at_s + self.for_s

    @property
    def label(self) -> str:
        return f"{self.service} poisoned"

    def in_words(self, system: System) -> str:
        if self.share is not None:
            which = f"{100 * self.share:g} % of the events"
        else:
            which = f"event {self.messages[0]}" if len(self.messages) == 1 else f"{len(self.messages)} events"
        until = f" to {self.until_s:g} s" if self.for_s is not None else " on"
        s = "s" if len(self.messages) == 1 else ""
        does = f"kill{s} the consumers of" if self.how == "kill" else f"fail{s} at"
        return f"From {self.at_s:g} s{until}, {which} always {does} {self.service}."

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind:
        service, share = draw.service(), draw.share(0.02, 0.2)
        return drawn_of(cls, draw, kind="poison", service=service, for_s=round(draw.lasts_s, 3), share=share)

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.share is None) == (not self.messages):
            raise ValueError("share: say which events are poison, by their share or by their numbers (messages)")
        if any(number < 0 for number in self.messages):
            raise ValueError("messages: the load's events are numbered from 0")
        return self

    def parts(self, system: System) -> frozenset[str]:
        if self.how == "fail":
            return frozenset()
        return consumer_parts(system, self.service)

    @property
    def parts_until_s(self) -> float:
        return inf if self.how == "kill" else self.until_s  # its messages are retried after it is over

    @property
    def planned(self) -> bool:
        return self.how == "fail"

    def problem(self, system: System) -> str | None:
        if problem := super().problem(system) or self.own_handlers_problem(system):
            return problem
        if system.offered_load.looping:
            return "which events are poison goes by when they are sent, which a closed loop decides; leave it out"
        service = system.services[self.service]
        if service.saga is not None:
            return f"{self.service!r} runs sagas, which have no dead letters; poison another service"
        if self.how == "kill" and (kills := self._messages(system) * service.retry.attempts) > KILLS_MAX:
            return f"about {kills:,.0f} consumers would be killed by poison, over {KILLS_MAX}; lower share or attempts"
        return None

    def _messages(self, system: System) -> float:
        """About how many messages of its service it poisons at most, as if the load were even."""
        load, consumed = system.offered_load, system.services[self.service].consumes
        tries = system.callers.retry.attempts if system.callers is not None else 1
        if self.share is None:
            return float(len(self.messages) * tries * system.flow.paths[consumed])
        try:
            length_s = load.duration_s
        except InvalidTrace:  # the run refuses it
            return 0.0
        lasts_s = max(0.0, min(self.until_s, length_s) - self.at_s)
        part = lasts_s / length_s if length_s else 1.0  # of a trace of one row
        return self.share * part * load.expected_events() * tries * system.flow.means[consumed]

    def poison(self, arrivals_s: Floats, rng: np.random.Generator) -> Poisoned:
        chosen = np.zeros(arrivals_s.size, bool)
        if self.share is not None:
            chosen = rng.random(arrivals_s.size) < self.share
        else:
            chosen[[number for number in self.messages if number < arrivals_s.size]] = True
        chosen &= (arrivals_s >= self.at_s) & (arrivals_s < self.until_s)
        return Poisoned(self.service, _ENDINGS[self.how], np.flatnonzero(chosen))

    def poison_in_parts(
        self, events: int, before: Callable[[float], int], rng: np.random.Generator
    ) -> PoisonInParts | None:
        first, until = before(self.at_s), before(self.until_s)
        ending = _ENDINGS[self.how]
        if (share := self.share) is None:
            return PoisonInParts(self.service, ending, first, until, frozenset(self.messages).__contains__)
        bits, base = bytearray(), first // PART * PART  # a bit for each event, from the part of the first on
        for start in range(0, until, PART):
            drawn = rng.random(min(PART, events - start)) < share
            bits += np.packbits(drawn).tobytes() if start >= base else b""
        return PoisonInParts(
            self.service, ending, first, until, lambda event: bool(bits[(event - base) // 8] >> (7 - event % 8) & 1)
        )

    async def inject_live(self, world: LiveWorld) -> None:
        while self.how == "kill":
            consumer = await world.death(self.service)
            world.note("killed", self.service, consumer)
            world.begin(self._replace_live(world, consumer))

    async def _replace_live(self, world: LiveWorld, consumer: int) -> None:
        await world.start(self.service, consumer, after_s=self.back_after_s)
        if consumer in world.consumers(self.service):  # else the service was scaled down meanwhile
            world.note("restarted", self.service, consumer)

    def inject_simulated(self, world: SimulatedWorld) -> Injection:
        while self.how == "kill":
            consumer = yield world.death(self.service)
            world.note("killed", self.service, consumer)
            world.begin(self._replace_simulated(world, consumer))

    def _replace_simulated(self, world: SimulatedWorld, consumer: int) -> Injection:
        yield world.start(self.service, consumer, after_s=self.back_after_s)
        if consumer in world.consumers(self.service):  # else the service was scaled down meanwhile
            world.note("restarted", self.service, consumer)
