"""Campaigns that run many cases in both worlds: with the same seed, and how far the model is off in each.

What is shown of each metric is the relative error of the simulated value, and the noise of the live runs (95 %).
"""

import argparse
import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path

from rich.console import Console
from rich.table import Table

from campaigns import command
from sim.calibration import Calibration
from sim.declare.scenario import Scenario
from sim.evidence.checks import broken
from sim.infer.compare import Comparison, compare
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate

METRICS = {
    "lag_s_p50": "p50",
    "lag_s_p95": "p95",
    "lag_s_p99": "p99",
    "backlog_max": "backlog",
    "recovery_s": "recovery",
    "attempts_mean": "attempts",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One case in both worlds: of each metric the simulated and the live value, the error and its noise."""

    case: str
    metrics: dict[str, dict[str, float]]
    broken: list[str]  # promises, live

    @classmethod
    def of(cls, case: str, found: Comparison) -> "Measured":
        """What a comparison found."""
        rows = {name: found[name] for name in METRICS}
        values = {
            name: {
                "simulated": row.simulated,
                "live": row.live,
                "error": row.relative_error,
                "noise": row.relative_noise,
            }
            for name, row in rows.items()
        }
        return cls(case, values, [one.name for one in broken(found.checks)])


def campaign(name: str, about: str | None, example: str, cases: Mapping[str, Scenario]) -> list[Measured]:
    """Run a campaign's cases, or those that its options choose, in both worlds; show and write what was found."""
    options = _options(name, about, example, cases)
    calibration = Calibration.load(options.calibration) if options.calibration else None
    results = []
    with command.server_at(None) as url, command.bars() as progress:
        bar = progress.add_task(name, total=len(options.only or cases))
        for case in options.only or cases:
            results.append(asyncio.run(_measured(case, cases[case], options.repeats, calibration, url)))
            progress.advance(bar)
    _show(Console(), name, results)
    command.write_json(options.json, [asdict(one) for one in results])
    return results


async def _measured(case: str, declared: Scenario, repeats: int, calibration: Calibration | None, url: str) -> Measured:
    simulated = simulate(declared, [0], repeats=30, calibration=calibration)
    return Measured.of(case, compare(simulated, await run_live(declared, [0], repeats=repeats, url=url)))


def _options(name: str, about: str | None, example: str, cases: Mapping[str, Scenario]) -> argparse.Namespace:
    parser = command.parser(name, about, example)
    parser.add_argument("--only", action="append", choices=cases, metavar="CASE", help=f"one of {', '.join(cases)}")
    parser.add_argument("--repeats", type=int, default=2, help="live runs of each (2)")
    parser.add_argument("--calibration", type=Path, help="what `workbench calibrate --out` wrote; without it, none")
    options = parser.parse_args()
    if not 2 <= options.repeats <= 20:
        parser.error("--repeats is 2 to 20: without a second run, the noise is not known")
    return options


def _show(out: Console, name: str, results: list[Measured]) -> None:
    shown = [metric for metric in METRICS if not all(isnan(one.metrics[metric]["live"]) for one in results)]
    table = Table(title=f"{name.capitalize()}, simulated against live: error (noise)")
    for column in (name, *(METRICS[metric] for metric in shown), "broken"):
        table.add_column(column, justify="left" if column in (name, "broken") else "right", no_wrap=column == name)
    for one in results:
        cells = (_cell(**one.metrics[metric]) for metric in shown)
        table.add_row(one.case, *cells, ", ".join(one.broken))
    out.print(table)


def _cell(simulated: float, live: float, error: float, noise: float) -> str:
    """A metric of a case; empty where it says nothing of it, as recovery does where nothing has failed."""
    return "" if isnan(live) or isnan(simulated) else f"{error:+.0%} ({noise:.0%})\n{live:.3g}"
