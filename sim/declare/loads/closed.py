"""A load of clients that wait for an answer before they ask again."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from sim.declare.declared import Floats
from sim.declare.loads.kind import Arrivals, LoadKind
from sim.wording import quantity


class ClosedLoad(LoadKind):
    """A closed loop: each of the `clients` thinks, sends a request, waits until it is answered or given up, and so on.

    Times to think are exponential with the mean `think_s`, or `constant`; then the first one is a part of it, so that
    the clients do not all come at once. After `duration_s`, no client asks anything new. What is waited for, and for
    how long, is said by the scenario's callers.

    So the system decides how much is sent. The plan has numbers for as many requests as there would be if each was
    answered at once: request k of client c has the number k * clients + c.
    """

    kind: Literal["closed"]
    clients: int = Field(le=100_000)
    think_s: float = Field(ge=0.001, le=1e6)
    think: Literal["exponential", "constant"] = "exponential"
    duration_s: float = Field(gt=0, le=1e6)

    grows_with: ClassVar = ("clients", "duration_s")

    @field_validator("clients")
    @classmethod
    def _has_clients(cls, clients: int) -> int:
        if clients < 1:
            raise ValueError("a closed loop without clients sends nothing; give at least one")
        return clients

    @property
    def looping(self) -> int:
        return self.clients

    def draw(self, rng: np.random.Generator) -> Arrivals:
        """When each request would be made if all before it were answered at once."""
        think_s = self._think_s(rng)
        earliest_s = np.cumsum(think_s, axis=0).ravel()
        return Arrivals(earliest_s, earliest_s, think_s.ravel())

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        return self.draw(rng).intended_s

    def _think_s(self, rng: np.random.Generator) -> Floats:
        """For how long each client thinks before each of its requests: shape (requests, clients)."""
        drawn, over_s = list[Floats](), np.zeros(self.clients)
        while over_s.min() < self.duration_s:
            if self.think == "exponential":
                drawn.append(rng.exponential(self.think_s, self.clients))
            else:
                drawn.append(np.full(self.clients, self.think_s) * (1.0 if drawn else rng.random(self.clients)))
            over_s += drawn[-1]
        return np.stack(drawn)

    def expected_events(self) -> float:
        """How many requests are sent at most, on average: if each is answered at once."""
        return self.clients * self.duration_s / self.think_s

    def in_words(self) -> str:
        who = "one client that asks" if self.clients == 1 else f"{self.clients:,} clients that each ask"
        on_average = " on average" if self.think == "exponential" else ""
        thinks = f"think{'s' if self.clients == 1 else ''} for {quantity(self.think_s, 's')}{on_average}"
        waits = f"wait{'s' if self.clients == 1 else ''} for the answer"
        return f"{who}, {waits} and {thinks}, for {self.duration_s:g} s"
