"""What became of sagas: how each has ended, how long it took, and whether its acts agree with its end."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from eventlib.saga_policy import SagaStatus
from sim.declare.sagas import Saga
from sim.declare.scenario import Scenario
from sim.evidence.history import KINDS, Rows, Run, of_kind

ENDS: tuple[SagaStatus, ...] = ("completed", "compensated", "parked")
_ACTS = ("step_started", "step_done", "step_failed", "undo_started", "undo_done", "undo_failed")


@dataclass(slots=True)
class SagaRun:
    """One saga of one run. Times are seconds of the run; of acts that came more than once, the first counts."""

    started_s: float = float("inf")  # its first act
    last_begun_s: float = float("-inf")  # the last begin of a step
    done_s: dict[int, float] = field(default_factory=dict)  # by number of the step
    undoing_s: float = float("inf")  # when its first undo began
    undone_s: dict[int, float] = field(default_factory=dict)
    end: str = ""  # "" if it has not ended
    ended_s: float = float("nan")

    def is_whole(self, saga: Saga) -> bool:
        """Whether its acts agree with its end: all steps done, or every step that was done is undone, in reverse.

        One that is parked waits for an operator, in the open. One that has not ended is neither.
        """
        if self.end == "completed":
            return len(self.done_s) == len(saga.steps) and not self.undone_s
        if self.end == "compensated":
            to_undo = [at for at in self.done_s if not saga.steps[at].nothing_to_undo]
            in_order = sorted(self.undone_s, key=self.undone_s.__getitem__)
            behind = self.undoing_s >= self.last_begun_s
            return all(at in self.undone_s for at in to_undo) and in_order == sorted(in_order, reverse=True) and behind
        return self.end == "parked"


def sagas_of(scenario: Scenario, rows: Rows, service: int) -> dict[int, SagaRun]:
    """The sagas of a service in one run, by number; those that were started and left no other trace included."""
    event = list(scenario.flow.paths).index(list(scenario.services.values())[service].consumes)
    published = of_kind(rows[rows["event"] == event], "published")["message"]
    found = {int(number): SagaRun() for number in published}
    own = of_kind(rows[rows["service"] == service], *_ACTS, *ENDS)
    columns = (own[name].tolist() for name in ("kind", "t_s", "message", "value"))
    for code, t_s, number, value in zip(*columns, strict=True):
        saga, kind = found.setdefault(number, SagaRun()), KINDS[code]
        if kind in ENDS:
            saga.end, saga.ended_s = kind, t_s
            continue
        saga.started_s = min(saga.started_s, t_s)
        match kind:
            case "step_started":
                saga.last_begun_s = max(saga.last_begun_s, t_s)
            case "step_done":
                saga.done_s.setdefault(int(value), t_s)
            case "undo_started":
                saga.undoing_s = min(saga.undoing_s, t_s)
            case "undo_done":
                saga.undone_s.setdefault(int(value), t_s)
    return found


def half_done(scenario: Scenario, run: Run, rows: Rows, service: int) -> tuple[int, int]:
    """How many sagas are neither whole nor parked, and are not waiting for a worker either; and how many there were."""
    name = list(scenario.services)[service]
    saga = scenario.services[name].saga
    assert saga is not None, f"{name} runs no sagas"
    left = run.left[name]
    waiting = left.waiting + left.pending + left.retrying + left.delayed
    sagas = sagas_of(scenario, rows, service)
    open_ = sum(not one.end for one in sagas.values())
    broken = sum(bool(one.end) and not one.is_whole(saga) for one in sagas.values())
    return broken + max(0, open_ - waiting), len(sagas)


def services_with_sagas(scenario: Scenario) -> Iterator[tuple[int, str]]:
    """The services that run sagas, with their codes."""
    for code, (name, service) in enumerate(scenario.services.items()):
        if service.saga is not None:
            yield code, name
