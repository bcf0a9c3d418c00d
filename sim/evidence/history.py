"""A History is the evidence: one row for each thing that happened, the same columns whichever world wrote it.

Rows are one NumPy structured array, so ten million of them stay comfortable; on disk they are Parquet.

| column     | meaning                                                                                    |
|------------|--------------------------------------------------------------------------------------------|
| run        | index of the run in `runs`                                                                  |
| t_s        | seconds since the run's load began                                                          |
| kind       | what happened: an index into KINDS                                                          |
| service    | which service did it: an index into `services`; -1 is the load, which callers may send      |
| consumer   | which of the service's consumers, of the callers or of the dependencies; -1 where none      |
| event      | event type: an index into `events`; -1 where none                                           |
| message    | number of the message within its event type and run; -1 where none                          |
| attempt    | 1-based number of the attempt; 0 where none                                                 |
| intended_s | when the load meant to send the message that set this one off; NaN where none               |
| value      | sent, by a client that sends in batches: for how long it held the message, in seconds;      |
|            | sampled: the service's backlog in entries; started, of a task: the number of its dispatch     |
|            | among those of its queue, from 0; handled and failed, live: how much longer than asked the  |
|            | handler slept, in seconds, or for how long a handler of the user's own held the event loop   |
|            | (inf: all of the attempt);                                                                  |
|            | of a look at a dependency: see LOOKS;                                                       |
|            | batch: with how many messages a handler was called;                                         |
|            | scaled: how many consumers the service is to have from now on;                               |
|            | cpu and server_cpu: seconds of processor time that the process or the server has used;      |
|            | else NaN                                                                                    |
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from eventlib.system_errors import with_mend
from eventlib.whole_files import whole_file
from sim.declare.faults import NOTES
from sim.declare.scenario import MAX_DRAWS, Scenario
from sim.errors import InvalidHistory
from sim.reading import UNREADABLE, in_words, parse_json
from sim.tables import html_table

if TYPE_CHECKING:
    import pandas as pd

    from sim.evidence.lives import MessageLife

BLOCKED_S = 0.1  # a step of a handler that is so long keeps everything else of its process waiting
World = Literal["simulated", "live"]
Rows = npt.NDArray[np.void]

# The first files did not name their kinds: they have these, in this order. So these codes never change.
_FIRST_KINDS = (
    "sent",  # handed to the bus
    "published",  # the server has it
    "started",  # a handler was given it
    "handled",  # its handler returned
    "failed",  # its handler raised
    "retried",  # put aside for another attempt
    "dead",  # moved to the dead-letter queue
    "acked",  # the server knows that it is done
    "lost",  # taken over by another consumer while this one still had it
    "killed",
    "restarted",
    "sampled",  # a look at the service's backlog
)
# How a caller's wait for the reply to its request ended. `message` is the request; `attempt` counts how often the
# caller asked: 1 is the request itself, a later one was asked by a process that took a killed caller's place.
_OF_CALLERS = ("replied", "timed_out")
# What happens to sagas. `message` is the saga; `value` the number of the step, from 0; `attempt` counts how often the
# act was begun. The end of one that is completed or compensated is "handled" too, that of one that is parked "dead".
_OF_SAGAS = (
    "step_started",
    "step_done",
    "step_failed",  # in this attempt, or for good
    "undo_started",
    "undo_done",
    "undo_failed",
    "completed",
    "compensated",
    "parked",  # it waits for an operator
)
# What handlers of the user's own do beside handling.
_OF_OWN = (
    "blocked",  # one step of an attempt held the event loop for BLOCKED_S or longer: `value` seconds
    "stolen",  # the attempt held the loop for `value` seconds more, because other processes had the processor
    "snoozed",  # the attempt asked to be tried again in `value` seconds, and does not count
    "put_off",  # the attempt failed, and asked to be tried again in `value` seconds
    "exited",  # the attempt called sys.exit
    "leaked",  # at the end of its process, `value` tasks that handlers had started still ran
)
# A message of the load that was not sent before the run was over: the generator could not keep up.
_OF_THE_LOAD = ("skipped",)
# What autoscaling does: from now on the service is to have `value` consumers; one that was stopped has left.
_OF_SCALING = ("scaled", "left")
# A batch handler was called with `value` messages. `message` and `attempt` are those of the first.
_OF_BATCHES = ("batch",)
# A consumer's circuit breaker changed, with the outcome of this attempt.
_OF_BREAKERS = ("circuit_opened", "circuit_closed")
# What a process has used of the processor: when the load begins, and when the process ends.
_OF_THE_MACHINE = ("cpu", "server_cpu")
# A look at a dependency, `consumer` by its number: for how long its slots were busy so far, and how long the calls that
# got one waited for it, in seconds; how many got one so far; and how many wait.
LOOKS = ("slots_busy", "calls_waited", "calls_begun", "calls_waiting")
KINDS = tuple(
    dict.fromkeys(
        (
            *(*_FIRST_KINDS, *NOTES, *_OF_CALLERS, *_OF_SAGAS, *_OF_OWN),
            *(*_OF_THE_MACHINE, *_OF_THE_LOAD, *LOOKS, *_OF_SCALING, *_OF_BATCHES, *_OF_BREAKERS),
        )
    )
)  # what a fault notes, the fault's class explains
KIND = {name: code for code, name in enumerate(KINDS)}

ROW = np.dtype(
    [
        ("run", "<i4"),
        ("t_s", "<f8"),
        ("kind", "u1"),
        ("service", "<i2"),
        ("consumer", "<i2"),
        ("event", "<i2"),
        ("message", "<i8"),
        ("attempt", "<i2"),
        ("intended_s", "<f8"),
        ("value", "<f8"),
    ]
)


@dataclass(frozen=True, slots=True)
class Left:
    """What a service's group had left to do when the run ended, in entries, and its dead letters."""

    waiting: int
    pending: int
    retrying: int
    delayed: int
    dead: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the scenario. `repeat` tells live runs of one seed apart; `ended_s` is when it stopped."""

    seed: int
    repeat: int
    ended_s: float
    left: dict[str, Left]


@dataclass(frozen=True, repr=False)
class History:
    """What happened in the runs of one scenario in one world. `rows` are sorted by run, then time."""

    world: World
    scenario: Scenario
    server: str  # product and version; "none" where nothing real ran
    runs: tuple[Run, ...]
    rows: Rows = field(repr=False)
    calibration: dict[str, Any] = field(default_factory=dict)  # of a simulation: digest, date, server, values in s
    environment: dict[str, str] = field(default_factory=dict)  # of a live run: date, machine and versions

    def __repr__(self) -> str:
        return f"History of {self._caption()}"

    def _repr_html_(self) -> str:
        senders = {name: code for code, name in enumerate(self.services)} | {"the load": -1}
        counts = {
            kind: [np.count_nonzero(of_kind(self.rows, kind)["service"] == sender) for sender in senders.values()]
            for kind in KINDS
        }
        rows = [(kind, *(f"{n:,}" if n else "" for n in numbers)) for kind, numbers in counts.items() if any(numbers)]
        return html_table(f"History of {self._caption()}", ("rows", *senders), rows)

    def _caption(self) -> str:
        seeds = len({run.seed for run in self.runs})
        where = f" on {self.server}" if self.world == "live" else ""
        size = f"{len(self.runs)} runs of {seeds} seeds, {len(self.rows):,} rows"
        return f"{self.scenario.name}, {self.world}{where}: {size}"

    @property
    def services(self) -> list[str]:
        return list(self.scenario.services)

    @property
    def events(self) -> list[str]:
        return list(self.scenario.flow.paths)

    def run(self, index: int) -> Rows:
        """The rows of one run."""
        first, last = np.searchsorted(self.rows["run"], (index, index + 1))
        return self.rows[first:last]

    def each_run(self) -> Iterator[tuple[Run, Rows]]:
        """Every run with its rows."""
        for index, run in enumerate(self.runs):
            yield run, self.run(index)

    def message(self, number: int, run: int = 0) -> "MessageLife":
        """The life of a message that the load sent in a run: its waits, its attempts and what came of them.

        `sim.show.lives.life_of` draws it.

        Raises:
            InvalidHistory: there is no such run, or no such message in it.
        """
        from sim.evidence.lives import MessageLife  # it is built on histories

        return MessageLife.of(self, number, run)

    def of_seeds(self, seeds: Sequence[int]) -> Self:
        """The runs of these seeds alone."""
        kept = [index for index, run in enumerate(self.runs) if run.seed in seeds]
        rows = [self.run(index).copy() for index in kept]
        for number, of_run in enumerate(rows):
            of_run["run"] = number
        runs = tuple(self.runs[index] for index in kept)
        return replace(self, runs=runs, rows=np.concatenate(rows) if rows else self.rows[:0])

    def frame(self) -> "pd.DataFrame":
        """The rows as a table, names in place of codes."""
        import pandas as pd  # not at the top: it takes half a second, and most commands make no table

        frame = pd.DataFrame({name: self.rows[name] for name in ROW.names or ()})
        for column, names in (("kind", KINDS), ("service", self.services), ("event", self.events)):
            codes = frame[column].to_numpy(np.int16)
            frame[column] = pd.Categorical.from_codes(codes, categories=pd.Index(list(names)))
        return frame

    def save(self, file: str | Path) -> None:
        """Write to one Parquet file, whole or not at all.

        Raises:
            InvalidHistory: it could not be written.
        """
        import pyarrow as pa
        from pyarrow import parquet

        about = {
            "world": self.world,
            "kinds": KINDS,
            "scenario": self.scenario.model_dump(mode="json", by_alias=True),
            "server": self.server,
            "runs": [asdict(run) for run in self.runs],
            "calibration": self.calibration,
            "environment": self.environment,
        }
        table = pa.table({name: self.rows[name] for name in ROW.names or ()})
        try:
            with whole_file(file) as target:
                parquet.write_table(table.replace_schema_metadata({"history": json.dumps(about)}), target)
        except OSError as error:
            problem = f"cannot be written: {with_mend(error)}"
            raise InvalidHistory(str(file), problem) from error

    @classmethod
    def open(cls, file: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InvalidHistory: there is no such file, it holds no history, or one with kinds of rows that are unknown here.
        """
        import pyarrow as pa
        from pyarrow import parquet

        try:
            table = parquet.read_table(file)
            about = parse_json(table.schema.metadata[b"history"])
            said = _Said.model_validate(about)
            rows = np.empty(table.num_rows, ROW)
            with np.errstate(invalid="raise"):  # a code that is no number
                for name in ROW.names or ():
                    rows[name] = table[name].to_numpy()
            rows["kind"] = _own_codes(file, rows["kind"], said.kinds)
            calibration = {"values": about["overheads"]} if said.calibration is None else said.calibration
            found = cls(said.world, said.scenario, said.server, said.runs, rows, calibration, said.environment)
            found._check_codes()
        except FileNotFoundError as error:  # what pyarrow says of it is the file's name
            raise InvalidHistory(str(file), "cannot be read: no such file; write one with `--history`") from error
        except (OSError, pa.ArrowException, *UNREADABLE) as error:
            raise InvalidHistory(str(file), f"is no history ({in_words(error)}); write one with `--history`") from error
        return found

    def _check_codes(self) -> None:
        """Raises ValueError where a row is of nothing that there is, or a run lacks what a service had left."""
        counts = {"run": len(self.runs), "service": len(self.services), "event": len(self.events)}
        least = {"run": 0, "service": -1, "event": -1, "consumer": -1, "message": -1, "attempt": 0}
        for column, low in least.items():
            codes = self.rows[column]
            if codes.size and not (low <= codes.min() and codes.max() < counts.get(column, np.inf)):
                raise ValueError(f"a row is of {column} {codes.min()} or {codes.max()}")
        sent = of_kind(self.rows[self.rows["service"] == -1], "sent")["message"]
        if sent.size and not 0 <= sent.min() <= sent.max() < MAX_DRAWS:
            raise ValueError(f"the load sent message {sent.min()} or {sent.max()}")
        if np.any(np.diff(self.rows["run"]) < 0) or not np.isfinite(self.rows["t_s"]).all():
            raise ValueError("its rows are not in order, or have no time")
        if any(set(run.left) != set(self.services) for run in self.runs):
            raise ValueError("what each service had left is not known of every run")


