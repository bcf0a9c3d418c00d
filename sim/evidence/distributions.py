"""How lag, attempts and backlog are distributed, over messages, time and runs: what the figures draw."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.declare.declared import Floats
from sim.evidence.history import History
from sim.evidence.lags import QUANTILES, Lags
from sim.evidence.metrics import attempts
from sim.evidence.recovery import backlog, left_over
from sim.evidence.scaling import consumers_over_time

_BAND = (5, 50, 95)  # percentiles


@dataclass(frozen=True, slots=True)
class Band:
    """A middle line with 5 % of the values below `low` and 5 % above `high`. All arrays have shape (places,)."""

    at: Floats
    low: Floats
    middle: Floats
    high: Floats


def lag_over_time(lags: Lags) -> Band:
    """Quantiles of the lags in each bin of intended send times; NaN in a bin without messages."""
    bins = int(np.clip(lags.lag_s.size // 40, 8, 60))
    edges = np.linspace(0, lags.intended_s.max(initial=0) or 1, bins + 1)
    place = np.clip(np.searchsorted(edges, lags.intended_s, "right") - 1, 0, bins - 1)
    found = np.full((3, bins), np.nan)
    for index in np.unique(place):
        found[:, index] = np.percentile(lags.lag_s[place == index], _BAND)
    return Band((edges[:-1] + edges[1:]) / 2, *found)


def lag_tail(lags_s: Floats, places: int) -> tuple[Floats, Floats]:
    """Shares of the messages, from all down to a single one, and the lag that each share of them exceeds."""
    shares = _shares(lags_s.size, places)
    return shares, _exceeded_by(lags_s, shares)


def lag_tail_over_runs(runs: Sequence[Floats], places: int) -> Band:
    """At each share of the messages, the quantiles over runs of the lag that this share exceeds."""
    shares = _shares(min((lags_s.size for lags_s in runs), default=1), places)
    if not runs:
        return Band(shares, *np.full((3, places), np.nan))
    return Band(shares, *np.percentile([_exceeded_by(lags_s, shares) for lags_s in runs], _BAND, axis=0))


def lag_quantiles(runs: Sequence[Floats]) -> Floats:
    """p50, p95 and p99 of the lag: of each the mean over runs, as tables show it."""
    if not runs:
        return np.full(len(QUANTILES), np.nan)
    return np.asarray(np.mean([np.quantile(lags_s, list(QUANTILES.values())) for lags_s in runs], axis=0))


def attempt_shares(history: History, service: str) -> Floats:
    """The share of messages settled at each attempt, shape (runs that settled anything, most attempts)."""
    code = history.services.index(service)
    settled = [of_run for _, rows in history.each_run() if (of_run := attempts(rows, code)).sum()]
    if not settled:
        return np.empty((0, 0))
    most = max(of_run.size for of_run in settled)
    return np.array([np.pad(of_run, (0, most - of_run.size)) / of_run.sum() for of_run in settled])


def attempts_over_runs(shares: Floats) -> Band:
    """The band over runs of what `attempt_shares` found at each attempt. Its middle is the mean, so it adds up to 1."""
    low, _, high = np.percentile(shares, _BAND, axis=0)
    return Band(np.arange(1.0, shares.shape[1] + 1), low, shares.mean(axis=0), high)


def backlog_over_time(history: History, service: str, end_s: float) -> Band:
    """Quantiles over runs of a service's backlog, from 0 to `end_s`. After its end, a run stays at what it left."""
    every_s = history.scenario.sample_every_s
    at_s = np.arange(0, end_s + every_s, every_s)
    runs = []
    for run, rows in history.each_run():
        sampled_s, entries = backlog(rows, history.services.index(service))
        left = left_over(run.left[service])
        runs.append(np.interp(at_s, np.append(sampled_s, run.ended_s), np.append(entries, left), right=left))
    return Band(at_s, *np.percentile(runs, _BAND, axis=0))


def consumers_over_time_of(history: History, service: str, end_s: float) -> Band:
    """Quantiles over runs of how many consumers a service was to have, from 0 to `end_s`."""
    every_s, code = history.scenario.sample_every_s, history.services.index(service)
    at_s = np.arange(0, end_s + every_s, every_s)
    runs = []
    for _, rows in history.each_run():
        changed_s, many = consumers_over_time(history.scenario, rows, code)
        runs.append(many[np.maximum(0, np.searchsorted(changed_s, at_s, "right") - 1)])
    return Band(at_s, *np.percentile(runs, _BAND, axis=0))


def _shares(messages: int, places: int) -> Floats:
    return np.geomspace(1, 1 / max(messages, 1), places)


def _exceeded_by(lags_s: Floats, shares: Floats) -> Floats:
    return np.asarray(np.quantile(lags_s, 1 - shares))
