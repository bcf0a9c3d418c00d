"""What each step took in a live run, read from its rows. Pure: the same rows give the same seconds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sim.declare.declared import Floats
from sim.declare.faults.kill import Kill
from sim.evidence.history import History, Rows, of_kind
from sim.timings import RESTS_S, STEPS, Block, CpuUse

_AWAKE_S = 0.0002  # a process that noted something so shortly before was awake: what came then shows no waking up
_READING_S = 0.003  # by then, a read that was under way when a handler ended has come back
_BLOCK_S = 1.0
_DIGITS = 7  # of seconds: a tenth of a microsecond

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Taken:
    """What one step took: when, after which rest, and how long. All arrays have shape (samples,)."""

    step: str
    at_s: Floats
    rest_s: Floats
    took_s: Floats


def blocks_of(history: History, idle: Sequence[str], busy: Sequence[str], run: int) -> list[Block]:
    """The steps in a history of one run, second by second.

    `idle` are services where no message waits, `busy` those that always have work, with one consumer each. `run` is
    what the blocks call the run.
    """
    rows = history.run(0)
    taken = [*_sending(rows), *_retrying(history, rows, idle), *_restarting(history, rows)]
    for name in idle:
        taken += _idle_consumer(history, rows, history.services.index(name))
    for name in busy:
        taken += _busy_consumer(history, rows, history.services.index(name))
    last = int(max((float(one.at_s.max()) for one in taken if one.at_s.size), default=0.0) / _BLOCK_S)
    return [
        Block(run, {step: _of_block(taken, step, number * _BLOCK_S) for step in STEPS}) for number in range(last + 1)
    ]


def _of_block(taken: Sequence[_Taken], step: str, from_s: float) -> list[list[float]]:
    """What a step took in one block, by class of rest."""
    classes: list[list[float]] = [[] for _ in range(len(RESTS_S) + 1)]
    for one in taken:
        if one.step == step:
            chosen = (one.at_s >= from_s) & (one.at_s < from_s + _BLOCK_S) & ~np.isnan(one.took_s)
            of_rest = np.searchsorted(RESTS_S, one.rest_s[chosen], side="right")
            for rest, seconds in zip(of_rest.tolist(), one.took_s[chosen].tolist(), strict=True):
                classes[rest].append(round(max(0.0, seconds), _DIGITS))
    return classes


def _sending(rows: Rows) -> Iterator[_Taken]:
    """The generator: how late it sends, and how long publishing takes where no batch is on its way yet."""
    own = rows[(rows["service"] == -1) & (rows["message"] >= 0)]
    sent, published = of_kind(own, "sent"), of_kind(own, "published")
    rest_s = _rest_s(own, sent["intended_s"])
    alone = rest_s > _AWAKE_S
    yield _Taken("lateness_s", sent["t_s"][alone], rest_s[alone], (sent["t_s"] - sent["intended_s"])[alone])
    alone &= _sent_alone(own)
    took_s = _times(published, sent["message"]) - sent["t_s"]
    yield _Taken("publish_s", sent["t_s"][alone], rest_s[alone], took_s[alone])


def _idle_consumer(history: History, rows: Rows, service: int) -> Iterator[_Taken]:
    """A consumer that waits for what comes: the dispatch, the handling, the acknowledgement."""
    own = _own(rows, service)
    started = of_kind(own, "started")
    started = started[started["attempt"] == 1]
    of_event = rows[rows["event"] == started["event"][:1]] if started.size else rows[:0]
    sent_s, published_s = (_times(of_kind(of_event, kind), started["message"]) for kind in ("sent", "published"))
    # When the server had it is not seen: between the two, and before the start. The reply may be late on its own.
    append_s = (np.fmin(published_s, started["t_s"]) - sent_s) / 2.0
    appended_s = sent_s + append_s
    rest_s = _rest_s(own, appended_s)
    alone = (rest_s > _AWAKE_S) & np.isin(
        started["message"], of_kind(of_event, "sent")["message"][_sent_alone(of_event)]
    )
    yield _Taken("append_s", started["t_s"][alone], rest_s[alone], append_s[alone])
    yield _Taken("dispatch_s", started["t_s"][alone], rest_s[alone], (started["t_s"] - appended_s)[alone])
    yield from _handling(history, own, service)


def _busy_consumer(history: History, rows: Rows, service: int) -> Iterator[_Taken]:
    """A consumer that always has work: how long a handler waits for the next message, which may be there already."""
    declared = list(history.scenario.services.values())[service]
    own = _own(rows, service)
    started_s, handled = of_kind(own, "started")["t_s"], of_kind(own, "handled")
    # With c handlers, the one that ends as number n starts message n + c.
    n = min(started_s.size - declared.concurrency, handled.size)
    pause_s = started_s[declared.concurrency : declared.concurrency + n] - handled["t_s"][:n]
    chosen = np.diff(handled["t_s"][:n], prepend=-1.0) > _READING_S
    chosen[: n // 10] = False  # until there is a backlog, they wait for the load
    handled, pause_s = handled[:n][chosen], pause_s[chosen]
    step = "next_s" if declared.prefetch else "read_s"
    yield _Taken(step, handled["t_s"], _rest_s(own, _due_s(history, own, handled, service)), pause_s)
    yield from _handling(history, own, service)


def _sent_alone(rows: Rows) -> npt.NDArray[np.bool_]:
    """Which of the events that are sent here were sent while no other was on its way, shape (events,)."""
    sent_s, published_s = of_kind(rows, "sent")["t_s"], of_kind(rows, "published")["t_s"]
    on_their_way = np.searchsorted(sent_s, sent_s) - np.searchsorted(np.sort(published_s), sent_s)
    return np.asarray(on_their_way == 0)


def _handling(history: History, own: Rows, service: int) -> Iterator[_Taken]:
    """What handlers take longer than asked, and how long it takes until the server knows that they have ended."""
    ended = of_kind(own, "handled", "failed")
    due_s = _due_s(history, own, ended, service)
    rest_s = _rest_s(own, due_s)
    settled_s = _times_of_attempts(of_kind(own, "acked", "retried"), ended)
    alone = rest_s > _AWAKE_S
    at_s = ended["t_s"][alone]
    if not history.scenario.services[history.services[service]].emits:  # publishing is no part of it
        yield _Taken("handle_s", at_s, rest_s[alone], at_s - due_s[alone])
    yield _Taken("settle_s", at_s, rest_s[alone], settled_s[alone] - at_s)


def _due_s(history: History, own: Rows, ended: Rows, service: int) -> Floats:
    """When the handlers should have ended that did."""
    asked_s = history.scenario.plan(history.runs[0].seed).service_s[history.services[service]][ended["message"]]
    return np.asarray(_times_of_attempts(of_kind(own, "started"), ended) + asked_s)


def _retrying(history: History, rows: Rows, idle: Sequence[str]) -> Iterator[_Taken]:
    """What retries come later than their delay. The dispatch is a step of its own, so its median is taken off."""
    for name in idle:
        own, wait_s = _own(rows, history.services.index(name)), history.scenario.services[name].retry.wait_s
        retried, started = of_kind(own, "retried").copy(), of_kind(own, "started")
        retried["attempt"] += 1
        late_s = _times_of_attempts(started, retried) - retried["t_s"] - wait_s
        idle_steps = _idle_consumer(history, rows, history.services.index(name))
        dispatches = next(one.took_s for one in idle_steps if one.step == "dispatch_s")
        if retried.size and dispatches.size:
            took_s = late_s - float(np.nanmedian(dispatches))
            yield _Taken("retry_s", retried["t_s"], np.zeros(retried.size), took_s)


def _restarting(history: History, rows: Rows) -> Iterator[_Taken]:
    """From starting a consumer until it reads."""
    killed, restarted = of_kind(rows, "killed")["t_s"], of_kind(rows, "restarted")["t_s"]
    kills = [fault for fault in history.scenario.faults if isinstance(fault, Kill) and fault.back_after_s is not None]
    if kills and killed.size == restarted.size == len(kills):
        back_after_s = np.array([fault.back_after_s for fault in kills])
        yield _Taken("start_s", restarted, np.zeros(restarted.size), restarted - killed - back_after_s)


def cpu_of(history: History, run: int, *, flooded: bool = False) -> list[CpuUse]:
    """What each process used of the processor in a history of one run, and the server.

    Processes that are `flooded` always have something to do, so that nothing wakes them up.
    """
    rows = history.run(0)
    uses = []
    for service in range(-1, len(history.services)):
        own = rows[(rows["service"] == service) & (rows["message"] >= 0)]
        noted = of_kind(rows[rows["service"] == service], "cpu")
        for consumer in np.unique(noted["consumer"]):
            of_process, cpu = own[own["consumer"] == consumer], noted[noted["consumer"] == consumer]
            if cpu.size == 2:  # one that was killed has noted no end
                role, kinds = (
                    ("generator", ("sent",)) if service < 0 else ("consumer", ("started", "handled", "failed"))
                )
                done = of_kind(of_process, *kinds)
                events = done.size if service < 0 else of_kind(done, "started").size
                uses.append(CpuUse(run, role, *_used(cpu, _wakes(done), float(events))))
    server = of_kind(rows, "server_cpu")
    if server.size == 2:
        done_by_server = [
            of_kind(rows, "published"),
            of_kind(rows, "started"),
            of_kind(rows, "acked", "retried", "dead"),
        ]
        wakes = sum(_wakes(done) for done in done_by_server)
        uses.append(CpuUse(run, "server", *_used(server, wakes, float(sum(done.size for done in done_by_server)))))
    return [replace(use, wakes=0.0) if flooded else use for use in uses if use.events]


def _used(noted: Rows, wakes: float, events: float) -> tuple[float, float, float, float]:
    """Seconds of processor time between two notes, what for, and how far the notes are apart."""
    return float(np.ptp(noted["value"])), wakes, events, float(np.ptp(noted["t_s"]))


def _wakes(rows: Rows) -> float:
    """How many times something was done after a rest."""
    return float(1 + np.count_nonzero(np.diff(np.sort(rows["t_s"])) > _AWAKE_S)) if rows.size else 0.0


def _own(rows: Rows, service: int) -> Rows:
    """What the process of a service with one consumer noted."""
    own: Rows = rows[(rows["service"] == service) & (rows["message"] >= 0)]
    return own


def _rest_s(own: Rows, at_s: Floats) -> Floats:
    """How long a process had noted nothing at these times. One that never had has rested long."""
    before = np.searchsorted(own["t_s"], at_s)
    return at_s - np.concatenate(([-1.0], own["t_s"]))[before]


def _times(rows: Rows, messages: Numbers) -> Floats:
    """When something happened to each of these messages; NaN where it did not."""
    found = np.full(int(max(rows["message"].max(initial=0), messages.max(initial=0))) + 1, np.nan)
    found[rows["message"]] = rows["t_s"]
    return found[messages]


def _times_of_attempts(rows: Rows, attempts: Rows) -> Floats:
    """When something happened to each of these attempts; NaN where it did not."""
    found = {(one["message"], one["attempt"]): one["t_s"] for one in rows[["message", "attempt", "t_s"]]}
    return np.array([found.get((one["message"], one["attempt"]), np.nan) for one in attempts[["message", "attempt"]]])
