"""What does each part of the calibration buy? The errors of the predictions without it, beside those of the whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.calibration import PARTS, Calibration
from sim.declare.scenario import Progress
from sim.errors import InvalidHistory
from sim.evidence.checks import check, invalid
from sim.evidence.history import History
from sim.evidence.metrics import Metrics, measure
from sim.infer.drift import drift
from sim.wording import number
from sim.worlds.simulated import simulate

METRICS = ("throughput_per_s", "lag_s_p50", "lag_s_p95", "lag_s_p99")
WHOLE, NOTHING = "the whole calibration", "no calibration"


@dataclass(frozen=True, slots=True)
class Ablation:
    """The errors of the predictions of some scenarios with one part left out.

    `errors` has for each metric the relative errors, simulated over live less 1, in the order of `scenarios`.
    """

    left_out: str
    what: str
    scenarios: tuple[str, ...]
    errors: dict[str, Any]

    def median(self, metric: str) -> float:
        """The median of the absolute relative errors of a metric."""
        return float(np.median(np.abs(self.errors[metric])))


def ablate(calibration: Calibration, live: Sequence[History], *, progress: Progress | None = None) -> list[Ablation]:
    """The whole calibration, then without each of its parts, then none, each against the same live runs.

    Runs whose load was late, or that ran while the machine was not as it was timed, say nothing and are left out.

    Raises:
        InvalidHistory: there are no live histories that say something.
    """
    if not live or any(history.world != "live" for history in live):
        raise InvalidHistory("ablations", "need live histories; write some with `workbench live --history FILE`")
    live = [history for history in live if _is_as_timed(history, calibration)]
    if not live:
        raise InvalidHistory("ablations", "in every run the load was late, or the machine not as it was timed")
    measured = [measure(history) for history in live]
    variants: list[tuple[str, str, Calibration | None]] = [
        (WHOLE, "", calibration),
        *((part, what, calibration.without(part)) for part, what in PARTS.items()),
        (NOTHING, "an infinitely fast machine", None),
    ]
    found = []
    for index, (name, what, variant) in enumerate(variants):
        predicted = [_predicted(history, variant) for history in live]
        errors = {
            metric: np.array([_error(*pair, metric) for pair in zip(predicted, measured, strict=True)])
            for metric in METRICS
        }
        found.append(Ablation(name, what, tuple(history.scenario.name for history in live), errors))
        if progress:
            progress((index + 1) / len(variants))
    return found


def _is_as_timed(history: History, calibration: Calibration) -> bool:
    drifted = drift(_predicted(history, calibration), measure(history))
    return not invalid(check(history)) and (drifted is None or drifted.as_timed)


def _predicted(history: History, calibration: Calibration | None) -> Metrics:
    """What is predicted for the seeds that ran live."""
    seeds = list(dict.fromkeys(run.seed for run in history.runs))
    return measure(simulate(history.scenario, seeds, calibration=calibration))


def _error(predicted: Metrics, measured: Metrics, metric: str) -> float:
    live = float(np.mean(measured[metric]))
    return float(np.mean(predicted[metric])) / live - 1.0


def ablations_text(found: Sequence[Ablation]) -> str:
    """The medians of the absolute errors as a table."""
    lines = [f"{'left out':<24}" + "".join(f"{metric:>18}" for metric in METRICS)]
    lines += [
        f"{one.left_out:<24}" + "".join(f"{number(100 * one.median(metric)) + ' %':>18}" for metric in METRICS)
        for one in found
    ]
    return "\n".join(lines)


def ablations_json(found: Sequence[Ablation]) -> dict[str, Any]:
    """The errors of each scenario for machines."""
    return {
        one.left_out: {
            metric: {"median": one.median(metric), "errors": dict(zip(one.scenarios, errors.tolist(), strict=True))}
            for metric, errors in one.errors.items()
        }
        for one in found
    }
