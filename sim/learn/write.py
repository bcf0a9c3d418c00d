"""The files of what was learned: a scenario, with how each number was found in a comment, and the trace of arrivals."""

import json
import re
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from sim.declare.declared import FilePlaces
from sim.declare.plain_yaml import parse
from sim.declare.scenario import Scenario
from sim.declare.traces import TRACE_COLUMNS
from sim.learn.findings import Finding, Learned
from sim.learn.recording import Recording
from sim.learn.trial import Trial
from sim.wording import quantity

_WIDTH = 118
_CONSUMERS_MAX = 100  # of a service in a scenario
_DRAIN_S = 30.0


def write_trace(learned: Learned, file: Path) -> None:
    """Write the arrivals as a trace: a row for each, with its time in UTC.

    Raises:
        OSError: the file cannot be written, or exists.
    """
    begin_us = round(learned.begin_ms * 1e3)
    with file.open("x", encoding="utf-8", newline="\n") as lines:
        lines.write(",".join(TRACE_COLUMNS) + "\n")
        lines.writelines(f"{_timestamp(begin_us + round(at_s * 1e6))},0,0\n" for at_s in learned.arrivals_s)


def _timestamp(us: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def scenario_text(record: Recording, learned: Learned, trace: Path, trial: Trial | None = None) -> str:
    """The scenario's YAML. Relative to it, `trace` is the file of arrivals; `trial` is what it predicts, if known."""
    begun = _timestamp(round(learned.begin_ms * 1e3)).partition(".")[0]
    found, service = learned.findings, service_name(record)
    lines = [
        *_comment(
            f"Learned from group {record.group!r} of stream {record.stream!r} on {record.server}, watched for "
            f"{record.watched_s:.0f} s from {begun} UTC: {len(record.looks):,} looks, {record.commands:,} commands."
        ),
        *(line for note in learned.notes for line in _comment(f"Note: {note}.")),
        *(_comment(trial.in_words()) if trial else ()),
        f"name: {json.dumps(service)}",
        f"description: {json.dumps(f'Learned from a running system in {record.watched_s:.0f} s.')}",
        *_told("arrivals", found["arrival_rate"]),
        *_at_begin(learned),
        f"load: {{kind: trace, event: {json.dumps(event_type(record))}, file: {json.dumps(str(trace))}}}",
        "services:",
        f"  {json.dumps(service)}:",
        f"    consumes: {json.dumps(event_type(record))}",
        *_told("consumers", found["consumers"], 4),
        *_stand_for(learned),
        f"    consumers: {_consumers(learned)[0]}",
        *_told("concurrency, of each consumer", found["concurrency"], 4),
        f"    concurrency: {learned.workers.at_once * _consumers(learned)[1]}",
        *_prefetch(learned),
        *_told("service time", found["service_time"], 4),
        *_told("time from one entry to the next", found["between_entries"], 4),
        "    service_time:",
        "      kind: empirical",
        *_values(learned),
        *_failures(learned),
        f"drain_s: {_drain_s(record, learned):.0f}",
    ]
    return "\n".join(lines) + "\n"


def scenario_of(text: str, directory: Path) -> Scenario:
    """The scenario that a text declares; its trace is found from this directory."""
    return Scenario.model_validate(parse(text), context=FilePlaces(directory, sample_if_missing=False))


def findings_json(record: Recording, learned: Learned, trial: Trial | None) -> dict[str, Any]:
    """All that was learned, for machines. Times are in seconds, rates in a second."""
    consumers, workers = learned.consumers, learned.workers
    return {
        "stream": record.stream,
        "group": record.group,
        "server": record.server,
        "library": record.library or "unknown",
        "begin_s": learned.begin_ms / 1e3,
        "watched_s": record.watched_s,
        "looks": len(record.looks),
        "commands": record.commands,
        "entries_listed": record.entries_listed,
        "arrivals": len(learned.arrivals_s) - learned.at_begin,
        "at_begin": learned.at_begin,
        "findings": {name: _finding_json(each) for name, each in learned.findings.items()},
        "service_s": learned.service_s.tolist(),
        "consumers": {
            "working": list(consumers.working),
            "dead": list(consumers.dead),
            "silent": list(consumers.silent),
        },
        "concurrency": {"at_least": workers.at_least, "held_max": workers.held_max, "prefetch": workers.prefetch},
        "lag_seen": {
            "mean_s": learned.lag.mean_s,
            "p50_s": list(learned.lag.p50_s),
            "p95_s": list(learned.lag.p95_s),
            "n": learned.lag.n,
        },
        "lag_predicted": None if trial is None else trial.as_json(),
        "notes": learned.notes,
    }


def _finding_json(found: Finding) -> dict[str, Any]:
    interval = None if found.low is None else [found.low, found.high]
    return {"value": found.value, "unit": found.unit, "interval": interval, "how": found.how, "sure": found.sure}


def service_name(record: Recording) -> str:
    """The group's name, as far as a service may have it."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", record.group).strip("-._") or "service"
    return "group-callers" if name == "callers" else name


def event_type(record: Recording) -> str:
    """The stream's name as an event type. Of a stream of eventlib it is what stands in braces."""
    inner = re.search(r"\{(.+)\}", record.stream) if record.library else None
    words = re.sub(r"[^a-z0-9_.]+", "_", (inner[1] if inner else record.stream).lower())
    parts = [part for part in words.split(".") if part.strip("_")] or ["event"]
    text = ".".join(parts).strip("_")
    return text if text[:1].isalpha() else f"event.{text}"


def _comment(text: str, indent: int = 0) -> list[str]:
    printed = "".join(c if c.isprintable() else "?" for c in text)
    begin = " " * indent + "# "
    return textwrap.wrap(printed, _WIDTH, initial_indent=begin, subsequent_indent=begin)


def _told(what: str, found: Finding, indent: int = 0) -> list[str]:
    return _comment(f"{what}: {in_words(found)}. How: {found.how}. How sure: {found.sure}.", indent)


def in_words(found: Finding) -> str:
    """Its value with its unit and its interval."""
    unit = found.unit
    value = quantity(found.value, unit) if unit else f"{found.value:g}"
    if found.low is None:
        return value
    low = quantity(found.low, unit) if unit else f"{found.low:g}"
    if found.high is None:
        return f"{value}, at least {low}"
    if found.low == found.high:
        return value
    return f"{value} ({low} to {quantity(found.high, unit) if unit else f'{found.high:g}'})"


def _at_begin(learned: Learned) -> list[str]:
    if not learned.at_begin:
        return []
    return _comment(f"{learned.at_begin:,} entries were waiting or in hand when watching began; here they arrive at 0.")


def _consumers(learned: Learned) -> tuple[int, int]:
    """How many consumers the scenario has, and for how many of the group's each of them stands."""
    working = max(1, len(learned.consumers.working))
    each = -(-working // _CONSUMERS_MAX)
    return round(working / each), each


def _stand_for(learned: Learned) -> list[str]:
    consumers, each = _consumers(learned)
    if each == 1:
        return []
    text = f"A service has at most {_CONSUMERS_MAX} consumers. So each of these {consumers} stands for {each}"
    return _comment(f"{text}: it works on {each} times as many entries at once.", 4)


def _prefetch(learned: Learned) -> list[str]:
    prefetch = learned.workers.prefetch * _consumers(learned)[1]
    if not prefetch:
        return []
    text = f"prefetch: a consumer held up to {learned.workers.held_max} entries at once. How: counted at each look."
    return [*_comment(text, 4), f"    prefetch: {prefetch}"]


def _values(learned: Learned) -> list[str]:
    """The values in lines of their own; the shortest decimal that keeps a microsecond."""
    text = ", ".join(np.format_float_positional(round(value, 6), trim="0") for value in learned.service_s)
    wrapped = textwrap.wrap(text, _WIDTH - 8)
    return ["      values_s: [", *(f"        {line}" for line in wrapped), "      ]"]


def _failures(learned: Learned) -> list[str]:
    found, retries = learned.findings, learned.retries
    lines = [*_told("error rate", found["error_rate"], 4), f"    error_rate: {found['error_rate'].value:.6f}"]
    if retries is None:
        return lines
    # The mean of all waits is known, not how they grow. So each is as long, or drawn from zero to twice that.
    wait_s = 2.0 * retries.wait_s if retries.jittered else retries.wait_s
    policy = f"attempts: {retries.attempts}, wait_s: {wait_s:.6f}, wait_s_max: {wait_s:.6f}"
    policy += "" if retries.jittered else ", jitter: none"
    told = _told("attempts", found["attempts"], 4) if "attempts" in found else []
    return [*lines, *told, *_told("wait before a retry", found["retry_wait"], 4), f"    retry: {{{policy}}}"]


def _drain_s(record: Recording, learned: Learned) -> float:
    """Time enough for what the group had left at the end, several times over."""
    _, last = record.looks[-1]
    left = (last.waiting or 0) + last.pending
    slots = max(1, len(learned.consumers.working)) * learned.workers.at_once
    wait_s = learned.retries.wait_s * 4 if learned.retries else 0.0
    return float(min(1e6, _DRAIN_S + wait_s + 3.0 * left * float(learned.service_s.mean()) / slots))
