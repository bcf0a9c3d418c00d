"""Every alert: what it means, its mend, and the question to Prometheus that finds it. Pure.

Alert rules, the runbook, `workbench monitor` and `workbench doctor` all speak of these, by these names. An alert asks
the metrics of programs (`eventlib_`), those of the exporter (`workbench_`), or both. What stands on the server is the
same in every program that tells of it, so it is asked for by `max by`; what programs count themselves is summed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from eventlib.thresholds import Thresholds

Severity = Literal["critical", "warning", "info"]
Query = Callable[[Thresholds], str]

_PLACE = "stream, group"
_RATE = "[5m]"
_OWN = ".+:[{].+[}]:.+"  # keys of eventlib
_ATTEMPTS = " + ".join(f"increase(eventlib_deliveries_{name}_total{_RATE})" for name in ("handled", "failed"))


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `queries` are by whose metrics they are: programs or the exporter.
    `lasting` is the threshold that says for how long it is so before it fires; None: it fires at once.
    """

    name: str
    severity: Severity
    summary: str  # where and what, with Prometheus' own labels in it
    means: str
    mend: tuple[str, ...]
    queries: dict[str, Query]
    lasting: str | None = "last_for_s"

    def after_s(self, thresholds: Thresholds) -> float:
        """For how long it has to be so before it fires."""
        return 0.0 if self.lasting is None else float(getattr(thresholds, self.lasting))


def _over(metric: str, labels: str, limit: str) -> Query:
    return lambda t: f"max by ({labels}) ({metric}) > {getattr(t, limit):g}"


def _grows(metric: str) -> Query:
    def query(t: Thresholds) -> str:
        return (
            f"deriv(({metric})[{t.growth_over_s:.0f}s:30s]) > {t.growth_per_s:g}\n"
            f"and {metric} >= {t.growth_entries_min}"
        )

    return query


_WAITING = f"max by ({_PLACE}) (sum without (state) (eventlib_backlog_entries))"
_LAG = f"max by ({_PLACE}) (workbench_group_lag_entries)"