def joined(first: History, second: History) -> History:
    """The runs of two histories of one scenario and world as those of one.

    Raises:
        InvalidHistory: they are of different scenarios or worlds.
    """
    if (first.world, first.scenario) != (second.world, second.scenario):
        raise InvalidHistory("joined", "the histories are of different scenarios or worlds")
    later = second.rows.copy()
    later["run"] += len(first.runs)
    return replace(first, runs=first.runs + second.runs, rows=np.concatenate((first.rows, later)))


def of_kind(rows: Rows, *kinds: str) -> Rows:
    """The rows of these kinds."""
    return rows[np.isin(rows["kind"], [KIND[kind] for kind in kinds])]


def sorted_rows(rows: Rows) -> Rows:
    """Rows by run, then time; rows of one moment keep their order."""
    run, t_s = rows["run"], rows["t_s"]
    if np.all((run[1:] > run[:-1]) | ((run[1:] == run[:-1]) & (t_s[1:] >= t_s[:-1]))):
        return rows
    return rows[np.lexsort((rows["t_s"], rows["run"]))]


def _own_codes(file: str | Path, codes: npt.NDArray[np.uint8], names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """The codes of this version for the codes of a file that names its kinds in this order."""
    unknown = [names[code] for code in np.unique(codes) if names[code] not in KIND]
    if unknown:
        raise InvalidHistory(str(file), f"has rows of the unknown kind {unknown[0]!r}; open it with a newer version")
    return np.array([KIND.get(name, 0) for name in names], np.uint8)[codes]


class _Said(BaseModel):
    """What a file says of a history beside its rows. The first ones named no kinds, and had `overheads`."""

    world: World
    scenario: Scenario
    server: str
    runs: tuple[Run, ...]
    kinds: tuple[str, ...] = _FIRST_KINDS
    calibration: dict[str, Any] | None = None
    environment: dict[str, str] = Field(default_factory=dict)
