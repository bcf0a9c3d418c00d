"""What every kind of load says of itself."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from sim.declare.declared import Declared, Floats, Numbers, made_of, places_among
from sim.declare.payload_fields import PayloadField, fields_problem
from sim.declare.sizes import SIZE_BYTES, SIZE_MAX, MessageSize

_BYTES_MAX = 1e9  # of all messages of a run: a live generator has them ready before it begins


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The messages of a load, ascending in both times, in seconds from the start, shape (n,) each.

    `intended_s` says when each comes to be sent: lag counts from there. `due_s` says when the load hands it over. That
    is later only where a client collects messages and sends them in batches.

    In a closed loop these are the earliest times, in no order, and `think_s` says how long the client of each message
    thinks before it.
    """

    intended_s: Floats
    due_s: Floats
    think_s: Floats | None = None


class LoadKind(Declared):
    """A load: when events are sent. Each kind also says its length as `duration_s`, in seconds.

    All are of the type `event`; or of several types with weights, as in `event: {order.placed: 3, order.changed: 1}`.
    Then `event` is the first of them, and `mix` has the weights of all.

    A message has a body of `size_bytes`: a number, or one for each event type, or a kind of sizes. Without it, messages
    have none. `fields` are numbers that each message says too: each a number, a list of some, or a kind.
    """

    kind: str
    event: str
    mix: dict[str, float] = Field(default_factory=dict, json_schema_extra=made_of("event"))  # a file says it as `event`

    size_bytes: MessageSize | None = None

    fields: dict[str, PayloadField] = Field(default_factory=dict)

    _sizes: Floats | None = PrivateAttr(None)  # those of one seed
    _said: dict[str, Floats] = PrivateAttr(default_factory=dict)  # the fields of one seed

    grows_with: ClassVar[tuple[str, ...]]  # the fields to lower where the plan would be too large
    in_parts: ClassVar[bool] = False  # whether `draw_in_parts` has more than one, so that memory does not grow

    @model_validator(mode="before")
    @classmethod
    def _read_mix(cls, declared: Any) -> Any:
        events = declared.get("event") if isinstance(declared, dict) else None
        if not isinstance(events, Mapping) or not events:
            return declared
        return declared | {"event": next(iter(events)), "mix": dict(events)}

    @model_validator(mode="after")
    def _has_weights(self) -> Self:
        if wrong := next((event for event, weight in self.mix.items() if not weight > 0), None):
            raise ValueError(f"event: the weight of {wrong} is 0 or negative; leave that event out")
        return self

    @model_validator(mode="after")
    def _has_sizes(self) -> Self:
        size = self.size_bytes
        if size is None:
            return self
        if size.kind == "column" and size.column not in self.recorded_columns:
            known = ", ".join(self.recorded_columns) or "none; give a load of kind 'trace'"
            raise ValueError(f"size_bytes: the load's trace has no column {size.column!r}; there are: {known}")
        if size.kind == "event" and set(size.sizes) != set(self.events):
            raise ValueError(f"size_bytes: give a size for each event of the load: {', '.join(self.events)}")
        if (total := size.mean * self.expected_events()) > _BYTES_MAX:
            problem = f"the messages would have {total / 1e9:,.1f} GB, over {_BYTES_MAX / 1e9:g} GB"
            raise ValueError(f"size_bytes: {problem}; lower it or {' or '.join(self.grows_with)}")
        return self

    @model_validator(mode="after")
    def _has_fields(self) -> Self:
        if problem := fields_problem(self.fields, self.recorded_columns):
            raise ValueError(f"fields: {problem}")
        return self

    @property
    def events(self) -> dict[str, float]:
        """The share of each event type. They add up to 1."""
        total = sum(self.mix.values())
        return {event: weight / total for event, weight in self.mix.items()} or {self.event: 1.0}

    @property
    def events_in_words(self) -> str:
        """The event types, with their shares if there are several."""
        if not self.mix:
            return self.event
        return " and ".join(f"{event} ({100 * share:.3g} %)" for event, share in self.events.items())

    def draw_events(self, n: int, rng: np.random.Generator) -> Numbers:
        """For each of the first n messages, the place of its event type in `events`, shape (n,)."""
        return places_among(rng.random(n), np.cumsum(list(self.events.values())))

    @property
    def sampled(self) -> bool:
        """Whether a recorded sample stands in for the real recording."""
        return False

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it reads."""
        return ()

    @property
    def collects(self) -> bool:
        """Whether a client holds messages back, to send them in batches."""
        return False

    @property
    def looping(self) -> int:
        """How many clients wait for an answer before they send again; 0 where the load asks for none."""
        return 0

    @property
    def recorded_columns(self) -> tuple[str, ...]:
        """The columns of numbers that were recorded with each message, by their declared names."""
        return ()

    def recorded(self, column: str) -> Floats:
        """A recorded column: a number for each message, in the order of the messages, shape (n,).

        Raises:
            InvalidTrace: the recording is missing or broken.
        """
        raise LookupError(column)

    def draw_sizes(self, n: int, events: Numbers | None, rng: np.random.Generator) -> Numbers | None:
        """How many bytes the body of each of the n messages has, shape (n,); None where messages have none.

        `events` is what `draw_events` returned, where there are several event types.

        Raises:
            InvalidTrace: the recording is missing or broken.
        """
        if self.size_bytes is None:
            return None
        names = list(self.events)
        of_events = names if events is None else [names[one] for one in events.tolist()]
        recorded = self.recorded(self.size_bytes.column) if self.size_bytes.kind == "column" else None
        drawn = self.size_bytes.draw(n, rng, of_events, recorded)
        return np.asarray(np.rint(drawn).clip(0, SIZE_MAX), np.int64)

    def carrying(self, sizes: Numbers | None, fields: Mapping[str, Floats]) -> Self:
        """This load with the sizes and fields that one seed drew, so that service times can follow them."""
        if sizes is None and not fields:
            return self
        carrying = self.model_copy()
        carrying._sizes = None if sizes is None else sizes.astype(np.float64)
        carrying._said = dict(fields)
        return carrying

    def said_by(self, field: str, n: int) -> Floats:
        """A field of the payload for each of n messages that those of the load set off, shape (n,); 0 where negative.

        Only of a load that carries the fields.
        """
        said = np.maximum(self._said[field], 0.0)
        return np.repeat(said, n // max(1, len(said)))

    @property
    def carried_columns(self) -> tuple[str, ...]:
        """What service times may follow: the recorded columns, and the size of a message."""
        return (*self.recorded_columns, *([SIZE_BYTES] if self.size_bytes is not None else []))

    def carried(self, column: str) -> Floats:
        """A number for each message, in the order of the messages, shape (n,).

        Raises:
            InvalidTrace: the recording is missing or broken.
        """
        return self._sizes if column == SIZE_BYTES and self._sizes is not None else self.recorded(column)

    @property
    def replay_scale(self) -> float:
        """How many seconds of the run a recorded second becomes."""
        return 1.0

    def notes(self) -> tuple[str, ...]:
        """What was done to the recording that a reader of the result should know, a sentence without its stop each.

        Raises:
            InvalidTrace: the recording is missing or broken.
        """
        return ()

    @abstractmethod
    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        """Intended send times in seconds from the start, ascending, shape (n,)."""

    def draw(self, rng: np.random.Generator) -> Arrivals:
        """When each message is meant to be sent, and when it is handed over."""
        arrivals_s = self.arrivals_s(rng)
        return Arrivals(arrivals_s, arrivals_s)

    def draw_in_parts(self, rng: np.random.Generator) -> tuple[int, Iterator[Floats]]:
        """How many messages there are; and what `arrivals_s` would return, a part after the other, none of them empty.

        A load that is `in_parts` holds few of them at a time, so that it may be as long as one likes.
        """
        arrivals_s = self.arrivals_s(rng)
        return arrivals_s.size, (part for part in (arrivals_s,) if part.size)

    @abstractmethod
    def expected_events(self) -> float:
        """How many events are sent on average, as far as that is known before a file is read."""

    @abstractmethod
    def in_words(self) -> str:
        """How events are sent, as half a sentence: without the event type and without the number of events."""
