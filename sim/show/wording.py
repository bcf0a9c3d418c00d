"""Numbers, seeds and runs in words, as figures and the report write them."""

from collections.abc import Sequence

import numpy as np

from sim.evidence.history import History

MINUS, TO = "\N{MINUS SIGN}", "\N{EN DASH}"


def quantity(value: float, unit: str) -> str:
    """A number with its unit as people write it: "183 ms", "208 /s", "5,088 messages"."""
    if np.isnan(value):
        return "-"
    if np.isinf(value):
        return "not recovered"
    if unit == "s":
        return _seconds(value)
    if unit == "share":
        return f"{digits(100 * value)} %"
    return f"{digits(value)} {'/s' if unit == '1/s' else unit}".rstrip()


def digits(value: float, *, significant: int = 3, signed: bool = False) -> str:
    """A number with so many significant digits, at most four decimals and no exponent."""
    decimals = max(0, significant - 1 - int(np.floor(np.log10(abs(value))))) if value else 0
    text = f"{value:+,.{min(decimals, 4)}f}" if signed else f"{value:,.{min(decimals, 4)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("+0", "-0", "0") else text.replace("-", MINUS)


def _seconds(value_s: float) -> str:
    if abs(value_s) >= 1:
        return f"{digits(value_s)} s"
    if abs(value_s) >= 0.001 or value_s == 0:
        return f"{digits(1e3 * value_s)} ms"
    return f"{digits(1e6 * value_s)} µs"


def difference(value: float, unit: str) -> str:
    """A quantity with its sign: "+20 ms"."""
    return ("+" if value > 0 else "") + quantity(value, unit)


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


def counted(number: int, noun: str) -> str:
    """A number and its noun: "one check", "1,234 checks"."""
    return f"one {noun}" if number == 1 else f"{number:,} {noun}s"
