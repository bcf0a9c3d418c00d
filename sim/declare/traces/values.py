"""The values of a trace's columns: what a time and a number may look like, one by one and whole columns at once.

A column is read by pyarrow, which takes a second for millions of rows. What may stand in it is said by patterns, which
hold for a single text too: so the row that does not fit can be found and named.
"""

import re
from datetime import datetime
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from sim.declare.declared import Floats

Unit = Literal["s", "ms", "us", "ns"]
PER_S: dict[Unit, float] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
NUMBER_MAX = 1e15

# Years that nanoseconds in 64 bits can tell: NumPy and pyarrow would take others for a moment centuries away.
_MOMENT = r"(?:19[7-9]\d|20\d\d|21\d\d|22[0-5]\d|226[01])-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?"
NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?"
_FORMS = {
    "a number": NUMBER,
    "a time without a zone": _MOMENT,
    "a time with a zone": _MOMENT + r"(?:Z|[-+]\d\d(?::?\d\d)?)",
}
_WHOLE = r"\d{1,19}"
_TICKS_MAX = 9.2e18  # 64 bits hold them


class Unfit(Exception):
    """A column has a value that does not fit."""


class Moments(NamedTuple):
    """Times, shape (n,): `ticks` of which there are `per_s` in a second."""

    ticks: npt.NDArray[Any]  # int64, or float64
    per_s: float


def form_of(text: str) -> str | None:
    """What kind of time a text is, in words; None if it is none."""
    return next((name for name, pattern in _FORMS.items() if re.fullmatch(pattern, text, re.ASCII)), None)


def problem_of_time(text: str, form: str) -> str | None:
    """Why a text is no time of this form; None if it is one."""
    if (found := form_of(text)) is None and form_of(text.replace(",", ".")):
        return "the time has a comma where a decimal point is read"
    if found is None:
        return "the time is neither YYYY-MM-DD HH:MM:SS, with or without a zone, nor a number"
    if found != form:
        return f"the time is {found}, and the first one is {form}"
    if form == "a number":
        return None if abs(float(text)) <= _TICKS_MAX else "the time is out of range"
    try:
        datetime.fromisoformat(re.sub(r"\.\d+", "", text))
    except ValueError as error:
        return str(error)
    return None


def problem_of_number(text: str) -> str | None:
    """Why a text is no number of a trace; None if it is one."""
    if not re.fullmatch(NUMBER, text, re.ASCII):
        if re.fullmatch(NUMBER, text.replace(",", "."), re.ASCII):
            return f"{text!r} has a comma where a decimal point is read"
        return f"{text!r} is no number" if text else "a number is missing"
    return None if 0 <= float(text) <= NUMBER_MAX else f"{text} is not from 0 to {NUMBER_MAX:g}"


def moments(texts: Any, unit: Unit | None) -> Moments:
    """The times of a column of texts (a pyarrow array).

    Raises:
        Unfit: one is no time, or another kind of time than the first one, or the unit cannot be told.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    form = form_of(texts[0].as_py()) if len(texts) else None
    if form is None or not _all_match(texts, _FORMS[form]):
        raise Unfit
    if form == "a number":
        whole = _all_match(texts, rf"-?{_WHOLE}")
        return counted(_cast(texts, pa.int64() if whole else pa.float64()), unit)
    stamps = pa.timestamp("ns", "UTC" if form == "a time with a zone" else None)
    try:
        return Moments(pc.cast(pc.cast(texts, stamps), pa.int64()).to_numpy(), PER_S["ns"])
    except pa.ArrowInvalid as error:
        raise Unfit from error


def counted(ticks: npt.NDArray[Any], unit: Unit | None) -> Moments:
    """Times that are numbers. Their unit is found by their size: a recording is of the years after 1973.

    Raises:
        Unfit: the unit cannot be told, or one is out of range.
    """
    if not np.all(np.abs(ticks) <= _TICKS_MAX):
        raise Unfit("a time is out of range")
    if unit is None:
        largest, smallest = float(ticks.max()), float(ticks.min())
        if smallest >= 1e8 and largest > 500 * smallest:
            raise Unfit(f"times of several units are mixed, such as {smallest:g} and {largest:g}")
        unit = "s" if largest < 1e11 else "ms" if largest < 1e14 else "us" if largest < 1e17 else "ns"
    return Moments(ticks, PER_S[unit])


def numbers(texts: Any) -> Floats:
    """The numbers of a column of texts (a pyarrow array), shape (n,).

    Raises:
        Unfit: one is no number, or is negative.
    """
    import pyarrow as pa

    if not _all_match(texts, NUMBER):
        raise Unfit
    return in_range(_cast(texts, pa.float64()))


def in_range(values: npt.NDArray[Any]) -> Floats:
    """Numbers that a trace may have, shape (n,).

    Raises:
        Unfit: one of them is none.
    """
    found = np.asarray(values, np.float64)
    if not np.all((found >= 0) & (found <= NUMBER_MAX)):
        raise Unfit(f"a number is not from 0 to {NUMBER_MAX:g}")
    return found


def _all_match(texts: Any, pattern: str) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(texts, f"^(?:{pattern})$"), min_count=0).as_py())


def _cast(texts: Any, to: Any) -> npt.NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        found: npt.NDArray[Any] = pc.cast(texts, to).to_numpy()
    except pa.ArrowInvalid as error:
        raise Unfit from error
    return found
