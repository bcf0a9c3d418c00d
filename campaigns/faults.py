"""Let each kind of fault happen in both worlds, and say how far the model is off.

One small service meets each fault once, for a second. The same seeds run simulated and live. What is shown of each
metric is the relative error of the simulated value, and the noise of the live runs (95 %).
"""

import argparse
import asyncio
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from campaigns import command
from sim.calibration import Calibration
from sim.declare.faults import Fault
from sim.declare.scenario import Scenario
from sim.evidence.checks import broken
from sim.infer.compare import Comparison, compare
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate

AT_S, FOR_S = 2.0, 1.0
LASTS = {"at_s": AT_S, "for_s": FOR_S}
AT_BILLING = {"service": "billing", "at_s": AT_S}
FAULTS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "kill": AT_BILLING | {"kind": "kill", "back_after_s": FOR_S},
    "pause": AT_BILLING | {"kind": "pause", "for_s": FOR_S},
    "errors": AT_BILLING | {"kind": "errors", "for_s": FOR_S, "error_rate": 0.5},
    "outage": AT_BILLING | {"kind": "outage", "back_after_s": FOR_S},
    "outage, paused": AT_BILLING | {"kind": "outage", "back_after_s": FOR_S, "how": "pause"},
    "slow": AT_BILLING | {"kind": "slow", "for_s": FOR_S, "factor": 4.0},
    "poison": AT_BILLING | {"kind": "poison", "share": 0.05, "for_s": FOR_S},
    "poison that kills": AT_BILLING | {"kind": "poison", "messages": [250, 300], "how": "kill", "back_after_s": 0.2},
    "server away": LASTS | {"kind": "server_away"},
    "server restarts": {"kind": "server_restart", "at_s": AT_S, "back_after_s": FOR_S},
    "server loses its data": {"kind": "server_restart", "at_s": AT_S, "back_after_s": FOR_S, "with_data": False},
    "server full": LASTS | {"kind": "server_full"},
    "connections reset": {"kind": "reset", "at_s": AT_S},
    "black hole": LASTS | {"kind": "black_hole"},
    "latency": LASTS | {"kind": "latency", "added_s": 0.05},
    "bandwidth": LASTS | {"kind": "bandwidth", "bytes_per_s": 30_000},
    "lost replies": LASTS | {"kind": "lost_replies"},
}
METRICS = {
    "lag_s_p50": "p50",
    "lag_s_p95": "p95",
    "lag_s_p99": "p99",
    "backlog_max": "backlog",
    "recovery_s": "recovery",
    "attempts_mean": "attempts",
}
LOSES = ("server loses its data",)  # of these, promises are broken


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


def scenario_of(fault: str) -> Scenario:
    """A service at two fifths of its capacity that meets this fault."""
    declared = FAULTS[fault]
    faults = () if declared is None else (TypeAdapter[Any](Fault).validate_python(declared),)
    billing = {
        "consumes": "order.placed",
        "consumers": 2,
        "concurrency": 4,
        "service_time": {"kind": "lognormal", "mean_s": 0.03, "cv": 0.5},
        "error_rate": 0.02,
        "retry": {"attempts": 4, "wait_s": 0.1},
        "lease_s": 1.0,
    }
    load = {"kind": "poisson", "event": "order.placed", "rate_per_s": 100, "duration_s": 6}
    return Scenario.model_validate(
        {"name": fault, "load": load, "services": {"billing": billing}, "faults": faults, "drain_s": 20}
    )


async def measured(fault: str, repeats: int, calibration: Calibration | None, url: str) -> Measured:
    """Let a fault happen in both worlds."""
    declared = scenario_of(fault)
    simulated = simulate(declared, [0], repeats=30, calibration=calibration)
    return Measured.of(fault, compare(simulated, await run_live(declared, [0], repeats=repeats, url=url)))


def _options() -> argparse.Namespace:
    parser = command.parser("faults", __doc__, "--only outage --only 'server away'")
    parser.add_argument("--only", action="append", choices=FAULTS, metavar="FAULT", help=f"one of {', '.join(FAULTS)}")
    parser.add_argument("--repeats", type=int, default=2, help="live runs of each fault (2)")
    parser.add_argument("--calibration", type=Path, help="what `workbench calibrate --out` wrote; without it, none")
    options = parser.parse_args()
    if not 2 <= options.repeats <= 20:
        parser.error("--repeats is 2 to 20: without a second run, the noise is not known")
    return options


def main() -> None:
    """Run the campaign. The exit status is 1 if a promise was broken where none may be."""
    options = _options()
    calibration = Calibration.load(options.calibration) if options.calibration else None
    results = []
    with command.server_at(None) as url, command.bars() as progress:
        bar = progress.add_task("faults", total=len(options.only or FAULTS))
        for fault in options.only or FAULTS:
            results.append(asyncio.run(measured(fault, options.repeats, calibration, url)))
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
