"""render_run(): the page of a history of one world. It needs nothing outside itself."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from sim.environment import environment
from sim.evidence.capacity import overloads
from sim.evidence.checks import Check
from sim.evidence.expectations import Judged
from sim.evidence.history import History
from sim.evidence.lags import first_handled, last_services
from sim.evidence.lives import HEADER, MessageLife
from sim.evidence.metrics import Interval, unit_of
from sim.evidence.unhandled import unhandled
from sim.show import plots
from sim.show.consumers import consumers
from sim.show.declared import load_in_words, services_in_words
from sim.show.lives import life_of
from sim.show.pages import Shown, template
from sim.show.verdict import state_of
from sim.show.wording import replications, warm_up_in_words
from sim.wording import at_least, lower_bound, number, quantity, share_unhandled

_WORLDS = {"simulated": "Simulated", "live": "Live"}


def render_run(
    history: History,
    metrics: Mapping[str, Interval],
    checks: Sequence[Check],
    judged: Sequence[Judged] = (),
    *,
    command: str,
) -> str:
    """The page of a history. The same input gives the same bytes on the same machine. `command` runs it again."""
    scenario = history.scenario
    state, verdict = state_of(checks, judged=judged)
    rows, all_services = services_in_words(scenario)
    life = _slowest(history)
    notes = [*filter(None, [warm_up_in_words(history)]), *(one.in_words() for one in overloads(history))]
    return template("run.html").render(
        name=scenario.name,
        world=history.world,
        description=scenario.description,
        sentence=_sentence(history, metrics),
        state=state,
        verdict=verdict,
        notes=notes,
        judged=[[one.expected, one.verdict, one.found] for one in judged],
        load=load_in_words(history),
        faults=[fault.in_words(scenario) for fault in scenario.faults],
        figures=list(_figures(history, life)),
        metrics=[_metric(name, found) for name, found in metrics.items() if not np.isnan(found.mean)],
        slowest={"header": HEADER, "rows": list(life.rows()), "caption": repr(life)} if life else None,
        checks=checks,
        service_header=list(rows[0]),
        service_rows=[list(row.values()) for row in rows],
        all_services=all_services,
        conditions=_conditions(history),
        command=command,
    )


def _sentence(history: History, metrics: Mapping[str, Interval]) -> str:
    """What the page says first: how long messages took, and how many were handled."""
    p50, p99 = (metrics[f"lag_s_{q}"] for q in ("p50", "p99"))
    lags = f"half of the messages of {history.scenario.name} took {_in_words(p50)} or less, 99 in 100 {_in_words(p99)}"
    return f"{_WORLDS[history.world]}: {lags}."


def _in_words(found: Interval) -> str:
    return at_least(quantity(found.mean, "s"), found.unhandled)


def _metric(name: str, found: Interval) -> list[str]:
    interval = f"{number(found.low)} to {number(found.high)}" if np.isfinite(found.low) else ""
    between = share_unhandled(found.unhandled) if found.unhandled else interval
    return [name, lower_bound(number(found.mean), found.unhandled), between, unit_of(name)]


def _figures(history: History, life: MessageLife | None) -> Iterator[Shown]:
    faults = "each shaded fault" if history.scenario.faults else "a burst"
    drawn: list[tuple[Any, str, str]] = [
        (
            plots.lag_over_time(history),
            "Lag over time",
            f"How high lag climbs after {faults}, and how soon it is back.",
        ),
        (plots.lag_distribution(history), "The tail of lag", "Customers notice the lower right end."),
        (plots.backlog(history), "Backlog", "Work that piles up and is worked off."),
        (plots.attempts(history), "Attempts", "How many messages needed a second try or more."),
    ]
    for name, service in history.scenario.services.items():
        if service.autoscale is not None:
            see = "How many the rule called for, and the backlog that it saw."
            drawn.append((consumers(history, service=name), f"Consumers of {name}", see))
    if life is not None:
        see = f"It was meant to be sent at {quantity(life.intended_s, 's')} of the run with seed {life.seed}."
        drawn.append((life_of(life), "The slowest message", see))
    for place, (figure, title, see) in enumerate(drawn):
        svg = Markup(plots.svg(figure, name=f"figure-{place}", label=f"{title} of {history.scenario.name}. {see}"))
        yield Shown(svg, title, see, plots.caption(figure))


def _slowest(history: History) -> MessageLife | None:
    """The message of the first run that took longest, or the first one that was never handled; None without any."""
    rows, scenario = history.run(0), history.scenario
    codes = [history.services.index(name) for name in last_services(scenario)]
    for code in codes:
        numbers, _ = unhandled(scenario, rows, code)
        if numbers.size:
            consumed = list(scenario.services.values())[code].consumes
            return history.message(int(numbers[0]) // scenario.flow.paths[consumed])
    handled = first_handled(rows, codes)
    if not handled.size:
        return None
    slowest = handled[np.argmax(handled["t_s"] - handled["intended_s"])]
    return history.message(int(slowest["message"]) // scenario.flow.paths[history.events[slowest["event"]]])


def _conditions(history: History) -> dict[str, str]:
    """The runs and the machine: that of a live run is noted in its history."""
    machine = history.environment or environment(history.server)
    calibration = history.calibration.get("digest", "none: the machine takes no time")
    simulated = {"calibration": str(calibration)} if history.world == "simulated" else {}
    return {"runs": replications(history), "server": history.server} | simulated | machine
