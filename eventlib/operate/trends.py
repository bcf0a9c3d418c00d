"""What becomes of streams and groups from look to look: rates, growth, and the last backlogs. Pure."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile

from eventlib.broker.replies import ConsumerState
from eventlib.broker.surveying import GroupSurvey, StreamSurvey, Survey
from eventlib.operate.judging import Finding, judge
from eventlib.thresholds import Thresholds

LAGS_SHOWN = 40
Place = tuple[str, str]  # key of the stream, group


@dataclass(frozen=True, slots=True)
class Row:
    """One group, or a stream without groups, whose `group` is empty. Rates need two looks; before, they are None.

    `name` is the stream as eventlib calls it, or its key. `waiting` are the entries that are unread or come again,
    `dead_letters` those of eventlib. `lags` are the last backlogs, the newest last.
    """

    stream: str
    name: str
    group: str
    entries: int
    waiting: int | None
    pending: int
    oldest_s: float | None
    added_per_s: float | None
    handled_per_s: float | None
    active: int
    consumers: int
    silent: int
    dead_letters: int
    lags: tuple[int, ...]
    members: tuple[ConsumerState, ...] = ()
    alerts: tuple[str, ...] = ()
    paused: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What there is to show after a look."""

    seen: Survey = field(default_factory=Survey)
    rows: tuple[Row, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class _Past:
    """Earlier looks at a group: the time, how many entries were ever added, and how many were unread."""

    looks: deque[tuple[float, int, int]] = field(default_factory=deque)


class Trends:
    """Keeps what is needed of earlier looks, for as long as a backlog has to grow before it counts."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._past: dict[Place, _Past] = {}

    def note(self, at_s: float, seen: Survey) -> View:
        """Add a look, made at `at_s` of a steady clock, and see it beside the earlier ones."""
        past, self._past = self._past, {}
        for stream in seen.streams:
            for name, lag in [("", 0), *((group.group, group.lag_entries or 0) for group in stream.groups)]:
                place = stream.stream, name
                kept = self._past[place] = past.get(place) or _Past()
                added = stream.entries if stream.added is None else stream.added
                if kept.looks and added < kept.looks[-1][1]:  # it was deleted and began anew
                    kept.looks.clear()
                kept.looks.append((at_s, added, lag))
                while len(kept.looks) > LAGS_SHOWN and at_s - kept.looks[1][0] >= self._thresholds.growth_over_s:
                    kept.looks.popleft()  # the first one stays that is old enough to compare with
        growth = {place: self._growth(kept, at_s) for place, kept in self._past.items()}
        findings = judge(seen, self._thresholds, growth)
        return View(seen, tuple(self._rows(seen, findings)), tuple(findings))

    def _growth(self, past: _Past, at_s: float) -> float:
        """Entries/s by which a backlog grew over the whole time that counts; 0 where it was not watched for so long."""
        old_enough = [*takewhile(lambda look: at_s - look[0] >= self._thresholds.growth_over_s, past.looks)]
        if not old_enough:
            return 0.0
        then_s, _, then = old_enough[-1]
        return (past.looks[-1][2] - then) / (at_s - then_s)

    def _rows(self, seen: Survey, findings: list[Finding]) -> list[Row]:
        retries, dead = _of_other_keys(seen)
        alerts: dict[Place, list[str]] = {}
        for finding in findings:
            if finding.place is not None:
                alerts.setdefault(finding.place, []).append(finding.name)
        rows = []
        for stream in seen.streams:
            own = stream.own
            if own is not None and own.purpose != "events":
                continue  # what the library keeps beside a stream is counted with it
            for group in stream.groups:
                place = stream.stream, group.group
                told = tuple(alerts.get(place, ()))
                rows.append(self._row(stream, group, retries.get(place, 0), dead.get(place, 0), told))
            if not stream.groups:
                rows.append(self._row(stream, None, 0, 0, ()))
        return sorted(rows, key=lambda row: (not row.group, row.name, row.group))

    def _row(
        self, stream: StreamSurvey, group: GroupSurvey | None, retries: int, dead: int, alerts: tuple[str, ...]
    ) -> Row:
        looks = self._past[stream.stream, "" if group is None else group.group].looks
        added_per_s = handled_per_s = None
        if len(looks) > 1:
            (then_s, added, lag), (now_s, added_now, lag_now) = looks[-2], looks[-1]
            added_per_s = (added_now - added) / (now_s - then_s)
            handled_per_s = max(0.0, (added_now - added - (lag_now - lag)) / (now_s - then_s))
        name = stream.name
        if group is None:
            return Row(stream.stream, name, "", stream.entries, None, 0, None, added_per_s, None, 0, 0, 0, 0, ())
        ages = [age_s for age_s in (group.oldest_unread_s, group.oldest_pending_s) if age_s is not None]
        return Row(
            *(stream.stream, name, group.group, stream.entries),
            waiting=None if group.lag_entries is None else group.lag_entries + retries,
            pending=group.pending_entries,
            oldest_s=max(ages, default=None),
            added_per_s=added_per_s,
            handled_per_s=None if group.lag_entries is None else handled_per_s,
            active=group.active_consumers,
            consumers=group.active_consumers + group.idle_consumers + group.dead_consumers,
            silent=group.dead_consumers,
            dead_letters=dead,
            lags=tuple(lag for _, _, lag in list(looks)[-LAGS_SHOWN:]),
            members=group.consumers,
            alerts=alerts,
            paused=group.paused,
        )


def _of_other_keys(seen: Survey) -> tuple[Mapping[Place, int], Mapping[Place, int]]:
    """What waits to be tried again, and what is dead, by the stream and group that it belongs to."""
    retries, dead = dict[Place, int](), dict[Place, int]()
    for stream in seen.streams:
        if stream.dead_letters_of is not None:
            dead[stream.dead_letters_of] = stream.entries
        own = stream.own
        if own is not None and (group := own.group_of("retry")) is not None:
            retries[own.events, group] = sum(each.lag_entries or 0 for each in stream.groups)
    return retries, dead
