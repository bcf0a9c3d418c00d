"""learn_services(): what handlers of the user's own do, learned from a short live run of them.

The load of that run is light, and there is one consumer of each service, so that no handler waits for another one. The
model adds the waiting: it knows for how long each attempt computes, which holds up all else of its process, and for how
long it waits, which does not. So a light load predicts a heavy one.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from sim.declare.declared import Floats, Numbers
from sim.declare.dependencies import Dependency
from sim.declare.loads import Load
from sim.declare.loads.batching import BatchingLoad
from sim.declare.loads.constant import ConstantLoad
from sim.declare.own_handlers import MAX_SLOTS, Emission, Emitted, Learned, Occurrences
from sim.declare.sagas import SagaStep, UndoStep
from sim.declare.scenario import Progress, Scenario
from sim.declare.service import Service
from sim.declare.service_times import ServiceTime
from sim.declare.service_times.empirical import EmpiricalTime
from sim.errors import LiveRunFailed
from sim.evidence.history import KIND, KINDS, History, Rows, of_kind
from sim.evidence.unhandled import sent_by_load
from sim.progress import shown
from sim.worlds.live import run_live

_NOTED = ("stolen", "snoozed", "put_off")  # between the start and the end of an attempt

Timed = TypeVar("Timed", Dependency, SagaStep, UndoStep)

Flags = npt.NDArray[np.bool_]

LEARN_S = 5.0  # how long the load of the learning run lasts
_PROBE_S, _PROBE_PER_S = 1.0, 20.0  # first a short look: how fast may the load be?
_BUSY_MAX = 0.3  # share of the time that the busiest handler may compute: at even distances, few wait for another
_FULL_MAX = 0.8  # share of the places that may be taken by handlers that wait
_MESSAGES_MIN, _LEARN_S_MAX = 20, 60.0
_POINTS_MIN = 2  # a line goes through two points
_BURST_MAX = 8  # messages that come at once where handlers take batches
_SEED = 1_000_003  # of its own: a payload function makes other events for what is predicted


async def learn_services(
    scenario: Scenario, *, seconds: float = LEARN_S, url: str | None = None, progress: Progress | None = None
) -> Scenario:
    """The scenario with what its own handlers were seen to do. It is the same if it has none, or knows them already.

    It learns the distribution of the handling times, and how much of each is computing, of attempts that succeed and of
    those that do not; how often attempts fail, reject, snooze or ask for a wait of their own; and how many events of
    each type a handled message sets off. Two live runs take about `seconds` and a few seconds more.

    A payload function makes other events here than in the runs that are predicted. Of recorded events, as many as the
    load sends are learned from, from a place in the file that the seed says; the example of a class is always the same.

    Raises:
        InvalidScenario: the App cannot be used.
        LiveRunFailed: too little was handled to learn from.
        SimError, EventlibError: as `run_live` does.
    """
    if all(service.learned for service in scenario.services.values()):
        return scenario
    with shown(progress, f"learning {scenario.name}") as tell:
        return await _watch(scenario, seconds, url, tell)


async def _watch(scenario: Scenario, seconds: float, url: str | None, tell: Progress) -> Scenario:
    """Run the services, first to see how fast the load may be, and then to learn from it."""
    whole_s = _PROBE_S + seconds
    looked = await run_live(
        _light(scenario, _PROBE_PER_S, _PROBE_S),
        [_SEED],
        repeats=1,
        url=url,
        progress=lambda share: tell(share * _PROBE_S / whole_s),
    )
    rate_per_s = _rate_per_s(scenario, looked)
    seconds = max(seconds, min(_LEARN_S_MAX, 1.5 * _MESSAGES_MIN / rate_per_s))  # slow handlers are watched for longer
    ran = await run_live(
        _light(scenario, rate_per_s, seconds, _burst(looked.scenario)),
        [_SEED + 1],
        repeats=1,
        url=url,
        progress=lambda share: tell((_PROBE_S + share * seconds) / whole_s),
    )
    own = [name for name, service in scenario.services.items() if service.app is not None]
    services = {
        name: service.model_copy(update={"wire": ran.scenario.services[name].wire})
        for name, service in scenario.services.items()
    }
    return scenario.with_services(services | {name: learned_of(scenario.services[name], ran, name) for name in own})


def _burst(scenario: Scenario) -> int:
    """How many messages are to come at once at most, so that batch handlers show what each message of a call takes."""
    sizes = [service.batch.size for service in scenario.services.values() if service.app and service.batch]
    return min(_BURST_MAX, max(sizes, default=1))


def _light(scenario: Scenario, rate_per_s: float, duration_s: float, burst: int = 1) -> Scenario:
    """The same services, with one consumer each and no faults, under an even load; or one of bursts of 1 to `burst`.

    Its messages are as large as those of the scenario's own load, and have the same fields. What follows a recorded
    column there, which an even load has not, is drawn from what it is in the scenario.
    """
    own, sizes = scenario.offered_load, scenario.offered_load.size_bytes
    said = {
        "event": own.event,
        "mix": own.mix,
        "size_bytes": None if sizes is None or sizes.kind == "column" else sizes,
        "fields": own.fields,
    }
    times = {"rate_per_s": rate_per_s, "duration_s": duration_s}
    load: Load = ConstantLoad.model_validate({"kind": "constant"} | said | times)
    if burst > 1:
        wait_s = burst / (2.0 * rate_per_s)
        of = {"kind": "poisson"} | times
        load = BatchingLoad.model_validate({"kind": "batching", "of": of, "size": burst, "wait_s": wait_s} | said)
    drawn = _WithoutColumns(scenario, load)
    services = {
        name: service.model_copy(update={"consumers": 1, "autoscale": None} | drawn.of_service(service))
        for name, service in scenario.services.items()
    }
    return Scenario(
        name=f"{scenario.name}, learned",
        load=load,
        services=services,
        dependencies={name: drawn.timed(one) for name, one in scenario.dependencies.items()},
        drain_s=max(30.0, scenario.drain_s),
    )


class _WithoutColumns:
    """Replaces service times that a load cannot say by the distribution that they have in the scenario."""

    def __init__(self, scenario: Scenario, load: Load) -> None:
        self._plan = scenario.plan(_SEED)
        self._there = scenario.offered_load.carrying(self._plan.size_bytes, self._plan.fields)
        self._load = load

    def of_service(self, service: Service) -> dict[str, Any]:
        """The fields of a service that change."""
        if service.saga is None:
            return {"service_time": self._time(service.service_time)}
        steps = [
            self.timed(step).model_copy(update={"undo": step.undo and self.timed(step.undo)})
            for step in service.saga.steps
        ]
        return {"saga": service.saga.model_copy(update={"steps": tuple(steps)})}

    def timed(self, declared: Timed) -> Timed:
        """The same dependency, step or undo with such a time."""
        return declared.model_copy(update={"service_time": self._time(declared.service_time)})

    def _time(self, declared: ServiceTime) -> ServiceTime:
        if declared.problem(self._load) is None:
            return declared
        n = self._plan.arrivals_s.size
        return EmpiricalTime.of(declared.draw(n, np.random.default_rng(_SEED), self._there))


def _rate_per_s(scenario: Scenario, looked: History) -> float:
    """A rate at which no handler waits for another one: the scenario's own (but at least 4/s), or a lower one."""
    load = scenario.offered_load
    sent = scenario.plan(_SEED).arrivals_s.size / max(load.duration_s, 1e-9)
    rates = [max(sent, _MESSAGES_MIN / LEARN_S)]
    for name, service in looked.scenario.services.items():
        if service.app is None:
            continue
        found = _Attempts.of(looked, name)
        if found.ends.size:
            a_root = found.ends.size / max(1, sent_by_load(looked.rows).size)
            held_s = float(np.mean(found.cpu_s + found.stolen_s))
            rates.append(_BUSY_MAX / (a_root * max(held_s, 1e-6)))
            rates.append(_FULL_MAX * service.concurrency / (a_root * max(float(found.whole_s.mean()), 1e-6)))
    return float(min(rates))


