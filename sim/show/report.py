"""render(): the validation report, one HTML page that needs nothing outside itself.

The verdict comes first, in a sentence that can be quoted. What it rests on follows, down to the command that runs it
all again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape

from sim.evidence.capacity import overloads
from sim.evidence.checks import Check, generator_late
from sim.evidence.claims import THEMES
from sim.evidence.claims import Row as ClaimRow
from sim.evidence.metrics import Interval, is_predicted
from sim.infer.compare import Comparison, Row
from sim.infer.trends import Trend
from sim.show import plots
from sim.show.consumers import consumers
from sim.show.declared import load_in_words, services_in_words
from sim.show.glossary import GLOSSARY, LABELS
from sim.show.pages import Shown, template
from sim.show.tiles import tiles
from sim.show.trends import trend_line
from sim.show.turns import turns
from sim.show.verdict import tallies, verdict
from sim.show.wording import percent, replications, seeds
from sim.wording import at_least, digits, lower_bound, quantity, share_unhandled


def render(
    comparisons: Sequence[Comparison],
    claims: Sequence[ClaimRow],
    *,
    command: str,
    notes: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    fidelity: Mapping[str, Any] | None = None,
    trends: Sequence[Trend] = (),
) -> str:
    """The report as one HTML page. The same input gives the same bytes.

    `command` runs everything again. `notes` are shown beside the verdict. Without an `environment`, the page names the
    server alone. `fidelity` is what `workbench fidelity --json` wrote. `trends` are those of the reports before.
    """
    servers = {comparison.live.server: "" for comparison in comparisons}
    parts = [_part(comparison, number) for number, comparison in enumerate(comparisons, 1)]
    return _page().render(
        verdict=verdict(comparisons, claims),
        tiles=tiles(comparisons),
        tallies=tallies(comparisons, claims),
        title=", ".join(part.name for part in parts) or "nothing",
        parts=parts,
        themes=_themes(claims),
        trends=trends,
        fidelity=fidelity,
        notes=notes,
        command=command,
        environment=environment or {"server": ", ".join(servers)},
        made=[environment[name] for name in ("date", "commit", "host") if name in environment] if environment else [],
        calibrations=_calibrations(parts),
        glossary=GLOSSARY,
    )


def _themes(claims: Sequence[ClaimRow]) -> dict[str, list[ClaimRow]]:
    """The claims under the headings of their themes."""
    themes = {heading: [row for row in claims if row.theme == theme] for theme, heading in THEMES.items()}
    return {heading: rows for heading, rows in themes.items() if rows}


# What the page shows of a scenario


@dataclass(frozen=True, slots=True)
class _Part:
    """All that the page shows of one scenario."""

    anchor: str
    name: str
    description: str
    load: str
    faults: list[str]
    service_header: list[str]
    service_rows: list[list[str]]
    all_services: dict[str, str]
    groups: dict[str, list[Row]]
    zeros: list[str]
    quality: dict[str, str]
    noisy: bool
    baselines: list[str]
    intervals: bool
    figures: list[Shown]
    checks: tuple[Check, ...]
    late: Check | None
    overloads: list[str]
    runs: dict[str, str]
    calibration: dict[str, Any]
    live_runs: int
    tolerance: str


def _part(comparison: Comparison, number: int) -> _Part:
    scenario, anchor = comparison.live.scenario, f"scenario-{number}"
    services, all_services = services_in_words(scenario)
    prediction, live = comparison.prediction, comparison.live
    return _Part(
        anchor=anchor,
        name=scenario.name,
        description=scenario.description,
        load=load_in_words(live),
        faults=[fault.in_words(scenario) for fault in scenario.faults],
        service_header=list(services[0]),
        service_rows=[list(row.values()) for row in services],
        all_services=all_services,
        groups=_groups(comparison),
        zeros=[f"{_label(row.metric)}{_service_of(row.metric)}" for row in comparison.predictions if _is_zero(row)],
        quality=_quality(comparison),
        noisy=any(not np.isnan(row.noise) for row in comparison.predictions),
        baselines=sorted({name for row in comparison.predictions for name in row.baselines}),
        intervals=any(np.isfinite(row.live_interval.low) for row in comparison.predictions),
        figures=list(_figures(comparison, anchor)),
        checks=comparison.checks,
        late=generator_late(comparison.checks),
        overloads=[one.in_words() for one in overloads(live)],
        runs={
            "simulated": f"{prediction.replications} replications of {seeds(prediction.seeds)}",
            "live": f"{replications(live)} on {live.server}",
            "compared": f"pair by pair on {seeds(comparison.seeds)}",
            "predicted": f"made {prediction.made}, SHA-256 {prediction.sha256}",
        },
        calibration=prediction.calibration,
        live_runs=comparison.headline.live_runs,
        tolerance=percent(comparison.tolerance),
    )


def _calibrations(parts: Sequence[_Part]) -> dict[str, str]:
    """What calibration put into the simulations. It is listed once where it is the same for all scenarios."""
    told = {part.name: _calibration(part.calibration) for part in parts if part.calibration}
    if len(told) == len(parts) and all(one == told[parts[0].name] for one in told.values()):
        return told[parts[0].name] if parts else {}
    return {f"{name}: {key}": value for name, one in told.items() for key, value in one.items()}


def _calibration(about: Mapping[str, Any]) -> dict[str, str]:
    """When and where it was measured, the mean of each step, and the processor's time."""
    values = {name: quantity(value, "s") for name, value in about["values"].items()}
    known = {name: about[name] for name in ("date", "server", "digest") if about.get(name, "none") not in ("", "none")}
    wrong = {"discrepancy": percent(np.expm1(about["discrepancy"]))} if "discrepancy" in about else {}
    return known | values | wrong


