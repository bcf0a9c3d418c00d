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
    if consumed in scenario.flow.seen | scenario.flow.drawn:
        return _unhandled_of_some(scenario, rows, service)
    sent = sent_by_load(rows)
    intended_s = np.full(int(sent["message"].max(initial=-1)) + 1, np.nan)
    intended_s[sent["message"]] = sent["intended_s"]
    due = np.repeat(~np.isnan(intended_s), scenario.flow.paths[consumed])
    settled = of_kind(rows[rows["service"] == service], "handled", "dead")["message"]
    for numbers in (settled, _given_up(scenario, rows)[consumed]):
        due[numbers[(numbers >= 0) & (numbers < due.size)]] = False
    numbers = np.flatnonzero(due)
    return numbers, np.asarray(intended_s[numbers // scenario.flow.paths[consumed]])


def _unhandled_of_some(scenario: Scenario, rows: Rows, service: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """The same where not every message upstream sets one off: what was sent, and what is still to be expected.

    Each message that a service upstream has yet to handle is expected to set off as many as those that it has handled.
    """
    names = list(scenario.services)
    consumed = scenario.services[names[service]].consumes
    sent = of_kind(rows[rows["event"] == list(scenario.flow.paths).index(consumed)], "sent")
    numbers, first = np.unique(sent["message"], return_index=True)
    intended_s = sent["intended_s"][first]
    settled = of_kind(rows[rows["service"] == service], "handled", "dead")["message"]
    due = ~np.isin(numbers, settled)
    found, found_s = [numbers[due]], [intended_s[due]]
    for name, emits in scenario.flow.emitted_by.items():
        upstream = scenario.services[name].consumes
        handled = of_kind(rows[rows["service"] == names.index(name)], "handled").size
        for emitted in (one for one in emits if one.event == consumed):
            caused = np.unique(scenario.flow.causes(emitted, upstream, numbers))
            missing, missing_s = unhandled(scenario, rows, names.index(name))
            expected = round(missing.size * min(1.0, np.count_nonzero(caused >= 0) / handled)) if handled else 0
            number = scenario.flow.number(emitted, upstream, missing[:expected], 0)
            unsent = ~np.isin(number, numbers)
            found.append(number[unsent])
            found_s.append(missing_s[:expected][unsent])
    all_numbers, places = np.unique(np.concatenate(found), return_index=True)
    return all_numbers, np.concatenate(found_s)[places]


def _given_up(scenario: Scenario, rows: Rows) -> dict[str, npt.NDArray[np.int64]]:
    """For each event type the messages that were never sent, because what leads to them was given up."""
    flow, services = scenario.flow, list(scenario.services)
    found = {event: np.empty(0, np.int64) for event in flow.paths}
    for name, emits in flow.emitted_by.items():  # in the order of the flow
        own = rows[rows["service"] == services.index(name)]
        dead = np.setdiff1d(of_kind(own, "dead")["message"], of_kind(own, "handled")["message"])
        consumed = scenario.services[name].consumes
        root, way = np.divmod(np.union1d(dead, found[consumed]), flow.paths[consumed])
        for one in emits:  # of declared services: what is only seen is not due before it is sent
            numbers = root * flow.paths[one.event] + one.first + way
            found[one.event] = np.union1d(found[one.event], numbers)
    return found


def sent_by_load(rows: Rows) -> Rows:
    """What the load sent, one row for each time."""
    return of_kind(rows[rows["service"] == -1], "sent")