@dataclass(frozen=True, slots=True)
class _Attempts:
    """Attempts that ended. All have shape (attempts,): seconds, seconds of computing, and the rows of the ends.

    `stolen_s` are seconds for which other processes had the processor. They are in neither of the other two.
    `snooze_s` and `put_off_s` are the waits that the attempts asked for; NaN where they asked for none.
    """

    whole_s: Floats
    cpu_s: Floats
    stolen_s: Floats
    snooze_s: Floats
    put_off_s: Floats
    ends: Rows

    def chosen(self, flags: Flags) -> Self:
        """Some of them."""
        return type(self)(*(getattr(self, field.name)[flags] for field in fields(self)))

    @classmethod
    def of(cls, history: History, name: str) -> Self:
        """Those of one service.

        A snoozed attempt has the number of the next one. So an end belongs to the last start before it.
        """
        own = history.rows[history.rows["service"] == history.services.index(name)]
        noted = of_kind(own, "started", "handled", "failed", *_NOTED)
        begun: dict[tuple[int, int], dict[str, float]] = {}
        found, ends = [], []
        for number, row in enumerate(noted):
            key, kind = (row["message"].item(), row["attempt"].item()), KINDS[row["kind"]]
            if kind == "started":
                begun[key] = {"started": float(row["t_s"])}
            elif kind in _NOTED:
                begun.get(key, {})[kind] = float(row["value"])
            elif (of_attempt := begun.pop(key, None)) is not None:
                found.append([of_attempt.get(kind, np.nan) for kind in ("started", *_NOTED)])
                ends.append(number)
        rows = noted[ends]
        began_s, stolen_s, snooze_s, put_off_s = np.array(found).reshape(-1, 1 + len(_NOTED)).T
        took_s = rows["t_s"] - began_s
        stolen_s = np.minimum(np.nan_to_num(stolen_s), took_s)
        held_s = np.where(np.isnan(rows["value"]), 0.0, rows["value"])
        cpu_s = np.minimum(held_s, took_s - stolen_s)
        return cls(took_s - stolen_s, cpu_s, stolen_s, snooze_s, put_off_s, rows)


