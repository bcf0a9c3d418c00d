"""The contents of a dead letter, and which dead letters a selection matches; without a server."""

import sys

import pytest

import eventlib as ev
from eventlib.dead_letter import describe

NOW_MS = 1_000_000
LAST = "900000-7"


def failure(depth: int = 0) -> ValueError:
    """An error that went through `depth` more calls."""

    def fail(left: int) -> None:
        if left:
            fail(left - 1)
        raise ValueError("no money")

    try:
        fail(depth)
    except ValueError as error:
        return error
    raise AssertionError("unreachable")


def said(error: BaseException | None, handler: str = "shop.bill") -> dict[str, str]:
    return describe("exhausted", error, handler=handler, consumer="c1")


def test_a_dead_letter_names_the_error_and_its_place() -> None:
    dead_letter = said(failure())
    assert dead_letter["error"] == "ValueError: no money"
    assert 'raise ValueError("no money")' in str(dead_letter["traceback"])
    assert (dead_letter["reason"], dead_letter["handler"], dead_letter["consumer"]) == ("exhausted", "shop.bill", "c1")


def test_without_an_error_or_a_handler_there_is_no_traceback() -> None:
    assert "traceback" not in said(None) and said(None)["error"] == ""
    assert "traceback" not in said(failure(), handler="")


def test_the_texts_of_a_dead_letter_are_limited() -> None:
    deep = failure(min(900, sys.getrecursionlimit() - 100))
    deep.args = ("x" * 1_000_000,)
    dead_letter = said(deep)
    assert len(str(dead_letter["error"])) == 2000
    assert len(str(dead_letter["traceback"])) <= 4100
    wide = said(ExceptionGroup("many", [failure() for _ in range(500)]))
    assert "no money" in str(wide["traceback"]) and len(str(wide["traceback"])) <= 4100


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")

    def __getattribute__(self, name: str) -> object:
        if name in ("__cause__", "__notes__", "__traceback__"):
            raise RuntimeError("nor that")
        return super().__getattribute__(name)


def test_a_broken_error_is_described_without_raising() -> None:
    assert "Unprintable" in str(said(Unprintable())["error"])
    dead_letter = said(ValueError("half \ud800 of a pair \x00"))
    assert all(str(value).encode() for value in dead_letter.values())


def bounds(which: ev.Selection, after: str | None = None) -> tuple[str, str] | None:
    return which.bounds(NOW_MS, LAST, after)


def test_a_selection_ends_with_the_newest_dead_letter_of_now() -> None:
    assert bounds(ev.Selection()) == ("0-0", LAST)


def test_times_bound_a_selection() -> None:
    top = 2**64 - 1
    assert bounds(ev.Selection(since_s=100.0, until_s=200.0)) == ("100000-0", f"199999-{top}")
    assert bounds(ev.Selection(older_than_s=300.0)) == ("0-0", f"699999-{top}")
    assert bounds(ev.Selection(older_than_s=50.0)) == ("0-0", LAST)
    assert bounds(ev.Selection(since_s=901.0)) is None
    assert bounds(ev.Selection(older_than_s=5000.0)) is None


@pytest.mark.parametrize("ms", [1_732_450_000_123, 1_732_450_000_001, 1_999_999_999_999])
def test_the_time_at_which_a_dead_letter_died_selects_it(ms: int) -> None:
    moment_s = ms / 1000.0
    assert ev.Selection(since_s=moment_s).bounds(0, f"{ms}-0") == (f"{ms}-0", f"{ms}-0")
    assert ev.Selection(until_s=moment_s, since_s=moment_s).bounds(0, f"{ms}-0") is None


def test_the_next_page_begins_after_the_last_dead_letter() -> None:
    assert bounds(ev.Selection(), "5-3") == ("5-4", LAST)
    assert bounds(ev.Selection(), f"5-{2**64 - 1}") == ("6-0", LAST)
    assert bounds(ev.Selection(since_s=1.0), "5-3") == ("1000-0", LAST)
    assert bounds(ev.Selection(), LAST) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"since_s": -1.0},
        {"until_s": float("nan")},
        {"older_than_s": float("inf")},
        {"ids": ["1"]},
        {"ids": "1-0"},
        {"ids": ["1-0; x"]},
        {"ids": [f"{2**64}-0"]},
    ],
)
def test_an_invalid_selection_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ev.InvalidArgument):
        ev.Selection(**wrong)  # type: ignore[arg-type]  # that is the point
