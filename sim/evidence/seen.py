"""What was never handled of what was seen of messages, a mark each: as `unhandled` finds it among rows.

It is found for some messages after the other, so that it takes the memory of a few.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from sim.declare.declared import Numbers
from sim.declare.own_handlers import Emitted
from sim.declare.scenario import Scenario
from sim.evidence.marks import BLOCK, Flags, Marks


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of messages in one run, from the end of its warm-up on."""

    scenario: Scenario
    by_load: Marks  # what the load sent
    sent: Mapping[str, Marks]  # by event type
    handled: Mapping[str, Marks]  # by service
    dead: Mapping[str, Marks]
    times: Mapping[str, int]  # by service, how often messages were handled

    def unhandled(self) -> dict[str, Numbers]:
        """By service, the numbers of messages that are due there, and neither handled nor given up on their way."""
        found, some = self._unhandled_of_all(), self.scenario.flow.drawn | self.scenario.flow.seen
        for name in self.scenario.flow.emitted_by:  # in the order of the flow
            if self._consumes(name) in some:
                found[name] = self._unhandled_of_some(name, found)
        return found

    def _unhandled_of_all(self) -> dict[str, Numbers]:
        """Where every message that the load sent leads to messages of the service."""
        parts: dict[str, list[Numbers]] = {name: [np.zeros(0, np.int64)] for name in self.scenario.services}
        for first in range(0, self.by_load.until, BLOCK):
            due = self.by_load.between(first, min(first + BLOCK, self.by_load.until))
            for name, missing in self._missing(first, due):
                parts[name].append(np.flatnonzero(missing) + first * self.scenario.flow.paths[self._consumes(name)])
        return {name: np.concatenate(one) for name, one in parts.items()}

    def _missing(self, first: int, due: Flags) -> Iterator[tuple[str, Flags]]:
        """For each service, which of its messages are missing, of the messages of the load from `first` on.

        `due` says which of them there were.
        """
        paths = self.scenario.flow.paths
        given_up = {event: np.zeros((due.size, ways), np.bool_) for event, ways in paths.items()}
        for name, emits in self.scenario.flow.emitted_by.items():  # in the order of the flow
            ways, there = paths[self._consumes(name)], given_up[self._consumes(name)]
            handled, dead = (
                marks[name].between(first * ways, (first + due.size) * ways).reshape(-1, ways)
                for marks in (self.handled, self.dead)
            )
            for emitted in emits:
                if emitted.slots == 1:  # what is only seen is not due before it is sent
                    given_up[emitted.event][:, emitted.first : emitted.first + ways] |= there | (dead & ~handled)
            yield name, due[:, None] & ~(handled | dead | there)

    def _unhandled_of_some(self, name: str, found: Mapping[str, Numbers]) -> Numbers:
        """Where not every message upstream leads to one. `found` has the unhandled messages of services upstream."""
        flow, consumed = self.scenario.flow, self._consumes(name)
        sent = self.sent[consumed]
        numbers = [np.zeros(0, np.int64)]
        for first in range(0, sent.until, BLOCK):
            due, handled, dead = (
                marks.between(first, min(first + BLOCK, sent.until))
                for marks in (sent, self.handled[name], self.dead[name])
            )
            numbers.append(np.flatnonzero(due & ~handled & ~dead) + first)
        for upstream, emits in flow.emitted_by.items():
            for emitted in (one for one in emits if one.event == consumed):
                missing, handled_there = found[upstream], self.times[upstream]
                caused = self._caused(emitted, flow.paths[self._consumes(upstream)])
                expected = round(missing.size * min(1.0, caused / handled_there)) if handled_there else 0
                number = flow.number(emitted, self._consumes(upstream), missing[:expected], 0)
                numbers.append(np.array([one for one in number.tolist() if one not in sent], np.int64))
        return np.unique(np.concatenate(numbers))

    def _caused(self, emitted: Emitted, ways: int) -> int:
        """How many messages of the service that emits these have set one off."""
        sent, paths, found = self.sent[emitted.event], self.scenario.flow.paths[emitted.event], 0
        roots = -(-sent.until // paths)
        for first in range(0, roots, BLOCK):
            until = min(first + BLOCK, roots)
            of_roots = sent.between(first * paths, until * paths).reshape(-1, paths)
            own = of_roots[:, emitted.first : emitted.first + ways * emitted.slots]
            found += int(np.count_nonzero(own.reshape(-1, emitted.slots).any(axis=1)))
        return found

    def _consumes(self, name: str) -> str:
        return self.scenario.services[name].consumes
