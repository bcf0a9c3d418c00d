"""What of a run is cut because the system was still filling up: the same time in all runs of a history.

A cut of its own for each run would pick, run by run, what looks calm: the runs would no longer be alike.
"""

import numpy as np

from sim.declare.declared import Floats
from sim.evidence.history import KIND, History, Rows, of_kind

_BATCH = 5  # observations that are averaged before the rule looks at them


def warm_up_s(history: History) -> float:
    """How much of each run is cut, in seconds: as declared, or found by MSER-5 in the runs together. 0.0: nothing is.

    The rule looks at the backlog of all services while the load lasts, averaged over the runs.
    """
    scenario = history.scenario
    if scenario.warm_up is None:
        return scenario.warm_up_s
    entries = _mean_backlog(history)
    known = np.flatnonzero(~np.isnan(entries))  # looks fail while a server is away
    batches = mser_5(entries[known])
    return float(known[batches * _BATCH] * scenario.sample_every_s) if batches else 0.0


def mser_5(values: Floats) -> int | None:
    """How many batches of five observations to cut at the beginning. None where the second half is no calmer.

    The cut minimizes the marginal standard error of what is left: sum((y - mean)^2) / n^2 over the n batch means that
    are kept. A minimum in the second half says that the end is still unlike the rest.

    Source: White, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69(6), 1997;
    batches of five: White, Cobb and Spratt, "A comparison of five steady-state truncation heuristics for simulation",
    Winter Simulation Conference, 2000.
    """
    batches = values[: values.size // _BATCH * _BATCH].reshape(-1, _BATCH).mean(axis=1)
    if batches.size < 2:
        return None
    # Of the last n batches, for n = 1, 2, ...: sum((y - mean)^2) = sum(y^2) - sum(y)^2 / n. Centred, so it stays exact.
    backwards = (batches - batches.mean())[::-1]
    n = np.arange(1, batches.size + 1)
    squares = np.cumsum(backwards**2) - np.cumsum(backwards) ** 2 / n
    error = (np.maximum(squares, 0.0) / n**2)[::-1]
    # A handful of batches at the end may agree by chance, so the rule looks at cuts that keep some.
    cut = int(np.argmin(error[: max(1, batches.size - _BATCH)]))
    return cut if cut <= batches.size // 2 else None


def after(rows: Rows, from_s: float) -> Rows:
    """Without what belongs to the warm-up: messages that were meant to be sent in it, and looks at a backlog in it."""
    if not from_s:
        return rows
    of_message, sampled = ~np.isnan(rows["intended_s"]), rows["kind"] == KIND["sampled"]
    cut = (of_message & (rows["intended_s"] < from_s)) | (sampled & (rows["t_s"] < from_s))
    return np.asarray(rows[~cut])


def _mean_backlog(history: History) -> Floats:
    """The backlog of all services at each look while the load lasts, averaged over the runs. NaN where none looked."""
    every_s = history.scenario.sample_every_s
    looks = int(history.scenario.offered_load.duration_s / every_s)
    total, seen = np.zeros(looks), np.zeros(looks)
    for _, rows in history.each_run():
        sampled = of_kind(rows, "sampled")
        at = np.rint(sampled["t_s"] / every_s).astype(np.int64)
        within = (at >= 0) & (at < looks)
        np.add.at(total, at[within], sampled["value"][within])
        np.add.at(seen, at[within], 1.0)
    return np.asarray(np.divide(total, seen, out=np.full(looks, np.nan), where=seen > 0))
