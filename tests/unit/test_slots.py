"""The slots of cron lines and intervals, with time zones and both directions of daylight saving."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from eventlib.slots import Cron, Interval, Passed, Slots, iso_time


def at(text: str) -> float:
    """Unix seconds of an ISO moment; UTC if it names no offset."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def after(slots: Slots, instant_s: float, count: int) -> list[float]:
    found = list[float]()
    while len(found) < count:
        instant_s = slots.after(instant_s) or float("inf")
        found.append(instant_s)
    return found


def shown(line: str, zone: str, start: str, count: int) -> list[str]:
    """The first slots after a local time, as the zone's clock shows them, with the offset in minutes."""
    tz = ZoneInfo(zone)
    start_s = datetime.fromisoformat(start).replace(tzinfo=tz).timestamp()
    moments = [datetime.fromtimestamp(slot_s, tz) for slot_s in after(Cron(line, zone), start_s, count)]
    return [m.strftime("%d %H:%M ") + f"{(m.utcoffset() or timedelta()).total_seconds() / 60:+.0f}" for m in moments]


# Each zone's clock moves: Berlin at 01:00 UTC, New York at 2:00, Lord Howe by half an hour, Santiago at midnight.
FORWARD = [
    # A fixed time that is skipped: due when the clock has moved. Once, also if two of its times are skipped.
    ("30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", ["29 03:00 +120", "30 02:30 +120"]),
    ("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29 01:00", ["29 03:00 +120", "29 03:30 +120", "30 02:00 +120"]),
    ("0 2 * * *", "America/New_York", "2026-03-07 12:00", ["08 03:00 -240", "09 02:00 -240"]),
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", ["04 02:30 +660", "05 02:15 +660"]),
    ("0 0 * * *", "America/Santiago", "2026-09-05 12:00", ["06 01:00 -180", "07 00:00 -180"]),
    # A wildcard: not due in what is skipped.
    ("*/30 * * * *", "Europe/Berlin", "2026-03-29 01:00", ["29 01:30 +60", "29 03:00 +120", "29 03:30 +120"]),
    ("*/20 2 * * *", "America/New_York", "2026-03-07 02:20", ["07 02:40 -300", "09 02:00 -240"]),
    ("*/20 2 * * *", "Australia/Lord_Howe", "2026-10-04 01:00", ["04 02:40 +660", "05 02:00 +660"]),
    ("*/30 0 * * *", "America/Santiago", "2026-09-05 12:00", ["07 00:00 -180", "07 00:30 -180"]),
]
BACK = [
    # A fixed time that comes twice: due the first time.
    ("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", ["25 02:30 +120", "26 02:30 +60"]),
    ("0,30 1,2 * * *", "America/New_York", "2026-11-01 00:30", ["01 01:00 -240", "01 01:30 -240", "01 02:00 -300"]),
    ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00", ["05 01:45 +660", "06 01:45 +630"]),
    ("30 23 * * *", "America/Santiago", "2026-04-04 12:00", ["04 23:30 -180", "05 23:30 -240"]),
    # A wildcard: due each time that the clock shows it.
    ("30 * * * *", "Europe/Berlin", "2026-10-25 02:00", ["25 02:30 +120", "25 02:30 +60", "25 03:30 +60"]),
    ("*/30 1 * * *", "America/New_York", "2026-11-01 01:00", ["01 01:30 -240", "01 01:00 -300", "01 01:30 -300"]),
    ("45 * * * *", "Australia/Lord_Howe", "2026-04-05 01:00", ["05 01:45 +660", "05 01:45 +630", "05 02:45 +630"]),
    ("* 2 * * *", "Australia/Lord_Howe", "2026-04-04 12:00", ["05 02:00 +630", "05 02:01 +630"]),
]


@pytest.mark.parametrize(("line", "zone", "start", "slots"), FORWARD + BACK)
def test_slots_where_the_clock_is_put_forward_or_back(line: str, zone: str, start: str, slots: list[str]) -> None:
    assert shown(line, zone, start, len(slots)) == slots