def learned_of(declared: Service, history: History, name: str) -> Service:
    """The service with what the history of a run shows of it.

    Raises:
        LiveRunFailed: it shows too little.
    """
    attempts = _Attempts.of(history, name)
    ended = attempts.ends
    if ended.size < _MESSAGES_MIN:
        raise LiveRunFailed(
            f"services.{name}",
            f"only {ended.size} attempts ended while it was learned, {_MESSAGES_MIN} are needed; learn it for "
            "longer (sim.learn_services(..., seconds=)), or send it more",
        )
    seen = history.scenario.services[name]
    assert seen.own is not None
    own = history.rows[history.rows["service"] == history.services.index(name)]
    dead = of_kind(own, "dead")
    rejected = dead[dead["attempt"] < seen.retry.attempts]  # what is given up before its last attempt was rejected
    keys = ["message", "attempt"]
    succeeded, snoozed = ended["kind"] == KIND["handled"], ~np.isnan(attempts.snooze_s)
    errors = ~succeeded & ~snoozed & ~np.isin(ended[keys], rejected[keys])
    first, again = ~snoozed & (ended["attempt"] == 1), ~snoozed & (ended["attempt"] > 1)
    learned = Learned(
        attempts=int(ended.size),
        retry_error_rate=_share(errors[again]) if again.any() else _share(errors[first]),
        reject_rate=rejected.size / max(1, int(np.count_nonzero(~snoozed))),
        emits={one.event: _emission(history, name, one) for one in history.scenario.flow.emitted_by[name]},
        failed_time=_time(attempts.chosen(~succeeded)) if not succeeded.all() else None,
        snoozes=_snoozes(ended, snoozed),
        snooze_s=_mean(attempts.snooze_s),
        put_off_share=_share(~np.isnan(attempts.put_off_s[errors])),
        put_off_s=_mean(attempts.put_off_s),
    )
    timed, batch = attempts.chosen(succeeded if succeeded.any() else ~succeeded), seen.batch
    if declared.follows is not None:
        timed, slope_s, cpu_slope_s = _without_line(timed, _said(timed, declared, history, name))
        learned = learned.model_copy(update={"per_unit_s": slope_s, "cpu_per_unit_s": cpu_slope_s})
    elif batch is not None:
        timed, slope_s, cpu_slope_s = _without_line(*_calls(attempts, own))
        batch = batch.model_copy(update={"per_message_s": slope_s})
        learned = learned.model_copy(update={"failed_time": None, "cpu_per_message_s": cpu_slope_s})
    found = {
        "service_time": _time(timed).model_dump(),
        "batch": batch.model_dump() if batch is not None else None,
        "error_rate": _share(errors[first]),
        "own": seen.own.model_copy(update={"learned": learned}).model_dump(),
        "consumers": declared.consumers,
        "autoscale": declared.autoscale.model_dump() if declared.autoscale is not None else None,
    }
    return Service.model_validate(seen.model_dump() | found)