def _groups(comparison: Comparison) -> dict[str, list[Row]]:
    """The predictions of the system and of each service, without those that neither world has anything of."""
    groups: dict[str, list[Row]] = {}
    for row in comparison.predictions:
        if not (np.isnan(row.simulated) and np.isnan(row.live)) and not _is_zero(row):
            groups.setdefault(row.metric.rpartition(".")[0] or "system", []).append(row)
    return groups


def _is_zero(row: Row) -> bool:
    """Was there nothing of it in any run? Then a line of text says as much as a row."""
    return row.simulated == row.live == row.error == 0 and not row.noise > 0


def _quality(comparison: Comparison) -> dict[str, str]:
    """How good the live measurement was: nothing that is predicted."""
    rows = [row for row in comparison.rows if not is_predicted(row.metric) and not np.isnan(row.live)]
    found = {f"{_label(row.metric)}{_service_of(row.metric)}": quantity(row.live, row.unit) for row in rows}
    return found | ({"the machine": comparison.drift.in_words} if comparison.drift is not None else {})


def _service_of(metric: str) -> str:
    service = metric.rpartition(".")[0]
    return f" ({service})" if service else ""


def _figures(comparison: Comparison, anchor: str) -> Iterator[Shown]:
    name = comparison.live.scenario.name
    p99, live = comparison["lag_s_p99"], comparison.live
    simulated = at_least(quantity(p99.simulated, "s"), p99.simulated_interval.unhandled)
    tail = f"p99 is {simulated} simulated and {at_least(quantity(p99.live, 's'), p99.live_interval.unhandled)} live"
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
            "Error with its noise",
            "A filled dot lies within the tolerance with its whole error bar, a diamond outside with all of it. "
            "An open dot is too noisy to tell: its bar reaches across.",
        ),
    )
    for draw, title, see in seen:
        figure = draw(comparison)
        label = f"{title} of {name}, simulated and live. {see}"
        svg = Markup(plots.svg(figure, name=f"{anchor}-{draw.__name__}", label=label))
        yield Shown(svg, title, see, plots.caption(figure))
    for name, service in live.scenario.services.items():
        if service.autoscale is not None:
            figure = consumers(comparison, service=name)
            title = f"Consumers of {name}"
            see = "How many the rule called for, and the backlog that it saw. Both worlds use the same rule."
            label = f"{title}, simulated and live. {see}"
            svg = Markup(plots.svg(figure, name=f"{anchor}-consumers-{name}", label=label))
            yield Shown(svg, title, see, plots.caption(figure))
        if service.queue is not None and service.queue.bounds():
            figure = turns(comparison, service=name)
            title = f"Turns of {name}"
            see = "What waits longest, and how many dispatches passed it. No point should lie above its dashes."
            label = f"{title}, simulated and live. {see}"
            svg = Markup(plots.svg(figure, name=f"{anchor}-turns-{name}", label=label))
            yield Shown(svg, title, see, plots.caption(figure))


# Numbers in the page


def _scale(row: Row) -> tuple[float, str]:
    """The factor and the unit that make the numbers of a row easy to read."""
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


def _bound(value: float, interval: Interval, factor: float) -> Markup:
    """A number, marked where it is only a lower bound."""
    return escape(lower_bound("", interval.unhandled)) + _number(value, factor)


def _interval(interval: Interval, factor: float) -> Markup:
    """The bounds of an interval; nothing where too few runs give none."""
    if interval.unhandled:
        return Markup("{}").format(share_unhandled(interval.unhandled))
    if np.isnan(interval.low):
        return Markup("")
    low, high = (digits(bound * factor) for bound in (interval.low, interval.high))
    return Markup('<span class="runs">{} runs: </span>{} to {}').format(interval.runs, low, high)


def _share(value: float, *, signed: bool = False) -> Markup:
    """A relative error, or its noise."""
    return _number(np.nan) if np.isnan(value) else Markup("{}").format(percent(value, signed=signed))


def _baseline(row: Row, name: str) -> Markup:
    """How far a baseline is off, as a share of the live value, and whether the prediction is closer."""
    distance = row.baselines.get(name, np.nan)
    if np.isnan(distance) or not row.live:
        return _number(np.nan)
    beaten = "beaten" if row.beats(name) else "not beaten"
    return Markup("{} <small>{}</small>").format(percent(distance / abs(row.live)), beaten)


def _times(row: ClaimRow) -> str:
    """How often the threshold goes into what was measured."""
    distance = row.finding.distance
    return "" if distance is None else f"{digits(distance)}\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN} the threshold"


def _label(metric: str) -> str:
    name = metric.rpartition(".")[2]
    return LABELS.get(name, name.replace("_", " "))


def _page() -> jinja2.Template:
    return template(
        "report.html",
        scale=_scale,
        number=_number,
        bound=_bound,
        interval=_interval,
        share=_share,
        label=_label,
        baseline=_baseline,
        times=_times,
        line=trend_line,
    )
