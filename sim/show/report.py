"""render(): the validation report, one HTML page that needs nothing outside itself.

The verdict comes first, in a sentence that can be quoted; what it rests on follows, down to the command to run again.
"""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import jinja2
import numpy as np
from markupsafe import Markup

from sim.declare.faults import Fault
from sim.declare.faults.kill import Kill
from sim.declare.loads import Load
from sim.declare.loads.constant import ConstantLoad
from sim.declare.loads.trace import TraceLoad
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.declare.service_times import ServiceTime
from sim.declare.service_times.constant import ConstantTime
from sim.declare.service_times.exponential import ExponentialTime
from sim.declare.service_times.lognormal import LognormalTime
from sim.evidence.checks import Check, Claim
from sim.evidence.history import KIND, History
from sim.evidence.metrics import Interval, unit_of
from sim.infer.compare import Comparison, Row
from sim.show import plots
from sim.wording import digits, quantity

State = Literal["true", "false", "unknown", "invalid"]

_PACKAGES = {
    "event-workbench": "event-workbench",
    "redis-py": "redis",
    "simpy": "simpy",
    "numpy": "numpy",
    "pydantic": "pydantic",
}
_LABELS = {
    "throughput_per_s": "throughput",
    "lag_s_p50": "lag, median",
    "lag_s_p95": "lag, p95",
    "lag_s_p99": "lag, p99",
    "attempts_mean": "attempts per message",
    "dead_letters": "dead letters",
    "duplicates": "handled twice",
    "backlog_mean": "backlog, mean",
    "backlog_max": "backlog, largest",
    "recovery_s": "recovery from the fault",
    "little_residual": "distance from Little's law",
    "lateness_s_p99": "lateness of the load, p99",
}
_GLOSSARY = {
    "attempt": "One try at handling a message. The first is number 1.",
    "backlog": "Messages a service has yet to settle: waiting in the stream, being handled, or put aside for a retry.",
    "dead letter": "A message that was given up and kept, with the reason, in the dead-letter queue.",
    "error": "Simulated minus live, seed by seed, then averaged. Runs of one seed have the same arrivals, service "
    "times and failures in both worlds, so neither makes the error; the jitter of retries may.",
    "handled twice": "At-least-once delivery may hand a message out again, after a consumer died for instance.",
    "interval": "95 % confidence interval of the mean over runs (Student's t). One run has none.",
    "lag": "Time from when the load meant to send a message until a handler was done with it for the first time. The "
    "system's lag ends at the services that emit nothing.",
    "lateness": "How much later than intended the load generator sent. Where its p99 reaches 5 ms, the run is invalid.",
    "lease": "How long a consumer may be silent about a message it holds before another one takes it over.",
    "Little's law": "Mean backlog = arrival rate x mean stay. The distance from it shows whether the backlog that the "
    "server counted and the times that the processes noted agree.",
    "live": "Real processes on the real library and a real server; a kill is SIGKILL.",
    "noise floor": "What two live runs of one seed differ by on average. A model whose runs are no further "
    "from the live ones than that is as good as can be seen.",
    "p50, p95, p99": "Half, 95 % and 99 % of the messages had at most this lag.",
    "recovery": "Time from a service's first fault until its backlog is back at what it was before.",
    "repeat": "Another live run of the same seed.",
    "run": "One pass through the scenario in one world.",
    "seed": "The number that decides everything random in a run.",
    "simulated": "The same rules in virtual time; only how long things take is modelled.",
}


