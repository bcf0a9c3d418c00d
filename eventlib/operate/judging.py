"""What is wrong with what was seen on a server, by the same thresholds as the alert rules. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from eventlib.broker.surveying import GroupSurvey, StreamSurvey, Survey
from eventlib.operate.alerts import BY_NAME, Severity
from eventlib.thresholds import Thresholds

SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
Growth = Mapping[tuple[str, str], float]  # entries/s by which backlogs grow, by stream and group


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, where, and what to do. `name` is that of an alert, or of a check of `doctor`.

    `place` is the key of the stream and the group that it is about, if it is about one.
    """

    severity: Severity
    name: str
    where: str
    problem: str
    mend: str
    place: tuple[str, str] | None = None


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """The worst first; otherwise in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def judge(seen: Survey, thresholds: Thresholds, growth: Growth | None = None) -> list[Finding]:
    """All that is wrong with what was seen, the worst first.

    Without `growth`, which one look cannot know, growing backlogs are not judged.
    """
    found = [*_of_memory(seen, thresholds)]
    for stream in seen.streams:
        if stream.dead_letters_of is not None and stream.entries > thresholds.dead_letters:
            found.append(_dead_letters(stream, stream.dead_letters_of))
        for each in stream.groups:
            found += _of_group(stream, each, thresholds, (growth or {}).get((stream.stream, each.group), 0.0))
    return by_severity(found)


def _of_memory(seen: Survey, thresholds: Thresholds) -> Iterator[Finding]:
    used = seen.memory.get("used_bytes", 0)
    limit = seen.memory.get("max_bytes", 0) or seen.memory.get("system_bytes", 0)
    if limit and used > thresholds.memory_share * limit:
        yield _finding("MemoryNearlyFull", "server", f"Redis uses {used / limit:.0%} of {limit / 2**20:,.0f} MiB")
    if seen.eviction_policy not in (None, thresholds.eviction_policy):
        yield _finding("KeysMayBeEvicted", "server", f"maxmemory-policy is {seen.eviction_policy}")
    if seen.evicted_keys:
        yield _finding("KeysEvicted", "server", f"{seen.evicted_keys:,} keys were evicted since Redis started")


def _of_group(stream: StreamSurvey, group: GroupSurvey, thresholds: Thresholds, grows: float) -> Iterator[Finding]:
    key = stream.stream if stream.own is None else stream.own.events  # what comes again is the stream's affair
    found = partial(_finding, where=f"{stream.name} {group.group}", place=(key, group.group))
    oldest_s = max(group.oldest_unread_s or 0.0, group.oldest_pending_s or 0.0)
    if group.dead_consumers:
        yield found("DeafConsumer", problem=f"{group.dead_consumers} consumers fell silent with entries in hand")
    if group.paused_s is not None and group.paused_s >= thresholds.paused_s and key == stream.stream:
        yield found("GroupPaused", problem=f"it has rested for {group.paused_s:.0f} s, and does until it is resumed")
    if group.oldest_unread_s is not None and not group.active_consumers and not group.paused:
        yield found("GroupWithoutReaders", problem=f"entries wait for {group.oldest_unread_s:.0f} s; nothing reads")
    elif oldest_s > thresholds.oldest_age_s:
        yield found("EventsWaitTooLong", problem=f"the oldest entry waits for {oldest_s:.0f} s")
    if grows > thresholds.growth_per_s and (group.lag_entries or 0) >= thresholds.growth_entries_min:
        yield found("BacklogGrows", problem=f"{group.lag_entries:,} unread, {grows:.1f} more each second")
    if group.lost_entries:
        yield found("UnreadLost", problem=f"{group.lost_entries:,} entries are gone that it had not read")
    elif _is_nearly_lost(stream, group, thresholds):
        yield found("UnreadNearLoss", problem=f"{group.lag_entries:,} of {stream.entries:,} entries are unread")


def _is_nearly_lost(stream: StreamSurvey, group: GroupSurvey, thresholds: Thresholds) -> bool:
    """Eventlib's own streams are trimmed to the slowest group, so there a large share means nothing."""
    unread = group.lag_entries or 0
    return stream.trimmed and stream.own is None and unread > thresholds.unread_share * stream.entries


def _dead_letters(queue: StreamSurvey, place: tuple[str, str]) -> Finding:
    where = f"{queue.name} {place[1]}"
    return _finding("DeadLetters", where, f"{queue.entries:,} dead letters wait", place)


def _finding(alert: str, where: str, problem: str, place: tuple[str, str] | None = None) -> Finding:
    return Finding(BY_NAME[alert].severity, alert, where, problem, BY_NAME[alert].mend[0], place)
