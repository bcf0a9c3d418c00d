"""What `workbench doctor` says of a server: each thing that is wrong, and its mend. Pure."""

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from eventlib.broker.examining import Examination
from eventlib.broker.surveying import Survey
from eventlib.operate.defects import KEY_BYPASS, Defect, defects_of
from eventlib.operate.judging import Finding, by_severity, judge
from eventlib.thresholds import Thresholds

_FLOOR = (7, 0)  # the oldest Redis that eventlib runs on
_SLOW_WITHIN_S = 86_400.0
_SET = "and the same in redis.conf"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong, the worst first; what is in order; and what could not be seen."""

    findings: tuple[Finding, ...]
    in_order: tuple[str, ...]
    unseen: tuple[str, ...]

    @property
    def blind(self) -> bool:
        """Whether nothing could be seen, so that nothing is known."""
        return not self.findings and not self.in_order

    @property
    def healthy(self) -> bool:
        """Whether nothing needs a person. What is only for information does not."""
        return not self.blind and all(finding.severity == "info" for finding in self.findings)


def diagnose(seen: Examination, survey: Survey | None, thresholds: Thresholds) -> Diagnosis:
    """All that is wrong with a server and what is on it. `survey` is None where its streams could not be seen."""
    by_check = {name: list(check(seen, thresholds)) for name, (check, _) in _CHECKS.items()}
    by_check["streams and groups"] = [] if survey is None else judge(survey, thresholds)
    blind = {name for name, (_, needs) in _CHECKS.items() if set(needs) & set(seen.unseen)}
    blind |= {"streams and groups"} if survey is None else set()
    return Diagnosis(
        tuple(by_severity([finding for found in by_check.values() for finding in found])),
        tuple(name for name, found in by_check.items() if not found and name not in blind),
        tuple(name for name in by_check if name in blind),
    )


def _version(seen: Examination, _: Thresholds) -> Iterator[Finding]:
    line = tuple(int(part) for part in seen.version.split(".")[:2] if part.isdigit())
    if seen.product == "Redis" and line and line < _FLOOR:
        yield Finding(
            *("critical", "version", "server", f"Redis {seen.version} is too old for eventlib"),
            "upgrade to Redis 7.0 or newer; 7.2.16, 7.4.11, 8.2.9 or newer have the mends of August 2026",
        )
    for defect in defects_of(seen.product, seen.version):
        if defect.name != KEY_BYPASS:
            yield _of_defect(seen, defect, defect.problem)
    yield from _key_bypass(seen)


def _key_bypass(seen: Examination) -> Iterator[Finding]:
    """The server itself says which key it checks. Where it does not, its version hints at it."""
    defect = next((each for each in defects_of(seen.product, seen.version) if each.name == KEY_BYPASS), None)
    checked = seen.keys_that_xreadgroup_checks
    if checked == ("key",) or (checked is None and defect is None):
        return
    proof = "by its version" if checked is None else f"it checks the permission for key {', '.join(checked)!r} instead"
    if defect is None:
        defect = Defect(KEY_BYPASS, seen.product, "a user limited to some keys can read streams of others", {})
    limited = seen.users is None or any(" on " in f"{rule} " and "~*" not in rule.split() for rule in seen.users)
    finding = _of_defect(seen, defect, f"{defect.problem} ({proof})")
    if limited:
        yield finding
    else:
        problem = f"{finding.problem}; no user here is limited to keys"
        yield Finding("info", finding.name, finding.where, problem, finding.mend)


def _of_defect(seen: Examination, defect: Defect, problem: str) -> Finding:
    releases = (
        f"upgrade: {defect.releases()} or newer have the mend" if defect.releases() else "no release mends it yet"
    )
    mend = f"{releases}; your distribution may have mended {seen.version}. Give logins only to programs that you trust"
    return Finding("warning", defect.name, "server", f"{seen.product} {seen.version}: {problem}", mend)


def _persistence(seen: Examination, _: Thresholds) -> Iterator[Finding]:
    told, saves = seen.told, seen.settings.get("save")
    if "aof_enabled" not in told:
        return
    appends = told["aof_enabled"] == "1"
    if not appends and saves == "":
        yield Finding(
            *("critical", "persistence", "server", "nothing is written to disk: a restart loses every stream"),
            f"redis-cli CONFIG SET appendonly yes, {_SET}",
        )
    elif not appends:
        problem = "no append-only file: a crash loses all since the last snapshot"
        yield Finding("warning", "persistence", "server", problem, f"redis-cli CONFIG SET appendonly yes, {_SET}")
    elif (fsync := seen.settings.get("appendfsync")) == "no":
        problem = "appendfsync is no: a crash of the machine loses some 30 s"
        yield Finding("warning", "persistence", "server", problem, f"redis-cli CONFIG SET appendfsync everysec, {_SET}")
    elif fsync == "everysec":
        problem = "appendfsync is everysec: a crash of the machine may lose what was acknowledged in its last second"
        yield Finding("info", "persistence", "server", problem, "appendfsync always, where not even that may be lost")
    for field, what in (
        ("aof_last_write_status", "the append-only file could not be written"),
        ("aof_last_bgrewrite_status", "the append-only file could not be rewritten"),
        ("rdb_last_bgsave_status", "the last snapshot failed"),
    ):
        if told.get(field, "ok") != "ok":
            problem = f"{what}; Redis may refuse writes"
            yield Finding("critical", "persistence", "server", problem, "look into its log; is the disk full?")


def _memory(seen: Examination, _: Thresholds) -> Iterator[Finding]:
    """Use and eviction are alerts of their own; this is what is not set."""
    if seen.told.get("maxmemory") == "0":
        yield Finding(
            *("warning", "maxmemory", "server", "maxmemory is not set: the kernel ends Redis when memory is short"),
            f"redis-cli CONFIG SET maxmemory 4gb (some 70 % of what the machine has), {_SET}",
        )


def _access(seen: Examination, _: Thresholds) -> Iterator[Finding]:
    for rule in seen.users or ():
        parts = rule.split(" ")
        if "on" in parts and "nopass" in parts:
            problem = f"user {parts[1]} needs no password: all who reach the port may do what it may"
            mend = f"redis-cli ACL SETUSER {parts[1]} resetpass '>PASSWORD', {_SET} or its ACL file"
            yield Finding("warning", "access", f"user {parts[1]}", problem, mend)
        if parts[1] == seen.user and "+@all" in parts and "~*" in parts:
            problem = f"this program logs in as {parts[1]}, who may do everything"
            mend = "a user of its own with the least rights: `workbench acl`, docs/security.md"
            yield Finding("info", "access", f"user {parts[1]}", problem, mend)


def _clock(seen: Examination, thresholds: Thresholds) -> Iterator[Finding]:
    if seen.ahead_s is not None and abs(seen.ahead_s) > thresholds.clock_skew_s:
        side = "ahead of" if seen.ahead_s > 0.0 else "behind"
        problem = f"the server's clock is {abs(seen.ahead_s):.1f} s {side} this machine's"
        yield Finding("warning", "clock", "server", problem, "run NTP on both; eventlib itself uses the server's clock")


def _latency(seen: Examination, thresholds: Thresholds) -> Iterator[Finding]:
    typical_s = statistics.median(seen.round_trips_s) if seen.round_trips_s else math.nan
    if typical_s > thresholds.latency_s:
        problem = f"a small question takes {typical_s * 1e3:.1f} ms, the slowest {max(seen.round_trips_s) * 1e3:.1f} ms"
        mend = "run programs near the server; see the slow log, and whether its machine is short of processor time"
        yield Finding("warning", "latency", "server", problem, mend)


def _slow_commands(seen: Examination, thresholds: Thresholds) -> Iterator[Finding]:
    by_name = dict[str, list[float]]()
    for each in seen.slow:
        if each.took_s > thresholds.slow_command_s and each.ago_s < _SLOW_WITHIN_S:
            by_name.setdefault(each.command, []).append(each.took_s)
    for name, times_s in sorted(by_name.items()):
        problem = f"{len(times_s)} calls of {name} within a day took up to {max(times_s) * 1e3:.0f} ms: others waited"
        mend = "redis-cli SLOWLOG GET shows their arguments; split what reads or deletes much at once"
        yield Finding("warning", "slow command", name, problem, mend)


def _big_keys(seen: Examination, _: Thresholds) -> Iterator[Finding]:
    for name, size in sorted(seen.big_keys.items(), key=lambda item: -item[1])[:10]:
        mend = "a stream: run the groups that are behind, or keep less (ev.Retention, MAXLEN); else UNLINK it"
        yield Finding("warning", "big key", name, f"takes {size / 2**20:,.0f} MiB", mend)


def _connections(seen: Examination, _: Thresholds) -> Iterator[Finding]:
    if seen.told.get("role", "master") != "master":
        problem = "it is a replica, which refuses to write"
        yield Finding("warning", "role", "server", problem, "give programs the URL of the primary")
    if int(seen.told.get("rejected_connections", 0)):
        problem = f"{seen.told['rejected_connections']} connections were rejected since it started"
        yield Finding("warning", "connections", "server", problem, "raise maxclients, or find who opens so many")
    if seen.settings.get("timeout", "0") != "0":
        problem = f"it hangs up on clients that are idle for {seen.settings['timeout']} s"
        yield Finding("info", "connections", "server", problem, f"redis-cli CONFIG SET timeout 0, {_SET}")


# By name: the check, and the commands without which it sees nothing.
_CHECKS: dict[str, tuple[Callable[[Examination, Thresholds], Iterator[Finding]], tuple[str, ...]]] = {
    "version": (_version, ("INFO",)),
    "persistence": (_persistence, ("INFO", "CONFIG GET")),
    "maxmemory": (_memory, ("INFO",)),
    "access": (_access, ("ACL LIST",)),
    "clock": (_clock, ("TIME",)),
    "latency": (_latency, ("TIME",)),
    "slow log": (_slow_commands, ("SLOWLOG GET",)),
    "big keys": (_big_keys, ("SCAN", "MEMORY USAGE")),
    "connections": (_connections, ("INFO", "CONFIG GET")),
}