def test_a_fixed_time_is_not_due_again_when_asked_from_its_second_coming() -> None:
    second = datetime(2026, 10, 25, 2, 15, fold=1, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    assert iso_time(Cron("30 2 * * *", "Europe/Berlin").after(second) or 0.0) == "2026-10-26T01:30:00Z"


MOVES = {
    "Europe/Berlin": ("2026-03-28", "2026-10-24"),
    "America/New_York": ("2026-03-07", "2026-10-31"),
    "Australia/Lord_Howe": ("2026-04-04", "2026-10-03"),
    "America/Santiago": ("2026-04-04", "2026-09-05"),
    "Asia/Kolkata": ("2026-03-28",),  # no daylight saving
}


@pytest.mark.parametrize("line", ["* * * * *", "*/7 2,3 * * *", "* 1 * * SUN", "0 */2 * 3,10 *"])
@pytest.mark.parametrize("zone", MOVES)
def test_a_wildcard_line_is_due_at_each_minute_that_the_clock_shows_it(line: str, zone: str) -> None:
    """Against a plain search through every minute around the moves of the clock."""
    cron, tz = Cron(line, zone), ZoneInfo(zone)
    wanted = [numbers(part) for part in line.replace("SUN", "0").split()]
    for start in MOVES[zone]:
        start_s = at(start)
        minutes = [start_s + 60.0 * minute for minute in range(1, 1 + 36 * 60)]
        due = [slot_s for slot_s in minutes if fits(wanted, datetime.fromtimestamp(slot_s, tz))]
        assert after(cron, start_s, len(due) + 1)[:-1] == due


def fits(wanted: list[set[int]], moment: datetime) -> bool:
    """Whether a clock that shows `moment` fits a line; for lines with a star in one of the two day fields."""
    values = (moment.minute, moment.hour, moment.day, moment.month, moment.isoweekday() % 7)
    return all(value in numbers for value, numbers in zip(values, wanted, strict=True))


def numbers(part: str) -> set[int]:
    found = set[int]()
    for term in part.split(","):
        text, _, step = term.partition("/")
        first, _, last = ("0-59" if text == "*" else text).partition("-")
        found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return found


def test_the_29th_of_february_comes_in_leap_years_alone() -> None:
    slots = after(Cron("0 12 29 2 *", "Europe/Berlin"), at("2096-03-01"), 3)
    assert [iso_time(slot_s) for slot_s in slots] == [f"{year}-02-29T11:00:00Z" for year in (2104, 2108, 2112)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("61 * * * *", "the minute '61' is wrong"),
        ("* 24 * * *", "the hour '24' is wrong"),
        ("* * 0 * *", "the day-of-month '0' is wrong"),
        ("* * * JANUARY *", "the month 'JANUARY' is wrong"),
        ("* * * * MON#6", "the day-of-week 'MON#6' is wrong"),
        ("60 * * * * *", "the second '60' is wrong"),
        ("*/0 * * * *", "the minute '*/0' is wrong"),
        ("5-1 * * * *", "the minute '5-1' is wrong"),
        ("\N{ARABIC-INDIC DIGIT ONE} * * * *", "the minute"),
        ("9" * 5000 + " * * * *", "at most 1000 characters"),
        ("", "has 0 fields"),
        ("* * * *", "has 4 fields"),
        ("@daily", "has 1 fields"),
        ("0 0 30 2 *", "it is never due: month 2 has no day 30"),
        ("0 0 31 4,6 *", "it is never due: month 4,6 has no day 31"),
        ("0 0 */20 * 1L", "is never due"),
        (b"* * * * *", "at most 1000 characters"),
    ],
)
def test_a_broken_line_is_refused_with_the_field_that_is_wrong(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match="cron") as refused:
        Cron(line)
    assert problem in str(refused.value)


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "../etc/passwd", "Europe", "", "\0", "CEST+1", None, 1])
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        Cron("* * * * *", zone)


@pytest.mark.parametrize("slots", [Cron("* * * * *", "Asia/Tokyo"), Cron("0 0 1 1 *", "America/New_York")])
def test_after_the_last_year_no_slot_follows(slots: Slots) -> None:
    assert slots.after(at("9999-12-31T23:59:30")) is None


@pytest.mark.parametrize(
    ("every_s", "offset_s"), [(1.0, 0.0), (0.25, 0.1), (86400.0, 3600.0), (0.1, 0.0), (7.0, 6.999)]
)
def test_an_interval_has_the_same_slots_from_wherever_it_is_looked_at(every_s: float, offset_s: float) -> None:
    rng, slots = random.Random(1), Interval(every_s, offset_s)
    for _ in range(200):
        now_s = rng.uniform(1.6e9, 1.9e9)
        first, second = after(slots, now_s, 2)
        assert now_s < first <= now_s + every_s + 1e-6 and second - first == pytest.approx(every_s, abs=1e-6)
        assert slots.after(first - 0.0005) == first and round(first * 1000.0) / 1000.0 == first
        assert (round(first * 1000.0) - round(offset_s * 1000.0)) % round(every_s * 1000.0) == 0


@pytest.mark.parametrize(
    ("every_s", "offset_s"),
    [
        *((every_s, 0.0) for every_s in (0.0, -1.0, 0.001, 1e10, float("nan"), float("inf"), 1.00005, 10**400)),
        *((every_s, 0.0) for every_s in (True, "1", None)),
        *((1.0, offset_s) for offset_s in (1.0, -0.1, "0", float("nan"))),
    ],
)
def test_an_interval_out_of_its_range_is_refused(every_s: float, offset_s: float) -> None:
    with pytest.raises(ValueError, match=r"every_s|offset_s"):
        Interval(every_s, offset_s)


@pytest.mark.parametrize("slots", [Cron("*/10 * * * *"), Interval(600.0)])
@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_passed_slots_are_counted_with_the_one_before_the_last_and_the_next(slots: Slots, count: int) -> None:
    first_s = slots.after(at("2026-01-01")) or 0.0
    last_s = first_s + 600.0 * (count - 1)
    passed = slots.passed(first_s, last_s + 599.0, 1000)
    before_last_s = last_s - 600.0 if count > 1 else None
    assert passed == Passed(count, first_s, before_last_s, last_s, last_s + 600.0)


def test_a_cron_line_passes_no_more_than_asked_and_an_interval_all_at_once() -> None:
    first_s = at("2026-01-01T00:10")
    assert Cron("*/10 * * * *").passed(first_s, first_s + 1e6, 7).count == 7
    assert Interval(0.01).passed(first_s, first_s + 1e7, 7).count == 10**9 + 1
