"""What is on the dashboard: every panel, and the questions that it asks. Pure.

What stands on the server is told by every program, so it is drawn by `max by`; what programs count is summed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_OWN = '{stream=~"$stream",group=~"$group"}'
_STREAM = '{stream=~"$stream"}'
_KEY = '{stream=~"$key"}'
_ANY = '{stream=~"$key",group=~"$any_group"}'
_BY = "by (stream, group)"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `queries` are by legend, as Grafana writes labels in it. `limit` is a threshold, by name, or a
    number: a line is drawn there. `stat` shows a number alone."""

    title: str
    about: str
    queries: dict[str, str]
    unit: str = "short"
    limit: str | float | None = None
    stat: bool = False
    stacked: bool = False
    width: int = 8


def _quantiles(metric: str) -> dict[str, str]:
    return {
        f"p{share * 100:g} {{{{group}}}} {{{{stream}}}}": (
            f"histogram_quantile({share}, sum by (le, stream, group) (rate({metric}_bucket{_OWN}[$__rate_interval])))"
        )
        for share in (0.5, 0.99)
    }


def _rates(metrics: Sequence[str], labels: str, by: str) -> dict[str, str]:
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return {
        f"{metric.removesuffix('_total').split('_', 2)[2]} {legend}": (
            f"sum by ({by}) (rate({metric}{labels}[$__rate_interval]))"
        )
        for metric in metrics
    }


_PLACE = "{{group}} {{stream}}"
_OUTCOMES = [f"eventlib_deliveries_{name}_total" for name in ("handled", "failed", "retried", "dead")]
_PUBLISHES = [f"eventlib_events_{name}_total" for name in ("published", "duplicate", "unpublished")]

