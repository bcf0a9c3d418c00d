"""Numbers as people write them: in the report, on figures, and where a declaration is put into words."""

import numpy as np

_MINUS = "\N{MINUS SIGN}"


def quantity(value: float, unit: str) -> str:
    """A number with its unit: "183 ms", "208 /s", "5,088 messages".

    `value` is in `unit`: "s", "1/s", "share" (shown in percent) or any noun. NaN is "-", infinity "not recovered".
    """
    if np.isnan(value):
        return "-"
    if np.isinf(value):
        return "not recovered"
    if unit == "s":
        return _seconds(value)
    if unit == "share":
        return f"{digits(100 * value)} %"
    return f"{digits(value)} {'/s' if unit == '1/s' else unit}".rstrip()


def runs_in_words(runs: int) -> str:
    """How many runs: "1 run", "1,234 runs"."""
    return f"{runs:,} run{'' if runs == 1 else 's'}"


def number(value: float, *, significant: int = 4) -> str:
    """A number with so many significant digits for a table: "0.1523", "5,088", "-" where there is none."""
    if np.isnan(value):
        return "-"
    if np.isinf(value):
        return "not recovered"
    return f"{value:.{significant}g}" if abs(value) < 10**significant - 0.5 else f"{value:,.0f}"


def lower_bound(text: str, unhandled: float) -> str:
    """A quantile of lag, marked as a lower bound where a share of the messages was not handled: ">= 30 s"."""
    return f">= {text}" if unhandled else text


def at_least(text: str, unhandled: float) -> str:
    """As `lower_bound`, with that share: ">= 30 s, 97 % unhandled"."""
    return f"{lower_bound(text, unhandled)}, {share_unhandled(unhandled)}" if unhandled else text


def share_unhandled(unhandled: float) -> str:
    """What stands in place of an interval where the number is a lower bound: "97 % unhandled"."""
    return f"{digits(100 * unhandled)} % unhandled"


def digits(value: float, *, significant: int = 3, signed: bool = False) -> str:
    """A number with so many significant digits, at most four decimals, and never an exponent."""
    decimals = max(0, significant - 1 - int(np.floor(np.log10(abs(value))))) if value else 0
    text = f"{value:+,.{min(decimals, 4)}f}" if signed else f"{value:,.{min(decimals, 4)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("+0", "-0", "0") else text.replace("-", _MINUS)


def _seconds(value_s: float) -> str:
    """A time in the unit that keeps its number short."""
    if abs(value_s) >= 1:
        return f"{digits(value_s)} s"
    if abs(value_s) >= 0.001 or value_s == 0:
        return f"{digits(1e3 * value_s)} ms"
    return f"{digits(1e6 * value_s)} µs"
