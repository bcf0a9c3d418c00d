"""Differences, seeds and runs in words, as figures and the report write them."""

from collections.abc import Sequence

import numpy as np

from sim.evidence.history import History
from sim.evidence.warm_up import warm_up_s
from sim.infer.compare import Row
from sim.wording import digits, quantity

MINUS, TO = "\N{MINUS SIGN}", "\N{EN DASH}"


def difference(value: float, unit: str) -> str:
    """A quantity with its sign: "+20 ms"."""
    return ("+" if value > 0 else "") + quantity(value, unit)


def percent(share: float, *, signed: bool = False) -> str:
    """A share in percent, to two digits: "3.8 %". NaN is "-"; infinite is a share of a live value of 0."""
    if np.isnan(share):
        return "-"
    if np.isinf(share):
        return "of 0" if share > 0 else f"{MINUS}of 0"
    return f"{digits(100 * share, significant=2, signed=signed)} %"


def error_bar(row: Row) -> str:
    """The relative error with its error bar and the number of live runs behind it: "+3.8 % ± 2.1 % (n = 6)"."""
    noise = "?" if np.isnan(row.relative_noise) else percent(row.relative_noise)
    return f"{percent(row.relative_error, signed=True)} \N{PLUS-MINUS SIGN} {noise} (n = {row.live_runs})"


def judged(row: Row) -> str:
    """What the error comes to: "within the tolerance of 10 %"."""
    tolerance = f"the tolerance of {percent(row.tolerance)}"
    if row.in_words == "machine changed":
        return f"of a machine that changed, so it cannot be told whether it is within {tolerance}"
    if row.verdict == "too noisy":
        return f"too noisy to tell whether it is within {tolerance}"
    if row.verdict == "unknown":
        return "which cannot be judged" + (": not every message was handled" if _is_bound(row) else "")
    return f"{row.verdict} {tolerance}"


def _is_bound(row: Row) -> bool:
    return bool(row.simulated_interval.unhandled or row.live_interval.unhandled)


def seeds(numbers: Sequence[int]) -> str:
    """Seeds as people write them: "seed 0", "seeds 0, 3, 7". Three or more in a row are named by the first and last."""
    found = sorted(set(numbers))
    word = "seed" if len(found) == 1 else "seeds"
    if len(found) > 2 and found[-1] - found[0] == len(found) - 1:
        return f"{word} {found[0]}{TO}{found[-1]}"
    return f"{word} {', '.join(map(str, found))}"


def replications(history: History) -> str:
    """How many runs there are, of which seeds, and how often each seed ran: "4 runs (seeds 0, 1 x 2 repeats)"."""
    numbers = [run.seed for run in history.runs]
    each = len(numbers) / len(set(numbers))
    repeated = f" x {each:g} repeats" if each > 1 else ""
    return f"{len(numbers)} run{'s' if len(numbers) > 1 else ''} ({seeds(numbers)}{repeated})"


def warm_up_in_words(history: History) -> str:
    """What the warm-up cuts of each run; nothing where none was asked for."""
    scenario, cut_s = history.scenario, warm_up_s(history)
    if scenario.warm_up is not None and not cut_s:
        return "Warm-up: MSER-5 cuts nothing, the backlog is as at the end from the start, or it never settles"
    found = "found by MSER-5" if scenario.warm_up is not None else "as declared"
    return f"Warm-up: the first {quantity(cut_s, 's')} of each run are left out, {found}" if cut_s else ""


def shortened(name: str) -> str:
    """A name as a figure has place for it: its beginning and its end, where it is long."""
    return name if len(name) <= 40 else f"{name[:16]}...{name[-21:]}"


def counted(number: int, noun: str) -> str:
    """A number and its noun: "one check", "1,234 checks"."""
    return f"one {noun}" if number == 1 else f"{number:,} {noun}s"