ROWS: dict[str, list[Panel]] = {
    "At a glance": [
        Panel(
            "Programs ready",
            "Share of programs whose /readyz says so.",
            {"": "avg(eventlib_ready)"},
            "percentunit",
            stat=True,
            width=4,
        ),
        Panel(
            "Alerts firing",
            "See the runbook.",
            {"": 'count(ALERTS{alertstate="firing"}) or vector(0)'},
            limit=1,
            stat=True,
            width=4,
        ),
        Panel(
            "Oldest event",
            "Of all groups.",
            {"": "max(eventlib_backlog_oldest_seconds)"},
            "s",
            "oldest_age_s",
            stat=True,
            width=4,
        ),
        Panel(
            "Dead letters",
            "They wait for a person.",
            {"": f"sum(max {_BY} (eventlib_dead_letters))"},
            limit="dead_letters",
            stat=True,
            width=4,
        ),
        Panel(
            "Redis memory",
            "Of maxmemory, or of the machine.",
            {
                "": "max(workbench_redis_memory_used_bytes / "
                "((workbench_redis_memory_max_bytes > 0) or workbench_redis_memory_system_bytes))"
            },
            "percentunit",
            "memory_share",
            stat=True,
            width=4,
        ),
        Panel(
            "Spool",
            "Of its size limit.",
            {"": "max(eventlib_spool_bytes / (eventlib_spool_limit_bytes > 0)) or vector(0)"},
            "percentunit",
            "spool_share",
            stat=True,
            width=4,
        ),
    ],
    "Programs: events": [
        Panel("Published", "What became of publishes.", _rates(_PUBLISHES, _STREAM, "stream"), "ops"),
        Panel("Handled", "What became of deliveries.", _rates(_OUTCOMES, _OWN, "group, stream"), "ops"),
        Panel(
            "Share that fails",
            "Of the attempts of handlers.",
            {
                _PLACE: f"sum {_BY} (rate(eventlib_deliveries_failed_total{_OWN}[$__rate_interval]))"
                f" / sum {_BY} (rate(eventlib_deliveries_failed_total{_OWN}[$__rate_interval])"
                f" + rate(eventlib_deliveries_handled_total{_OWN}[$__rate_interval]))"
            },
            "percentunit",
            "error_share",
        ),
        Panel("Lag", "From appended to handled, retries included.", _quantiles("eventlib_lag_seconds"), "s"),
        Panel("Handling", "One call of a handler.", _quantiles("eventlib_handling_seconds"), "s"),
        Panel(
            "Oldest event",
            "Age of the oldest that is not handled.",
            {_PLACE: f"max {_BY} (eventlib_backlog_oldest_seconds{_OWN})"},
            "s",
            "oldest_age_s",
        ),
        Panel(
            "Backlog",
            "What groups have to do, by state.",
            {"{{state}} " + _PLACE: f"max by (stream, group, state) (eventlib_backlog_entries{_OWN})"},
            stacked=True,
        ),
        Panel(
            "Dead letters",
            "In the dead-letter queues.",
            {_PLACE: f"max {_BY} (eventlib_dead_letters{_OWN})"},
            limit="dead_letters",
        ),
        Panel(
            "Until a loss",
            "Seconds until retention drops what is unread.",
            {
                _PLACE: f"min {_BY} (eventlib_loss_in_seconds{_OWN})",
                "dropped/s "
                + _PLACE: f"max {_BY} (rate(eventlib_entries_dropped_unread_total{_OWN}[$__rate_interval]))",
            },
            "s",
            "loss_in_s",
        ),
    ],
    "Programs: consumers and connections": [
        Panel("In hand", "Entries that consumers hold.", {_PLACE: f"sum {_BY} (eventlib_deliveries_in_hand{_OWN})"}),
        Panel(
            "Silent and full consumers",
            "An answer to a read is due; or there is no room for more.",
            {
                "silent " + _PLACE: f"max {_BY} (eventlib_consumer_silent_seconds{_OWN})",
                "full " + _PLACE: f"max {_BY} (eventlib_consumer_full_seconds{_OWN})",
            },
            "s",
            "deaf_s",
        ),
        Panel(
            "Taken over and lost",
            "Entries whose consumer changed: they may be handled twice.",
            _rates(["eventlib_deliveries_taken_over_total", "eventlib_leases_lost_total"], _OWN, "group, stream"),
            "ops",
        ),
        Panel(
            "Redis",
            "Since it last answered a program, and connections made again.",
            {
                "silent {{instance}}": "eventlib_server_silent_seconds",
                "reconnects {{instance}}": "increase(eventlib_reconnects_total[$__rate_interval])",
            },
            "s",
            "deaf_s",
        ),
        Panel(
            "Publishes that wait",
            "Events not on the server yet, and for how long the first has waited.",
            {
                "queued {{instance}}": "eventlib_publishes_queued",
                "waiting s {{instance}}": "eventlib_publish_waiting_seconds",
            },
        ),
        Panel(
            "Spool and waits",
            "Bytes in the spool; requests that wait for a reply.",
            {"spool {{instance}}": "eventlib_spool_bytes", "waits {{instance}}": "eventlib_waits_outstanding"},
        ),
        Panel(
            "Paused",
            "1 while an operator lets the group, the queue or the workers of the saga rest.",
            {
                _PLACE: f"max {_BY} (eventlib_consumer_paused{_OWN})",
                "queue {{queue}}": "max by (queue) (eventlib_queue_paused)",
                "seen by the exporter " + _PLACE: f"max {_BY} (workbench_group_paused{_ANY})",
            },
            limit=1,
            width=24,
        ),
    ],
    "Task queues": [
        Panel(
            "Waiting tasks",
            "They may start.",
            {"{{priority}} {{queue}}": "max by (queue, priority) (eventlib_queue_waiting_tasks)"},
            stacked=True,
        ),
        Panel(
            "Oldest task",
            "Age of the oldest that may start.",
            {"{{priority}} {{queue}}": "max by (queue, priority) (eventlib_queue_oldest_seconds)"},
            "s",
            "oldest_age_s",
        ),
        Panel(
            "Running, workers, dead",
            "Running tasks and those that may not start yet; workers; dead letters.",
            {
                "{{state}} {{queue}}": "max by (queue, state) (eventlib_queue_tasks)",
                "workers {{queue}}": "max by (queue) (eventlib_queue_workers)",
                "dead {{queue}}": "max by (queue) (eventlib_queue_dead_letters)",
            },
        ),
    ],
    "Streams of any library (workbench exporter)": [
        Panel(
            "Unread",
            "Entries that the group has not read.",
            {
                _PLACE: f"max {_BY} (workbench_group_lag_entries{_ANY})",
                "lost " + _PLACE: f"max {_BY} (workbench_group_lost_entries{_ANY})",
            },
        ),
        Panel(
            "Pending",
            "Entries delivered and not acknowledged.",
            {_PLACE: f"max {_BY} (workbench_group_pending_entries{_ANY})"},
        ),
        Panel(
            "Oldest",
            "Age of the oldest unread and pending entry.",
            {
                "unread " + _PLACE: f"max {_BY} (workbench_group_oldest_unread_seconds{_ANY})",
                "pending " + _PLACE: f"max {_BY} (workbench_group_oldest_pending_seconds{_ANY})",
            },
            "s",
            "oldest_age_s",
        ),
        Panel(
            "Consumers",
            "Active, idle, or dead: idle with entries in hand.",
            {"{{state}} " + _PLACE: f"max by (stream, group, state) (workbench_group_consumers{_ANY})"},
        ),
        Panel(
            "Added",
            "Entries added to streams.",
            {"{{stream}}": f"max by (stream) (rate(workbench_stream_added_entries_total{_KEY}[$__rate_interval]))"},
            "ops",
        ),
        Panel(
            "Length",
            "Entries in streams.",
            {"{{stream}}": 'max by (stream) (workbench_stream_entries{stream=~"$key"})'},
        ),
        Panel(
            "Memory of streams",
            "Estimated by the server.",
            {"{{stream}}": 'max by (stream) (workbench_stream_memory_bytes{stream=~"$key"})'},
            "bytes",
        ),
        Panel(
            "Memory of Redis",
            "Used and allowed.",
            {"used": "workbench_redis_memory_used_bytes", "allowed": "workbench_redis_memory_max_bytes > 0"},
            "bytes",
        ),
        Panel(
            "Evicted keys",
            "Redis deleted them to make room: streams may be gone.",
            {"evicted {{instance}}": "rate(workbench_redis_evicted_keys_total[$__rate_interval])"},
            "ops",
        ),
    ],
}
