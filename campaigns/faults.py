"""Let each kind of fault happen in both worlds, and say how far the model is off.

One small service meets each fault once, for a second. The same seeds run simulated and live. What is shown of each
metric is the relative error of the simulated value, and the noise of the live runs (95 %).
"""

import argparse
import asyncio
import sys
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from campaigns import command
from sim.calibration import Calibration
from sim.declare.each_fault import LOSES, with_each_fault
from sim.declare.scenario import Scenario
from sim.evidence.checks import broken
from sim.infer.compare import Comparison, compare
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate

ONE_FAULT = Path(__file__).parents[1] / "data" / "scenarios" / "one-fault.yaml"
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
    """One fault in both worlds: of each metric the simulated and the live value, the error and its noise."""

    fault: str
    metrics: dict[str, dict[str, float]]
    broken: list[str]  # promises, live

    @classmethod
    def of(cls, fault: str, found: Comparison) -> "Measured":
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
        return cls(fault, values, [one.name for one in broken(found.checks)])


async def measured(fault: str, declared: Scenario, repeats: int, calibration: Calibration | None, url: str) -> Measured:
    """Let the fault of a scenario happen in both worlds."""
    simulated = simulate(declared, [0], repeats=30, calibration=calibration)
    return Measured.of(fault, compare(simulated, await run_live(declared, [0], repeats=repeats, url=url)))


def _options(faults: Collection[str]) -> argparse.Namespace:
    parser = command.parser("faults", __doc__, "--only outage --only 'server away'")
    parser.add_argument("--only", action="append", choices=faults, metavar="FAULT", help=f"one of {', '.join(faults)}")
    parser.add_argument("--repeats", type=int, default=2, help="live runs of each fault (2)")
    parser.add_argument("--calibration", type=Path, help="what `workbench calibrate --out` wrote; without it, none")
    options = parser.parse_args()
    if not 2 <= options.repeats <= 20:
        parser.error("--repeats is 2 to 20: without a second run, the noise is not known")
    return options


def main() -> None:
    """Run the campaign. The exit status is 1 if a promise was broken where none may be."""
    scenarios = with_each_fault(Scenario.load(ONE_FAULT), "billing", at_s=2.0, for_s=1.0)
    options = _options(scenarios)
    calibration = Calibration.load(options.calibration) if options.calibration else None
    results = []
    with command.server_at(None) as url, command.bars() as progress:
        bar = progress.add_task("faults", total=len(options.only or scenarios))
        for fault in options.only or scenarios:
            results.append(asyncio.run(measured(fault, scenarios[fault], options.repeats, calibration, url)))
            progress.advance(bar)
    _show(Console(), results)
    command.write_json(options.json, [asdict(one) for one in results])
    sys.exit(1 if any(one.broken for one in results if one.fault not in LOSES) else 0)


def _show(out: Console, results: list[Measured]) -> None:
    table = Table(title="Simulated against live: error (noise)")
    for column in ("fault", *METRICS.values(), "broken"):
        table.add_column(column, justify="left" if column in ("fault", "broken") else "right")
    for one in results:
        cells = [f"{of['error']:+.0%} ({of['noise']:.0%})\n{of['live']:.3g}" for of in one.metrics.values()]
        table.add_row(one.fault, *cells, ", ".join(one.broken))
    out.print(table)


if __name__ == "__main__":
    main()