def _said(attempts: _Attempts, declared: Service, history: History, name: str) -> Floats:
    """What the messages of these attempts say in the field that the service follows, shape (attempts,)."""
    assert declared.follows is not None, "it follows a field"
    (run,), paths, field = history.runs, history.scenario.flow.paths[declared.consumes], declared.follows
    said = np.maximum(history.scenario.plan(run.seed).fields[field], 0.0)[attempts.ends["message"] // paths]
    if np.unique(said).size < _POINTS_MIN:
        problem = f"all messages say the same {field}; let load.fields.{field} vary, and learn again"
        raise LiveRunFailed(f"services.{name}.follows", problem)
    return np.asarray(said)


def _calls(attempts: _Attempts, own: Rows) -> tuple[_Attempts, Floats]:
    """Of the attempts of a batch handler those that stand for a call, and how many messages each call had."""
    called = of_kind(own, "batch")
    sizes = {(row["message"].item(), row["attempt"].item()): float(row["value"]) for row in called}
    found = [sizes.get((row["message"].item(), row["attempt"].item()), np.nan) for row in attempts.ends]
    stands = ~np.isnan(found)
    return attempts.chosen(stands), np.array(found)[stands]


def _without_line(attempts: _Attempts, units: Floats) -> tuple[_Attempts, float, float]:
    """The attempts without what each unit took; and that, in seconds, of all and of those that compute.

    These are the slopes of least squares.
    """
    if np.unique(units).size < _POINTS_MIN:
        return attempts, 0.0, 0.0
    slope_s, cpu_slope_s = (max(0.0, float(np.polyfit(units, of, 1)[0])) for of in (attempts.whole_s, attempts.cpu_s))
    cpu_slope_s = min(cpu_slope_s, slope_s)
    whole_s, cpu_s = np.maximum(attempts.whole_s - slope_s * units, 0.0), attempts.cpu_s - cpu_slope_s * units
    return replace(attempts, whole_s=whole_s, cpu_s=np.clip(cpu_s, 0.0, whole_s)), slope_s, cpu_slope_s


def _time(attempts: _Attempts) -> EmpiricalTime:
    return EmpiricalTime.of(attempts.whole_s, attempts.cpu_s)


def _snoozes(ended: Rows, snoozed: Flags) -> Occurrences:
    """How often messages were snoozed, of all of which an attempt ended."""
    messages, place = np.unique(ended["message"], return_inverse=True)
    times = np.minimum(np.bincount(place, snoozed, messages.size), MAX_SLOTS).astype(np.int64)
    return Occurrences(shares=tuple((np.bincount(times) / messages.size).tolist()))


def _mean(values: Floats) -> float:
    """The mean of those that are numbers; 0 if none is."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else 0.0


def _emission(history: History, name: str, emitted: Emitted) -> Emission:
    """How many events of a type a handled message set off, and when. None where nothing was handled."""
    flow, consumes = history.scenario.flow, history.scenario.services[name].consumes
    own = history.rows[history.rows["service"] == history.services.index(name)]
    handled = np.unique(of_kind(own, "handled")["message"])
    sent = of_kind(own[own["event"] == list(flow.paths).index(emitted.event)], "sent")
    numbers, places = np.unique(sent["message"], return_index=True)
    causes = flow.causes(emitted, consumes, numbers)
    counts = [int(np.count_nonzero(causes == message)) for message in handled] or [0]
    shares = np.bincount(counts) / len(counts)
    return Emission(shares=tuple(shares.tolist()), after=_after(own, causes, sent["t_s"][places]))


def _after(own: Rows, causes: Numbers, sent_s: Floats) -> float:
    """The mean share of the handling time that had passed when events were published. 1 where none was."""
    begun, ended = (
        {row["message"].item(): float(row["t_s"]) for row in of_kind(own, kind)} for kind in ("started", "handled")
    )
    shares = [
        (at_s - begun[cause]) / (ended[cause] - begun[cause])
        for cause, at_s in zip(causes.tolist(), sent_s.tolist(), strict=True)
        if cause in ended and begun[cause] <= at_s <= ended[cause] and ended[cause] > begun[cause]
    ]
    return float(np.mean(shares)) if shares else 1.0


def _share(flags: Flags) -> float:
    return float(flags.mean()) if flags.size else 0.0