ALERTS = (
    Alert(
        "EventsWaitTooLong",
        "warning",
        "{{ $labels.stream }}, group {{ $labels.group }}: the oldest event waits for {{ $value | humanizeDuration }}",
        "Consumers are too few, too slow or gone, or one event holds up others. Events are late; none is lost.",
        (
            "Look whether the group has consumers: `workbench monitor`.",
            "If the backlog grows, add consumers; `workbench plan` says how many a scenario needs.",
            "If handlers fail, see HandlersFail. If one handler hangs, restart its program: its lease passes on.",
        ),
        {
            "program": _over("eventlib_backlog_oldest_seconds", _PLACE, "oldest_age_s"),
            "exporter": lambda t: (
                f"max by ({_PLACE}) (workbench_group_oldest_unread_seconds) > {t.oldest_age_s:g}\n"
                f"or max by ({_PLACE}) (workbench_group_oldest_pending_seconds) > {t.oldest_age_s:g}"
            ),
        },
    ),
    Alert(
        "TasksWaitTooLong",
        "warning",
        "the oldest {{ $labels.priority }} task of queue {{ $labels.queue }} waits for {{ $value | humanizeDuration }}",
        "Workers are too few or too slow, or a limit holds tasks back. Tasks are late; none is lost.",
        (
            "Look at the queue: `workbench tasks health QUEUE` names the limits that block.",
            "Add workers, or raise the limit. Low priorities wait longest by design.",
        ),
        {"program": _over("eventlib_queue_oldest_seconds", "queue, priority", "oldest_age_s")},
    ),
    Alert(
        "BacklogGrows",
        "warning",
        "the backlog of {{ $labels.stream }}, group {{ $labels.group }}, grows by {{ $value | humanize }} entries/s",
        "More comes in than is handled. It does not end by itself unless the load falls.",
        (
            "Compare the rates of published and handled: is the load higher, or the handler slower than usual?",
            "Add consumers, or slow the publishers down. Retention keeps unread entries, so memory fills meanwhile.",
        ),
        {"program": _grows(_WAITING), "exporter": _grows(_LAG)},
        lasting=None,
    ),
    Alert(
        "DeafConsumer",
        "critical",
        "a consumer of {{ $labels.stream }}, group {{ $labels.group }}, hears nothing",
        "A consumer runs, and no answer to its reads comes; or it fell silent with entries in hand. What it holds is"
        " taken over when the lease ends. What is new waits if all consumers are deaf.",
        (
            "`/healthz` of the program names the consumer and its last problem.",
            "Look at the network between it and Redis: a firewall that drops idle connections looks like this.",
            "Of another library: see whether the process lives. Its entries stay pending until one claims them.",
        ),
        {
            "program": _over("eventlib_consumer_silent_seconds", f"instance, {_PLACE}", "deaf_s"),
            "exporter": lambda t: f'max by ({_PLACE}) (workbench_group_consumers{{state="dead"}}) > 0',
        },
    ),
    Alert(
        "GroupPaused",
        "warning",
        "{{ $labels.stream }}{{ $labels.queue }} {{ $labels.group }}: paused by an operator, and still is",
        "Its consumers run and read nothing, because `bus.pause`, `workbench groups pause` or the monitor told them so,"
        " and that was some time ago: it may have been forgotten. Entries wait in the stream; none is lost, and no"
        " attempt is used up. So it is with the workers of a queue or a saga.",
        (
            "`workbench groups show STREAM GROUP` says who did it, when and why; when the reason is gone,"
            " `workbench groups resume STREAM GROUP`.",
            "Of a queue it is `workbench tasks resume QUEUE`, of a saga `workbench sagas resume SAGA`.",
        ),
        {
            "program": lambda t: (  # a queue is told of where it has no worker, too
                f"max by ({_PLACE}) (eventlib_consumer_paused{{stream!~'tasks[.].+'}}) == 1\n"
                "or max by (queue) (eventlib_queue_paused) == 1"
            ),
            "exporter": lambda t: f"max by ({_PLACE}) (workbench_group_paused{{stream=~'.+:events'}}) == 1",
        },
        lasting="paused_s",
    ),
    Alert(
        "GroupWithoutReaders",
        "critical",
        "nothing reads {{ $labels.stream }}, group {{ $labels.group }}, and entries wait",
        "The group has unread entries and no consumer that asked for any lately. The service is down, or was renamed:"
        " then the old group keeps its entries from being trimmed, with eventlib until it is dead (seven days).",
        (
            "Start the service that owns the group.",
            "If the group is no longer wanted, destroy it: `redis-cli XGROUP DESTROY KEY GROUP`. With eventlib, KEY is"
            " `ev:{STREAM}:events`.",
        ),
        {
            "exporter": lambda t: (
                f"max by ({_PLACE}) (workbench_group_oldest_unread_seconds) > 0\n"
                f'unless max by ({_PLACE}) (workbench_group_consumers{{state="active"}}) > 0\n'
                f"unless max by ({_PLACE}) (workbench_group_paused) == 1"
            ),
        },
    ),
    Alert(
        "QueueWithoutWorkers",
        "critical",
        "queue {{ $labels.queue }} has tasks and no worker",
        "Tasks may start, and no worker was heard of within a lease.",
        ("Start the workers of the queue, or see in their `/healthz` why they do not reach Redis.",),
        {
            "program": lambda t: (
                "max by (queue) (eventlib_queue_workers) == 0\n"
                "and max by (queue) (sum without (priority) (eventlib_queue_waiting_tasks)) > 0\n"
                "unless max by (queue) (eventlib_queue_paused) == 1"  # its workers ask for nothing, so none is heard of
            ),
        },
    ),
    Alert(
        "DeadLetters",
        "warning",
        "{{ $labels.stream }}{{ $labels.queue }} {{ $labels.group }}: {{ $value }} dead letters wait for a decision",
        "The group gave events or tasks up: refused, out of attempts, unreadable, or the cause of crashes. They are"
        " kept until a person decides.",
        (
            "Read the reasons: `workbench dlq list STREAM GROUP`, then `workbench dlq show STREAM GROUP ID`.",
            "Mend the cause, then `workbench dlq replay STREAM GROUP`. A replayed letter reaches its own group alone.",
            "What is of no use: `workbench dlq purge STREAM GROUP`.",
        ),
        {
            "program": lambda t: (
                f"max by ({_PLACE}) (eventlib_dead_letters) > {t.dead_letters}\n"
                f"or max by (queue) (eventlib_queue_dead_letters) > {t.dead_letters}"
            ),
            "exporter": _over("workbench_dead_letters", _PLACE, "dead_letters"),
        },
    ),
    Alert(
        "HandlersFail",
        "warning",
        "{{ $value | humanizePercentage }} of the attempts of {{ $labels.stream }}, group {{ $labels.group }}, fail",
        "Handlers raise. Retries come later, so load on whatever fails grows; out of attempts, events die.",
        (
            "Find the error in the program's log, or in `workbench dlq list STREAM GROUP`.",
            "If a dependency is down, set a retry budget, or let it cool down: retries go on by themselves.",
            "If a deployment did it, roll it back. Events that died meanwhile are replayed afterwards.",
        ),
        {
            "program": lambda t: (
                f"sum by ({_PLACE}) (increase(eventlib_deliveries_failed_total{_RATE}))\n"
                f"/ (sum by ({_PLACE}) ({_ATTEMPTS}) >= {t.error_attempts_min}) > {t.error_share:g}"
            ),
        },
    ),
    Alert(
        "UnreadNearLoss",
        "critical",
        "{{ $labels.stream }} will soon drop what group {{ $labels.group }} has not read",
        "The stream's retention is about to reach entries that the group has not handled. In a stream that its library"
        " trims by length, most of what is left is unread.",
        (
            "Run the group's consumers, and more of them.",
            "Or declare to keep more: `ev.Retention`; of another library, raise its MAXLEN.",
            "Or destroy the group, if it is no longer wanted.",
        ),
        {
            "program": lambda t: f"min by ({_PLACE}) (eventlib_loss_in_seconds) < {t.loss_in_s:g}",
            "exporter": lambda t: (  # eventlib's own keys have a tag in braces: they are trimmed to the slowest group
                f"max by ({_PLACE}) (workbench_group_lag_entries{{stream!~'{_OWN}'}})\n"
                f"/ on (stream) group_left max by (stream) (\n"
                f"  (workbench_stream_entries > 0)\n"
                f"  and workbench_stream_added_entries_total > workbench_stream_entries\n"
                f") > {t.unread_share:g}"
            ),
        },
    ),
    Alert(
        "UnreadLost",
        "critical",
        "entries of {{ $labels.stream }} are gone that group {{ $labels.group }} had not read",
        "Events are lost for this group: its stream was trimmed or deleted from before they were read.",
        (
            "Stop what trims: raise MAXLEN, or `ev.Retention(keep_entries=...)`.",
            "Publish again what is missing, under its old `id` and without `unique_for_s`: other groups see it again,"
            " and know it by its id.",
        ),
        {
            "program": lambda t: f"max by ({_PLACE}) (increase(eventlib_entries_dropped_unread_total[10m])) > 0",
            "exporter": lambda t: f"max by ({_PLACE}) (workbench_group_lost_entries) > 0",
        },
        lasting=None,
    ),
    Alert(
        "MemoryNearlyFull",
        "critical",
        "Redis uses {{ $value | humanizePercentage }} of the memory that it may have",
        "When it is full, Redis refuses to add: publishes wait, fail or go to the spool. Without maxmemory, the kernel"
        " ends Redis instead.",
        (
            "Find what fills it: `workbench doctor` names big keys.",
            "Run consumers that are behind, shorten retention, purge dead letters, or give it more memory.",
            "Set maxmemory below what the machine has, and maxmemory-policy noeviction.",
        ),
        {
            "exporter": lambda t: (
                "workbench_redis_memory_used_bytes\n"
                "/ ((workbench_redis_memory_max_bytes > 0) or workbench_redis_memory_system_bytes)"
                f" > {t.memory_share:g}"
            ),
        },
    ),
    Alert(
        "KeysMayBeEvicted",
        "critical",
        "maxmemory-policy is {{ $labels.policy }}: a full Redis deletes keys",
        "A full server then deletes whole streams, or what keeps publishes from doubling, without an error.",
        ("`redis-cli CONFIG SET maxmemory-policy noeviction`, and the same in its configuration file.",),
        {
            "exporter": lambda t: f'workbench_redis_maxmemory_policy{{policy!="{t.eviction_policy}"}} == 1',
        },
    ),
    Alert(
        "KeysEvicted",
        "critical",
        "Redis has deleted keys to make room",
        "Streams, groups or pending entries may be gone.",
        (
            "Set maxmemory-policy noeviction, and more maxmemory.",
            "Groups that are missing are made again by running programs; entries are not. Publish them again.",
        ),
        {"exporter": lambda t: "increase(workbench_redis_evicted_keys_total[10m]) > 0"},
        lasting=None,
    ),
    Alert(
        "SpoolFills",
        "critical",
        "the spool of {{ $labels.instance }} has {{ $value | humanizePercentage }} of its limit",
        "Redis is out of reach of this program, and its events go to a file. When the file is full, publishes fail.",
        (
            "Bring Redis back, or the way to it: the file is replayed by itself, in order.",
            "Until then, free disk space, or start the program with a larger `ev.Spool(size_bytes_max=...)`.",
        ),
        {
            "program": lambda t: (
                f"max by (instance) (eventlib_spool_bytes / (eventlib_spool_limit_bytes > 0)) > {t.spool_share:g}"
            ),
        },
    ),
    Alert(
        "PublishesFail",
        "critical",
        "publishes to {{ $labels.stream }} fail",
        "Callers got an error, and these events are not in the stream: Redis is away for longer than they wait, it is"
        " full, or the spool is.",
        (
            "See ServerAway, MemoryNearlyFull and SpoolFills.",
            "The callers know which events failed: they have to publish them again.",
        ),
        {"program": lambda t: f"sum by (stream) (increase(eventlib_events_unpublished_total{_RATE})) > 0"},
        lasting=None,
    ),
    Alert(
        "ServerAway",
        "critical",
        "{{ $labels.instance }} hears nothing from Redis",
        "Redis does not answer this program or the exporter, or takes too long to tell how all stands. Alerts about"
        " what is on the server are blind meanwhile.",
        (
            "`workbench doctor` from the same place says what it finds, and where.",
            "Programs connect again by themselves: do not restart them.",
        ),
        {
            "program": lambda t: (
                f"max by (instance) (eventlib_server_silent_seconds) > {t.deaf_s:g}\n"
                "or min by (instance) (eventlib_look_success) == 0"
            ),
            "exporter": lambda t: "min by (instance) (workbench_up) == 0",
        },
    ),
)
BY_NAME = {alert.name: alert for alert in ALERTS}


def rules(thresholds: Thresholds, runbook_url: str) -> dict[str, Any]:
    """The alert rules as Prometheus reads them from a file, a group for each source of metrics."""
    return {
        "groups": [
            {
                "name": f"eventlib-{source}",
                "rules": [
                    {
                        "alert": alert.name,
                        "expr": alert.queries[source](thresholds),
                        "for": f"{alert.after_s(thresholds):.0f}s",
                        "labels": {"severity": alert.severity, "source": source},
                        "annotations": {
                            "summary": alert.summary,
                            "description": alert.means,
                            "runbook_url": f"{runbook_url}#{alert.name.lower()}",
                        },
                    }
                    for alert in ALERTS
                    if source in alert.queries
                ],
            }
            for source in ("program", "exporter")
        ]
    }