def render(
    comparisons: Sequence[Comparison],
    claims: Sequence[Claim],
    *,
    command: str,
    notes: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> str:
    """The report as one HTML page: the same input gives the same bytes.

    `command` is what runs it again; `notes` are shown beside the verdict.
    """
    servers = {comparison.live.server: "" for comparison in comparisons}
    parts = [_part(comparison, number) for number, comparison in enumerate(comparisons, 1)]
    return _page().render(
        verdict=_verdict(comparisons, claims),
        tallies=_tallies(comparisons, claims),
        title=", ".join(part.name for part in parts) or "nothing",
        parts=parts,
        claims=claims,
        notes=notes,
        command=command,
        environment=environment or {"server": ", ".join(servers)},
        overheads=_overheads(parts),
        glossary=_GLOSSARY,
    )


def environment(server: str) -> dict[str, str]:
    """What the numbers depend on beside the scenario: versions, the machine, and the server's product and version."""
    return {
        "server": server,
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "CPUs": str(os.cpu_count() or "unknown"),
    } | {name: version(package) for name, package in _PACKAGES.items()}


# The verdict


@dataclass(frozen=True, slots=True)
class _Sentence:
    """What can be quoted, and above it the verdict in a few words."""

    state: State
    mark: str
    text: str


def _verdict(comparisons: Sequence[Comparison], claims: Sequence[Claim]) -> _Sentence:
    if not comparisons:
        return _Sentence("unknown", "Not known", "Nothing was compared.")
    if late := [comparison.live.scenario.name for comparison in comparisons if _late(comparison)]:
        times = f"but the times do not count, because the load was sent too late in {' and '.join(late)}"
        return _Sentence("invalid", "Invalid run", f"{_delivery(comparisons)}; {times}.")
    state, mark = _state([found for comparison in comparisons for found in comparison.checks], claims)
    return _Sentence(state, mark, "; ".join(filter(None, (_delivery(comparisons), _lags(comparisons)))) + ".")


def _state(checks: Sequence[Check], claims: Sequence[Claim]) -> tuple[State, str]:
    found = {"check": [check.verdict for check in checks], "claim": [claim.verdict for claim in claims]}
    for what, verdicts in found.items():
        if count := verdicts.count("false"):
            return "false", f"{_plural(count, what).capitalize()} found false"
    if count := sum(verdicts.count("unknown") for verdicts in found.values()):
        return "unknown", f"Nothing found false, {count} unknown"
    return "true", "Every check and claim holds" if claims else "Every check holds"


def _late(comparison: Comparison) -> Check | None:
    found = (check for check in comparison.checks if check.name == "generator_on_time" and check.verdict == "false")
    return next(found, None)


def _delivery(comparisons: Sequence[Comparison]) -> str:
    """What became of the messages, in half a sentence."""
    live = [comparison.live for comparison in comparisons]
    runs = sum(len(history.runs) for history in live)
    published = _count(live, "published")
    publishes = f"{published:,} publish{'' if published == 1 else 'es'} over {_plural(runs, 'live run')}"
    if killed := _count(live, "killed"):
        publishes += f", {_plural(killed, 'consumer')} killed"
    lost = [found for comparison in comparisons for found in comparison.checks if found.name == "lost"]
    if any(found.verdict == "false" for found in lost):
        details = "; ".join(found.detail for found in lost if found.verdict == "false")
        return f"Not every publish was handled or dead-lettered by the end ({details}): {publishes}"
    if any(found.verdict == "unknown" for found in lost):
        return f"Whether anything was lost is unknown: {publishes}"
    broken = [found.name for comparison in comparisons for found in comparison.checks if found.verdict == "false"]
    if broken := [name for name in broken if name != "generator_on_time"]:
        return f"Nothing was lost, but not every check holds ({', '.join(broken)}): {publishes}"
    return f"Nothing was lost: {publishes}"


def _lags(comparisons: Sequence[Comparison]) -> str:
    """How close the simulated lag is, in half a sentence."""
    found = []
    for comparison in comparisons:
        row = comparison["lag_s_p95"]
        if np.isfinite(row.simulated) and np.isfinite(row.live):
            numbers = f"{quantity(row.simulated, 's')} against {quantity(row.live, 's')} live"
            where = f" in {comparison.live.scenario.name}" if len(comparisons) > 1 else ""
            found.append(f"{numbers}{where}, {_noise(row)}")
    return f"simulated lag p95 is {', and '.join(found)}" if found else ""


def _noise(row: Row) -> str:
    if row.within_noise is None:
        return "noise floor unknown"
    return f"{'inside' if row.within_noise else 'outside'} the noise floor of {quantity(row.noise_floor, row.unit)}"


def _tallies(comparisons: Sequence[Comparison], claims: Sequence[Claim]) -> list[tuple[str, str]]:
    """How many of what hold: number and words."""
    checks = [found for comparison in comparisons for found in comparison.checks]
    rows = [row for comparison in comparisons for row in plots.predictions(comparison)]
    valid = not any(_late(comparison) for comparison in comparisons)
    known = [row for row in rows if valid and row.within_noise is not None]
    tallies = [
        (claims, sum(found.verdict == "true" for found in claims), "claims hold"),
        (checks, sum(found.verdict == "true" for found in checks), "checks hold"),
        (known, sum(bool(row.within_noise) for row in known), "predicted metrics inside the noise floor"),
    ]
    return [(f"{good} of {len(of)}", words) for of, good, words in tallies if len(of)]


def _count(histories: Sequence[History], kind: str) -> int:
    return sum(int((history.rows["kind"] == KIND[kind]).sum()) for history in histories)


def _plural(count: int, noun: str) -> str:
    return f"{'one' if count == 1 else f'{count:,}'} {noun}{'' if count == 1 else 's'}"


# A scenario


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A figure and what to see in it."""

    svg: Markup
    title: str
    see: str


@dataclass(frozen=True, slots=True)
class _Part:
    """All that the page shows of one scenario."""

    anchor: str
    name: str
    description: str
    load: str
    faults: list[str]
    services: list[dict[str, str]]
    groups: dict[str, list[Row]]
    predicted: set[str]
    figures: list[_Drawn]
    checks: tuple[Check, ...]
    late: Check | None
    runs: dict[str, str]
    overheads: dict[str, str]


def _part(comparison: Comparison, number: int) -> _Part:
    scenario, anchor = comparison.live.scenario, f"scenario-{number}"
    simulated, live = comparison.simulated, comparison.live
    return _Part(
        anchor,
        scenario.name,
        scenario.description,
        _load(scenario.offered_load, live),
        [_fault(fault, scenario) for fault in scenario.faults],
        [_service(name, service) for name, service in scenario.services.items()],
        _groups(comparison),
        {row.metric for row in comparison.rows if not row.metric.endswith(plots.MEASUREMENT)},
        list(_figures(comparison, anchor)),
        comparison.checks,
        _late(comparison),
        {
            "simulated": plots.replications(simulated),
            "live": f"{plots.replications(live)} on {live.server}",
            "compared": f"pair by pair on {plots.seeds(comparison.seeds)}",
        },
        {name: quantity(value, "s") for name, value in simulated.overheads.items()},
    )


def _overheads(parts: Sequence[_Part]) -> dict[str, str]:
    """What calibration put in, said once where it is the same for all scenarios."""
    if all(part.overheads == parts[0].overheads for part in parts):
        return parts[0].overheads if parts else {}
    return {f"{part.name}: {name}": value for part in parts for name, value in part.overheads.items()}


def _groups(comparison: Comparison) -> dict[str, list[Row]]:
    """The rows of the system and of each service."""
    groups: dict[str, list[Row]] = {}
    for row in comparison.rows:
        groups.setdefault(row.metric.rpartition(".")[0] or "system", []).append(row)
    return groups


def _figures(comparison: Comparison, anchor: str) -> Iterator[_Drawn]:
    name = comparison.live.scenario.name
    p99, live = comparison["lag_s_p99"], comparison.live
    tail = f"p99 is {quantity(p99.simulated, 's')} simulated and {quantity(p99.live, 's')} live on the shared seeds"
    faults = "each shaded fault" if live.scenario.faults else "a burst"
    seen = (
        (
            plots.lag_over_time,
            "Lag over time",
            "Nine in ten points should lie inside the band. "
            f"See how high lag climbs after {faults}, and how soon it is back.",
        ),
        (
            plots.lag_distribution,
            "The tail of lag",
            f"The further right at the same height, the slower. Customers notice the lower right end: {tail}.",
        ),
        (
            plots.backlog,
            "Backlog",
            f"Work that piles up and is worked off. After {faults} line and points should fall together.",
        ),
        (
            plots.attempts,
            "Attempts",
            "How many messages needed a second try or more. "
            "Both worlds use the library's own retry rule, so the points should lie in the band.",
        ),
        (
            plots.errors,
            "Error beside noise floor",
            "A dot on its grey bar cannot be told from another live run. A diamond is off by more than two live runs "
            "of one seed are from each other.",
        ),
    )
    for draw, title, see in seen:
        figure = draw(comparison)
        label = f"{title} of {name}, simulated and live. {see}"
        yield _Drawn(Markup(plots.svg(figure, name=f"{anchor}-{draw.__name__}", label=label)), title, see)


# Declarations in words


def _load(load: Load, history: History) -> str:
    sent = (history.rows["kind"] == KIND["sent"]) & (history.rows["service"] == -1)
    each = f"{int(sent.sum()) / max(len(history.runs), 1):,.0f} messages a run on average"
    if isinstance(load, TraceLoad):
        speed = f"at {1 / load.time_scale:g} times its speed" if load.time_scale != 1 else "at its own speed"
        window = f", {load.for_s:g} s of it from {load.from_s:g} s on" if load.for_s else ""
        return f"{load.event}: the recorded trace {load.file.name}{window}, {speed}; {each}."
    how = "evenly spaced" if isinstance(load, ConstantLoad) else "at random (Poisson)"
    return f"{load.event}: {load.rate_per_s:g} a second for {load.duration_s:g} s, {how}; {each}."


def _fault(fault: Fault, scenario: Scenario) -> str:
    if isinstance(fault, Kill):
        back = (
            "and is not replaced" if fault.back_after_s is None else f"and is replaced {fault.back_after_s:g} s later"
        )
        return f"At {fault.at_s:g} s, consumer {fault.consumer} of {fault.service} is killed without warning {back}."
    usual = scenario.services[fault.service].error_rate
    return (
        f"From {fault.at_s:g} s to {fault.at_s + fault.for_s:g} s, {100 * fault.error_rate:g} % of the attempts at "
        f"{fault.service} fail instead of {100 * usual:g} %."
    )


def _service(name: str, service: Service) -> dict[str, str]:
    retry = service.retry
    return {
        "service": name,
        "consumes": service.consumes,
        "emits": ", ".join(service.emits) or "nothing",
        "consumers": f"{service.consumers}, each handling {service.concurrency} at once",
        "one message takes": _time(service.service_time),
        "fails": f"{100 * service.error_rate:g} %",
        "tries": f"{retry.attempts}, waits {quantity(retry.wait_s, 's')} to {quantity(retry.wait_s_max, 's')}",
        "lease": quantity(service.lease_s, "s"),
    }


def _time(time: ServiceTime) -> str:
    match time:
        case ConstantTime():
            return f"{quantity(time.mean_s, 's')}, always"
        case ExponentialTime():
            return f"{quantity(time.mean_s, 's')} on average, exponential"
        case LognormalTime():
            return f"{quantity(time.mean_s, 's')} on average, lognormal, CV {time.cv:g}"
    return f"{quantity(time.base_s, 's')} and {quantity(time.per_token_s, 's')} a token, of recorded time"


# Numbers in the page


def _scale(row: Row) -> tuple[float, str]:
    """The factor and the unit that people read the row in."""
    if row.unit == "s":
        sizes = [abs(value) for value in (row.simulated, row.live) if np.isfinite(value)]
        return (1000.0, "ms") if max(sizes, default=0.0) < 1 else (1.0, "s")
    return (100.0, "%") if row.unit == "share" else (1.0, "per s" if row.unit == "1/s" else row.unit)


def _number(value: float, factor: float = 1.0, *, signed: bool = False) -> Markup:
    if np.isnan(value):
        return Markup('<span title="there is no such number">\N{EN DASH}</span>')
    if np.isinf(value):
        return Markup('<span class="never">not recovered</span>')
    return Markup("{}").format(digits(value * factor, signed=signed))


def _interval(interval: Interval, factor: float) -> Markup:
    """Its bounds, or why there are none."""
    if np.isnan(interval.low):
        return Markup('<span title="one run, or none, gives no interval">\N{EN DASH}</span>')
    low, high = (digits(bound * factor) for bound in (interval.low, interval.high))
    return Markup('<span class="runs">{} runs: </span>{} to {}').format(interval.runs, low, high)


def _share(value: float) -> Markup:
    """A relative error."""
    if not np.isfinite(value):
        return _number(np.nan)
    return Markup("{} %").format(digits(100 * value, significant=2, signed=True))


def _label(metric: str) -> str:
    name = metric.rpartition(".")[2]
    return _LABELS.get(name, name.replace("_", " "))


def _page() -> jinja2.Template:
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals.update(scale=_scale, number=_number, interval=_interval, share=_share, label=_label, unit_of=unit_of)
    return pages.get_template("report.html")
