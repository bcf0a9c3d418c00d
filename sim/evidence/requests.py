"""What became of requests: how long callers waited for each, and which replies they missed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventlib.policy import RECONNECT
from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence.history import KIND, Rows, Run, of_kind
from sim.evidence.unhandled import sent_by_load

HEARD_S = 0.1  # a reply that is appended so long before the end of a wait is heard in time, on a busy machine too

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests of one run, in the order of their numbers. All arrays have shape (requests,).

    A wait ends with the reply, or when its time is over; `until_s` is when, in seconds of the run. A caller that never
    came back abandons its waits: they have no end (NaN). A wait that is open when the run ends lasted until then.
    """

    message: npt.NDArray[np.int64]  # its number
    intended_s: Floats
    until_s: Floats
    replied: Flags
    timed_out: Flags
    asked: npt.NDArray[np.int64]  # how often its callers asked: 2 and more where a process took a killed one's place
    reply_s: Floats  # from when on the first reply could be heard; NaN where none was published

    @property
    def abandoned(self) -> Flags:
        """Whether the caller never came back for the reply."""
        return np.isnan(self.until_s)

    @property
    def answerable(self) -> Flags:
        """Whether the reply was there early enough for its caller to hear it, or was heard."""
        return np.asarray(self.replied | (self.reply_s <= self.until_s - HEARD_S))

    @property
    def lost(self) -> Flags:
        """Whether the caller could have heard a reply, and did not."""
        return np.asarray(self.answerable & ~self.replied)


def requests_of(scenario: Scenario, run: Run, rows: Rows) -> Requests:
    """The requests of one run of a scenario that has callers."""
    callers = scenario.callers
    assert callers is not None, "only callers make requests"
    sent = sent_by_load(rows)
    size = int(sent["message"].max(initial=-1)) + 1
    sent_s, intended_s, until_s = (np.full(size, np.nan) for _ in range(3))
    sent_s[sent["message"]] = sent["t_s"]
    intended_s[sent["message"]] = sent["intended_s"]
    ends = of_kind(rows, "replied", "timed_out")  # of a request's ends the last one is assigned last, and stays
    until_s[ends["message"]] = ends["t_s"]
    asked = np.ones(size, np.int64)
    asked[ends["message"]] = ends["attempt"]
    replied, timed_out = (_flags(size, of_kind(ends, kind)) for kind in ("replied", "timed_out"))
    open_ = np.isnan(until_s) & ~np.isin(np.arange(size) % callers.processes, _gone(rows))
    until_s[open_] = run.ended_s
    # A busy caller may note the end of a wait late: a reply that came after it came too late all the same.
    in_first = asked == 1
    until_s[in_first & timed_out] = np.minimum(until_s, sent_s + callers.timeout_s)[in_first & timed_out]
    made = ~np.isnan(sent_s)
    replies_s = _first_replies_s(scenario, callers.reply, rows, size)
    numbers = np.arange(size)
    return Requests(*(one[made] for one in (numbers, intended_s, until_s, replied, timed_out, asked, replies_s)))


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of requests that callers send again where they are not answered in time. Arrays: shape (requests,).

    `took_s` is the time from when a request was first meant to be sent until it was answered, given up, or the run's
    end; `sent` counts its messages.
    """

    took_s: Floats
    answered: Flags
    given_up: Flags
    sent: npt.NDArray[np.int64]


def answers_of(scenario: Scenario, run: Run, rows: Rows, from_s: float = 0.0) -> Answers:
    """What became of the requests of one run of a scenario that has callers, from a time on.

    A request belongs to the time at which its first message was meant to be sent.
    """
    assert scenario.callers is not None, "only callers make requests"
    tries, messages = scenario.callers.retry.attempts, requests_of(scenario, run, rows)
    _, first, sent = np.unique(messages.message // tries, return_index=True, return_counts=True)
    counts = messages.intended_s[first] >= from_s
    first, sent = first[counts], sent[counts]
    last = first + sent - 1
    answered = messages.replied[last]
    given_up = ~answered & messages.timed_out[last] & (messages.message[last] % tries == tries - 1)
    return Answers(messages.until_s[last] - messages.intended_s[first], answered, given_up, sent)


def _flags(size: int, rows: Rows) -> Flags:
    flags = np.zeros(size, np.bool_)
    flags[rows["message"]] = True
    return flags


def _gone(rows: Rows) -> list[int]:
    """The callers that were killed and did not come back."""
    of_callers = of_kind(rows[rows["service"] == -1], "killed", "restarted")
    last = {int(row["consumer"]): int(row["kind"]) for row in of_callers}
    return [caller for caller, kind in last.items() if kind == KIND["killed"]]


def _first_replies_s(scenario: Scenario, reply: str, rows: Rows, size: int) -> Floats:
    """When the first reply to each request was acknowledged to its service; NaN where there is none.

    While a fault keeps callers from the server, and until they have made new connections, they hear nothing.
    """
    replies = of_kind(rows[rows["event"] == list(scenario.flow.paths).index(reply)], "published")
    first_s = np.full(size, np.inf)
    numbers = replies["message"] // scenario.flow.paths[reply]
    known = (numbers >= 0) & (numbers < size)
    np.minimum.at(first_s, numbers[known], replies["t_s"][known])
    for fault in sorted(scenario.faults, key=lambda fault: fault.at_s):  # one may begin before the last is over
        if fault.needs != "nothing":
            again_s = fault.until_s + RECONNECT.wait_s_max
            first_s[(first_s >= fault.at_s) & (first_s < again_s)] = again_s
    return np.where(np.isinf(first_s), np.nan, first_s)
