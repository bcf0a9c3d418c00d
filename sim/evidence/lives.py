"""The life of one message: when it waited, who tried it, and what came of it, at every service that it led to."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sim.errors import InvalidHistory
from sim.evidence.history import KINDS, History, Rows, of_kind
from sim.tables import html_table
from sim.wording import quantity

_ACTS = {"started": "is handled", "step_started": "step", "undo_started": "undo"}
_ENDS = {"completed": "completed", "compensated": "compensated", "parked": "parked", "dead": "given up"}
HEADER = ("after", "service", "what", "for", "consumer", "attempt")


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a message's life at one service, in seconds since the run's load began. `consumer` is -1 where none."""

    service: str
    what: str  # "waits", "is handled", "waits for a retry", "waits for a lease to end", ...
    from_s: float
    to_s: float
    consumer: int = -1
    attempt: int = 0
    outcome: str = ""  # of an attempt: "handled", "failed", "cut off", "not ended"

    @property
    def is_attempt(self) -> bool:
        return self.consumer >= 0


@dataclass(frozen=True, repr=False)
class MessageLife:
    """A message of the load, and what it set off. A notebook shows it as a table."""

    scenario: str
    number: int
    seed: int
    repeat: int
    intended_s: float
    sent_s: float  # NaN where it was never sent
    stages: tuple[Stage, ...]

    @classmethod
    def of(cls, history: History, number: int, run: int) -> "MessageLife":
        """The life of a message of a run, by its number in the load.

        Raises:
            InvalidHistory: there is no such run, or no such message in it.
        """
        if not 0 <= run < len(history.runs):
            raise InvalidHistory("message", f"there is no run {run}; there are runs 0 to {len(history.runs) - 1}")
        rows, flow = history.run(run), history.scenario.flow
        sent = of_kind(rows[(rows["service"] == -1) & (rows["message"] == number)], "sent")
        if not sent.size:
            numbers = of_kind(rows[rows["service"] == -1], "sent")["message"]
            most = f"messages 0 to {numbers.max()}" if numbers.size else "no messages"
            raise InvalidHistory("message", f"the load sent no message {number} in run {run}; it sent {most}")
        stages: list[Stage] = []
        for name, service in history.scenario.services.items():
            ways = flow.paths[service.consumes]
            code, event = history.services.index(name), history.events.index(service.consumes)
            for one in range(number * ways, (number + 1) * ways):
                of_event = rows[(rows["event"] == event) & (rows["message"] == one)]
                killed = of_kind(rows[rows["service"] == code], "killed", "left")
                stages += _stages(name, of_event, code, killed, history.runs[run].ended_s)
        about = history.runs[run]
        in_order = tuple(sorted(stages, key=lambda stage: (stage.from_s, stage.to_s)))
        intended_s, sent_s = float(sent["intended_s"][0]), float(sent["t_s"][0])
        return cls(history.scenario.name, number, about.seed, about.repeat, intended_s, sent_s, in_order)

    def __repr__(self) -> str:
        return f"MessageLife: {self._caption()}"

    def __str__(self) -> str:
        rows = [HEADER, *self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        form = "  ".join((f"{{:>{widths[0]}}}", *(f"{{:<{width}}}" for width in widths[1:])))
        return "\n".join((self._caption(), *(form.format(*row).rstrip() for row in rows)))

    def _repr_html_(self) -> str:
        return html_table(self._caption(), HEADER, self.rows())

    def _caption(self) -> str:
        late = quantity(round(self.sent_s - self.intended_s, 9), "s")
        of = f"seed {self.seed}{f', repeat {self.repeat}' if self.repeat else ''}"
        where = f"message {self.number} of {self.scenario}, {of}"
        return f"{where}: meant to be sent at {quantity(self.intended_s, 's')}, sent {late} later"

    def rows(self) -> Iterator[tuple[str, str, str, str, str, str]]:
        """A row of text for each stage: when it began after the message was due, where, what, and for how long."""
        for stage in self.stages:
            times_s = (stage.from_s - self.intended_s, stage.to_s - stage.from_s)
            after, lasted = (quantity(round(time_s, 9), "s") for time_s in times_s)
            what = f"{stage.what}: {stage.outcome}" if stage.outcome else stage.what
            tried = (str(stage.consumer), str(stage.attempt)) if stage.is_attempt else ("", "")
            yield after, stage.service, what, lasted, *tried


def _stages(service: str, rows: Rows, code: int, killed: Rows, ended_s: float) -> Iterator[Stage]:
    """What happened to one message at one service. `rows` are those of the message at any service."""
    published = of_kind(rows, "published")
    if not published.size:
        return
    since_s, waiting = float(published["t_s"][0]), "waits"
    own = rows[rows["service"] == code]
    for place, row in enumerate(own):
        if (act := _ACTS.get(KINDS[row["kind"]])) is None:
            continue
        started_s, consumer, attempt = float(row["t_s"]), int(row["consumer"]), int(row["attempt"])
        if started_s > since_s:
            yield Stage(service, waiting, since_s, started_s)
        end = _end_of(own[place + 1 :], row)
        what = act if act == _ACTS["started"] else f"{act} {int(row['value'])}"
        if end is None:
            gone_s = killed["t_s"][(killed["consumer"] == consumer) & (killed["t_s"] >= started_s)]
            since_s = float(gone_s.min(initial=ended_s))
            waiting, outcome = "waits for its lease to end", "cut off" if gone_s.size else "not ended"
        else:
            since_s, outcome = float(end["t_s"]), KINDS[end["kind"]].rpartition("_")[2]
            waiting = "waits for a retry" if outcome == "failed" else "waits"
        yield Stage(service, what, started_s, since_s, consumer, attempt, outcome)
    ends = {KINDS[kind] for kind in of_kind(own, "handled", *_ENDS)["kind"]}
    if over := next((words for kind, words in _ENDS.items() if kind in ends), None):
        yield Stage(service, over, since_s, since_s)
    elif not ends and since_s < ended_s:
        yield Stage(service, f"{waiting} until the run ends", since_s, ended_s)


def _end_of(later: Rows, start: np.void) -> np.void | None:
    """How an attempt ended; None where it was cut off."""
    kind = KINDS[start["kind"]].partition("_")[0]
    ends = ("handled", "failed") if kind == "started" else (f"{kind}_done", f"{kind}_failed")
    for row in of_kind(later, *ends):
        if (row["consumer"], row["attempt"]) == (start["consumer"], start["attempt"]):
            found: np.void = row
            return found
    return None
