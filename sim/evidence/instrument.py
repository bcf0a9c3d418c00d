"""The error of the instrument itself: how late the load was sent, what was not sent, and how handlers overslept."""

import numpy as np

from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.evidence.history import Rows, of_kind
from sim.evidence.lags import QUANTILES, quantile
from sim.evidence.unhandled import sent_by_load

LATE_S = 0.005  # a generator whose p99 lateness reaches this did not drive the load that was declared
INSTRUMENT = ("lateness_s", "oversleep_s", "sent_late", "skipped")  # what the names of these metrics begin with


def instrument_metrics(scenario: Scenario, rows: Rows) -> dict[str, float]:
    """How late the load was sent, and how much longer than asked its handlers slept."""
    measured = {"lateness_s": lateness_s(rows), "oversleep_s": oversleep_s(scenario, rows)}
    times = {f"{name}_{q}": quantile(values, QUANTILES[q]) for name, values in measured.items() for q in ("p50", "p99")}
    return times | {"sent_late": float(sent_late(rows)), "skipped": float(of_kind(rows, "skipped").size)}


def lateness_s(rows: Rows) -> Floats:
    """How much later than it was due the load sent each message, in seconds, shape (messages,).

    It is due when it is meant to be sent, and later by the time for which a client holds it to send it in a batch.
    """
    sent = sent_by_load(rows)
    return np.asarray(sent["t_s"] - sent["intended_s"] - np.nan_to_num(sent["value"]))


def lateness_s_p99(rows: Rows) -> float:
    """The lateness that one message in a hundred exceeds; NaN where nothing was sent. `LATE_S` is the limit."""
    return quantile(lateness_s(rows), 0.99)


def sent_late(rows: Rows) -> int:
    """How many messages the load sent so late that they count against it: `LATE_S` or more."""
    return int(np.count_nonzero(lateness_s(rows) >= LATE_S))


def oversleep_s(scenario: Scenario, rows: Rows) -> Floats:
    """How much longer than asked each handler slept, in seconds, shape (attempts,). None was noted in a simulation.

    Handlers of the user's own are not asked to sleep.
    """
    asked = [code for code, service in enumerate(scenario.services.values()) if service.app is None]
    ended = of_kind(rows, "handled", "failed")
    slept = ended["value"][np.isin(ended["service"], asked)]
    return np.asarray(slept[~np.isnan(slept)])
