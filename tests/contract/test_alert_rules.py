"""Alert rules: each fires where it should and nowhere else, asks for metrics that exist, and is what the code makes.

promtool evaluates them. Where it is not installed, what needs it is skipped and the rest is tested all the same.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
import yaml

from eventlib.cli.alerts import RUNBOOK, as_yaml
from eventlib.operate.alerts import ALERTS, BY_NAME, rules
from eventlib.operate.panels import ROWS
from eventlib.operate.runbook import runbook
from eventlib.thresholds import Thresholds
from tests.promtool import PROMTOOL, needs_promtool, promtool, scraped
from tests.repository import TOP
from tests.shop import Connect

PANELS = [panel for row in ROWS.values() for panel in row]
RULES = TOP / "deploy" / "prometheus" / "rules.yml"

PLACE = 'stream="orders",group="billing"'
WORKERS = f"workbench_group_consumers{{{PLACE},state="
OWN = 'stream="ev:{orders}:events",group="billing"'
ATTEMPTS = f"eventlib_deliveries_handled_total{{{PLACE}}}", f"eventlib_deliveries_failed_total{{{PLACE}}}"
LAG, LENGTH, ADDED = (
    f"workbench_{name}" for name in ("group_lag_entries", "stream_entries", "stream_added_entries_total")
)
MEMORY = "workbench_redis_memory_"
Series = dict[str, str]

# By alert and source: series for which it fires, and some that are close to it and fine. A sample every 15 seconds.
CASES: dict[tuple[str, str], tuple[list[Series], list[Series]]] = {
    ("EventsWaitTooLong", "program"): (
        [{f"eventlib_backlog_oldest_seconds{{{PLACE}}}": "61+0x80"}],
        [{f"eventlib_backlog_oldest_seconds{{{PLACE}}}": "59 300 59+0x80"}],
    ),
    ("EventsWaitTooLong", "exporter"): (
        [
            {f"workbench_group_oldest_unread_seconds{{{PLACE}}}": "61+0x80"},
            {f"workbench_group_oldest_pending_seconds{{{PLACE}}}": "61+0x80"},
        ],
        [{f"workbench_group_oldest_unread_seconds{{{PLACE}}}": "30+0x80"}],
    ),
    ("TasksWaitTooLong", "program"): (
        [{'eventlib_queue_oldest_seconds{queue="mail",priority="high"}': "90+0x80"}],
        [{'eventlib_queue_oldest_seconds{queue="mail",priority="high"}': "3+0x80"}],
    ),
    ("BacklogGrows", "program"): (
        [{f'eventlib_backlog_entries{{{PLACE},state="waiting"}}': "0+30x80"}],  # two more each second
        [
            {f'eventlib_backlog_entries{{{PLACE},state="waiting"}}': "0+12x80"},
            {f'eventlib_backlog_entries{{{PLACE},state="waiting"}}': "5000+0x80"},  # large, and it does not grow
        ],
    ),
    ("BacklogGrows", "exporter"): ([{f"{LAG}{{{PLACE}}}": "0+30x80"}], [{f"{LAG}{{{PLACE}}}": "9000-30x80"}]),
    ("DeafConsumer", "program"): (
        [{f"eventlib_consumer_silent_seconds{{{PLACE}}}": "11+15x80"}],
        [{f"eventlib_consumer_silent_seconds{{{PLACE}}}": "0.5+0x80"}],
    ),
    ("DeafConsumer", "exporter"): ([{f'{WORKERS}"dead"}}': "1+0x80"}], [{f'{WORKERS}"idle"}}': "1+0x80"}]),
    ("GroupPaused", "program"): (
        [
            {f"eventlib_consumer_paused{{{PLACE}}}": "1+0x80"},
            {'eventlib_consumer_paused{stream="saga.order",group="workers"}': "1+0x80"},
            {  # told once, though its workers tell of it as well
                'eventlib_consumer_paused{stream="tasks.mail",group="workers"}': "1+0x80",
                'eventlib_queue_paused{queue="mail"}': "1+0x80",
            },
        ],
        [
            {f"eventlib_consumer_paused{{{PLACE}}}": "0+0x80"},
            {f"eventlib_consumer_paused{{{PLACE}}}": "0+0x23 1+0x56"},  # for nine minutes
            {f"eventlib_consumer_paused{{{PLACE}}}": "1+0x55 0+0x24"},  # it goes on
            {'eventlib_queue_paused{queue="mail"}': "0+0x80"},
        ],
    ),
    ("GroupPaused", "exporter"): (
        [
            {f"workbench_group_paused{{{OWN}}}": "1+0x80"},
            {'workbench_group_paused{stream="ev:{tasks.mail}:events",group="workers"}': "1+0x80"},
        ],
        [
            {f"workbench_group_paused{{{OWN}}}": "0+0x80"},
            {f"workbench_group_paused{{{OWN}}}": "0+0x23 1+0x56"},
        ],
    ),
    ("GroupWithoutReaders", "exporter"): (
        [
            {
                f"workbench_group_oldest_unread_seconds{{{PLACE}}}": "5+0x80",
                f'{WORKERS}"active"}}': "0+0x80",
                f"workbench_group_paused{{{PLACE}}}": "0+0x80",
            }
        ],
        [
            {
                f"workbench_group_oldest_unread_seconds{{{PLACE}}}": "5+0x80",
                f'{WORKERS}"active"}}': "0+0x80",
                f"workbench_group_paused{{{PLACE}}}": "1+0x80",
            },
            {f"workbench_group_oldest_unread_seconds{{{PLACE}}}": "5+0x80", f'{WORKERS}"active"}}': "1+0x80"},
            {f"workbench_group_oldest_unread_seconds{{{PLACE}}}": "0+0x80", f'{WORKERS}"active"}}': "0+0x80"},
        ],
    ),
    ("QueueWithoutWorkers", "program"): (
        [
            {
                'eventlib_queue_workers{queue="mail"}': "0+0x80",
                'eventlib_queue_waiting_tasks{queue="mail",priority="low"}': "1+0x80",
            }
        ],
        [
            {
                'eventlib_queue_workers{queue="mail"}': "1+0x80",
                'eventlib_queue_waiting_tasks{queue="mail",priority="low"}': "1+0x80",
            },
            {'eventlib_queue_workers{queue="mail"}': "0+0x80"},
            {
                'eventlib_queue_workers{queue="mail"}': "0+0x80",
                'eventlib_queue_waiting_tasks{queue="mail",priority="low"}': "1+0x80",
                'eventlib_queue_paused{queue="mail"}': "1+0x80",
            },
        ],
    ),
    ("DeadLetters", "program"): (
        [
            {f"eventlib_dead_letters{{{PLACE}}}": "1+0x80"},
            {'eventlib_queue_dead_letters{queue="mail"}': "1+0x80"},
        ],
        [{f"eventlib_dead_letters{{{PLACE}}}": "0+0x80"}],
    ),
    ("DeadLetters", "exporter"): (
        [{f"workbench_dead_letters{{{OWN}}}": "1+0x80"}],
        [{f"workbench_dead_letters{{{OWN}}}": "0+0x80"}],
    ),
    ("HandlersFail", "program"): (
        [dict(zip(ATTEMPTS, ("0+90x80", "0+10x80"), strict=True))],
        [
            dict(zip(ATTEMPTS, ("0+99x80", "0+1x80"), strict=True)),
            dict(zip(ATTEMPTS, ("0+0x80", "0 0 0 0 0 0 0 0 0 0 3+0x70"), strict=True)),  # three of three, which is few
        ],
    ),
    ("UnreadNearLoss", "program"): (
        [{f"eventlib_loss_in_seconds{{{PLACE}}}": "3600+0x80"}],
        [{f"eventlib_loss_in_seconds{{{PLACE}}}": "600000+0x80"}],
    ),
    ("UnreadNearLoss", "exporter"): (
        [
            {
                f"{LAG}{{{PLACE}}}": "900+0x80",
                f'{LENGTH}{{stream="orders"}}': "1000+0x80",
                f'{ADDED}{{stream="orders"}}': "5000+0x80",
            }
        ],
        [
            {  # nothing was trimmed yet
                f"{LAG}{{{PLACE}}}": "900+0x80",
                f'{LENGTH}{{stream="orders"}}': "1000+0x80",
                f'{ADDED}{{stream="orders"}}': "1000+0x80",
            },
            {  # a stream of eventlib, which is trimmed to its slowest group
                f"{LAG}{{{OWN}}}": "900+0x80",
                f'{LENGTH}{{stream="ev:{{orders}}:events"}}': "1000+0x80",
                f'{ADDED}{{stream="ev:{{orders}}:events"}}': "5000+0x80",
            },
        ],
    ),
    ("UnreadLost", "program"): (
        [{f"eventlib_entries_dropped_unread_total{{{PLACE}}}": "0+0x50 7+0x30"}],
        [{f"eventlib_entries_dropped_unread_total{{{PLACE}}}": "7+0x80"}],  # lost long ago
    ),
    ("UnreadLost", "exporter"): (
        [{f"workbench_group_lost_entries{{{PLACE}}}": "3+0x80"}],
        [{f"workbench_group_lost_entries{{{PLACE}}}": "0+0x80"}],
    ),
    ("MemoryNearlyFull", "exporter"): (
        [
            {f"{MEMORY}used_bytes": "85+0x80", f"{MEMORY}max_bytes": "100+0x80", f"{MEMORY}system_bytes": "900+0x80"},
            {f"{MEMORY}used_bytes": "85+0x80", f"{MEMORY}max_bytes": "0+0x80", f"{MEMORY}system_bytes": "100+0x80"},
        ],
        [{f"{MEMORY}used_bytes": "85+0x80", f"{MEMORY}max_bytes": "0+0x80", f"{MEMORY}system_bytes": "900+0x80"}],
    ),
    ("KeysMayBeEvicted", "exporter"): (
        [{'workbench_redis_maxmemory_policy{policy="allkeys-lru"}': "1+0x80"}],
        [{'workbench_redis_maxmemory_policy{policy="noeviction"}': "1+0x80"}],
    ),
    ("KeysEvicted", "exporter"): (
        [{"workbench_redis_evicted_keys_total": "0+0x50 9+0x30"}],
        [{"workbench_redis_evicted_keys_total": "9+0x80"}],
    ),
    ("SpoolFills", "program"): (
        [{'eventlib_spool_bytes{instance="a"}': "60+0x80", 'eventlib_spool_limit_bytes{instance="a"}': "100+0x80"}],
        [
            {'eventlib_spool_bytes{instance="a"}': "40+0x80", 'eventlib_spool_limit_bytes{instance="a"}': "100+0x80"},
            {'eventlib_spool_bytes{instance="a"}': "0+0x80", 'eventlib_spool_limit_bytes{instance="a"}': "0+0x80"},
        ],
    ),
    ("PublishesFail", "program"): (
        [{'eventlib_events_unpublished_total{stream="orders"}': "0+1x80"}],
        [{'eventlib_events_unpublished_total{stream="orders"}': "4+0x80"}],
    ),
    ("ServerAway", "program"): (
        [
            {'eventlib_server_silent_seconds{instance="a"}': "11+15x80"},
            {'eventlib_look_success{instance="a"}': "0+0x80"},
        ],
        [{'eventlib_server_silent_seconds{instance="a"}': "1+0x80", 'eventlib_look_success{instance="a"}': "1+0x80"}],
    ),
    ("ServerAway", "exporter"): (
        [{'workbench_up{instance="a"}': "0+0x80"}],
        [{'workbench_up{instance="a"}': "1+0x80"}],
    ),
}
ALL = [(alert.name, source) for alert in ALERTS for source in alert.queries]


def judged(name: str, source: str, series: Series, fires: bool) -> dict[str, Any]:
    """A test of promtool: after 15 minutes of these series, the alert fires, or does not."""
    question = f'count(ALERTS{{alertname="{name}",source="{source}",alertstate="firing"}})'
    told = [{"labels": "{}", "value": 1}] if fires else []
    return {
        "name": f"{name} of the {source} {'fires' if fires else 'is silent'}",
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": question, "eval_time": "15m", "exp_samples": told}],
    }


def test_every_rule_has_cases_that_fire_and_that_do_not() -> None:
    assert set(CASES) == set(ALL) and all(fires and quiet for fires, quiet in CASES.values())


@needs_promtool
def test_every_rule_fires_where_it_should_and_nowhere_else(tmp_path: Path) -> None:
    tests = [
        judged(name, source, series, fires)
        for (name, source), cases in CASES.items()
        for fires, group in zip((True, False), cases, strict=True)
        for series in group
    ]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    done = promtool("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    done = promtool("check", "rules", "--lint-fatal", str(RULES))
    assert done.returncode == 0 and f"{len(ALL)} rules found" in done.stdout, done.stdout + done.stderr


def test_the_files_are_what_the_code_makes() -> None:
    assert RULES.read_text("utf-8") == as_yaml(rules(Thresholds(), RUNBOOK)), "workbench alerts > rules.yml"
    assert (TOP / RUNBOOK).read_text("utf-8") == runbook(Thresholds()), "workbench alerts --runbook > runbook.md"


def test_every_alert_says_what_it_means_and_its_mend_in_the_runbook() -> None:
    headings = re.findall(r"^## (\w+)$", (TOP / RUNBOOK).read_text("utf-8"), re.MULTILINE)
    assert set(headings) == {*BY_NAME, "Thresholds"}
    for alert in ALERTS:
        assert alert.means.endswith(".") and all(step[-1] in ".?" for step in alert.mend), alert.name


def test_thresholds_are_in_the_questions() -> None:
    usual = rules(Thresholds(), "")
    given = rules(Thresholds(oldest_age_s=7.5, last_for_s=5.0, dead_letters=9, paused_s=90.0), "")
    changed = {
        new["alert"]: new
        for old_group, new_group in zip(usual["groups"], given["groups"], strict=True)
        for old, new in zip(old_group["rules"], new_group["rules"], strict=True)
        if old["expr"] != new["expr"]
    }
    assert set(changed) == {"EventsWaitTooLong", "TasksWaitTooLong", "DeadLetters"}
    assert changed["TasksWaitTooLong"]["expr"].endswith("> 7.5") and changed["TasksWaitTooLong"]["for"] == "5s"
    waits = {rule["alert"]: rule["for"] for group in given["groups"] for rule in group["rules"]}
    assert (waits["GroupPaused"], waits["DeafConsumer"], waits["BacklogGrows"]) == ("90s", "5s", "0s")


def names_in(text: str) -> set[str]:
    """The metrics that questions ask for."""
    return {name.removesuffix("_bucket") for name in re.findall(r"\b(?:eventlib|workbench)_\w+", text)}


@pytest.mark.one_server
async def test_every_metric_that_is_asked_for_is_told_and_promtool_finds_no_fault(
    connect: Connect, url: str, raw: redis.Redis, namespace: str
) -> None:
    text = await scraped(connect, url, raw, namespace)
    told = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    assert names_in(RULES.read_text("utf-8")) <= told
    assert names_in("\n".join(query for panel in PANELS for query in panel.queries.values())) <= told
    if PROMTOOL is None:
        pytest.skip("the names are told; promtool, which judges the metrics, is not here")
    done = promtool("check", "metrics", text=text)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
