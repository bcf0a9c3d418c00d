"""What was never handled, although it was sent: the messages that percentiles of lag must not leave out."""

import numpy as np
import numpy.typing as npt

from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence.history import Rows, of_kind


def unhandled(scenario: Scenario, rows: Rows, service: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """The messages that a service has neither handled nor given up, and when the load meant to send each.

    Every message that the load sent is due at every service that it leads to, unless it was given up on the way.
    """
    name = list(scenario.services)[service]
    consumed = scenario.services[name].consumes
    sent = sent_by_load(rows)
    intended_s = np.full(int(sent["message"].max(initial=-1)) + 1, np.nan)
    intended_s[sent["message"]] = sent["intended_s"]
    due = np.repeat(~np.isnan(intended_s), scenario.flow.paths[consumed])
    settled = of_kind(rows[rows["service"] == service], "handled", "dead")["message"]
    for numbers in (settled, _given_up(scenario, rows)[consumed]):
        due[numbers[(numbers >= 0) & (numbers < due.size)]] = False
    numbers = np.flatnonzero(due)
    return numbers, np.asarray(intended_s[numbers // scenario.flow.paths[consumed]])


def _given_up(scenario: Scenario, rows: Rows) -> dict[str, npt.NDArray[np.int64]]:
    """For each event type the messages that were never sent, because what leads to them was given up."""
    flow, services = scenario.flow, list(scenario.services)
    found = {event: np.empty(0, np.int64) for event in flow.paths}
    for name, emits in flow.offsets.items():  # in the order of the flow
        own = rows[rows["service"] == services.index(name)]
        dead = np.setdiff1d(of_kind(own, "dead")["message"], of_kind(own, "handled")["message"])
        consumed = scenario.services[name].consumes
        root, way = np.divmod(np.union1d(dead, found[consumed]), flow.paths[consumed])
        for event, first in emits:
            found[event] = np.union1d(found[event], root * flow.paths[event] + first + way)
    return found


def sent_by_load(rows: Rows) -> Rows:
    """What the load sent, one row for each time."""
    return of_kind(rows[rows["service"] == -1], "sent")
