"""What each part of the calibration buys: the errors of predictions without it, against the same live runs.

It calibrates, runs the scenarios live, and simulates each of them with the whole calibration, without each part of it,
and with none. With --histories and --calibration, the runs are those that `workbench fidelity --histories` kept.
"""

import argparse
import asyncio
import json
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID

from sim.calibration import PARTS, Calibration
from sim.declare.scenario import Scenario
from sim.evidence.history import History
from sim.infer.ablations import ablate, ablations_json, ablations_text
from sim.infer.calibrate import calibrate
from sim.infer.fidelity import JUDGED
from sim.worlds.live import run_live, server_at

SCENARIOS = Path(__file__).parent.parent / "data" / "fidelity"
_EXAMPLE = "Example: python -m benchmarks.ablations --calibration calibration.json data/fidelity/mm1-load-0.9.yaml"


def main() -> None:
    """Measure and print the table."""
    options = _options()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        if options.histories is not None:
            calibration = Calibration.load(options.calibration)
            kept = [History.open(file).of_seeds([JUDGED]) for file in sorted(options.histories.glob("*.parquet"))]
            live = [history for history in kept if history.runs]
        else:
            files = options.scenarios or sorted(SCENARIOS.glob("*.yaml"))
            scenarios = [Scenario.load(file, sample_if_missing=True) for file in files]
            with server_at(None) as url:
                measuring = _measured(scenarios, options.calibration, options.repeats, url, progress)
                calibration, live = asyncio.run(measuring)
        bar = progress.add_task("simulating", total=1.0)
        found = ablate(calibration, live, progress=lambda share: progress.update(bar, completed=share))
    out = Console()
    told = f"Medians of the errors over {len(found[0].scenarios)} scenarios, without their sign:"
    out.print(told, highlight=False)
    out.print(ablations_text(found), highlight=False, markup=False)
    for part, what in PARTS.items():
        out.print(f"without {part}: {what}", highlight=False, markup=False)
    if options.json:
        options.json.write_text(json.dumps(ablations_json(found), indent=2) + "\n", encoding="utf-8")


async def _measured(
    scenarios: list[Scenario], file: Path | None, repeats: int, url: str, progress: Progress
) -> tuple[Calibration, list[History]]:
    bar = progress.add_task("timing this machine", total=1.0)
    if file is None:
        calibration, _ = await calibrate(url=url, progress=lambda share: progress.update(bar, completed=share))
    else:
        calibration = Calibration.load(file)
    live = []
    for scenario in scenarios:
        bar = progress.add_task(f"running {scenario.name} live", total=1.0)
        told = partial(_tell, progress, bar)
        live.append(await run_live(scenario, [0], repeats=repeats, url=url, progress=told))
    return calibration, live


def _tell(progress: Progress, bar: TaskID, share: float) -> None:
    progress.update(bar, completed=share)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("scenarios", nargs="*", type=Path, help="scenarios; those of data/fidelity without any")
    parser.add_argument("--calibration", metavar="FILE", type=Path, help="one that was measured here; else it is now")
    parser.add_argument(
        "--histories", metavar="DIRECTORY", type=Path, help="live runs that were kept; needs --calibration"
    )
    parser.add_argument("--repeats", type=int, default=2, help="live runs of each scenario (2)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="where to write the errors of each scenario")
    options = parser.parse_args()
    if options.histories is not None and options.calibration is None:
        parser.error("--histories needs the --calibration that was made before they ran")
    return options


if __name__ == "__main__":
    main()
