"""Run all benchmarks and write benchmarks/results.json. usage: python -m benchmarks [--rounds N]"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import delivery, simulator
from eventlib import private_server

RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition(".")[0] + ".")
    parser.add_argument("--rounds", type=int, default=5, help="turns of ours and its peer; medians count")
    rounds = parser.parse_args().rounds
    results = {}
    with private_server() as server:
        for name, ours, peer, unit in track(
            [*delivery.benchmarks(server.url), *simulator.benchmarks()], "measuring", console=Console(stderr=True)
        ):
            results[name] = _turns(ours, peer, unit, rounds)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    table = Table(title=f"medians of {rounds} turns")
    for column in ("benchmark", "ours", "peer", "ratio", "unit"):
        table.add_column(column, justify="left" if column in ("benchmark", "unit") else "right")
    for name, row in results.items():
        table.add_row(name, f"{row['ours']:,.0f}", f"{row['peer']:,.0f}", f"{row['ratio']:.2f}", str(row["unit"]))
    Console().print(table)


def _turns(ours: Callable[[], float], peer: Callable[[], float], unit: str, rounds: int) -> dict[str, float | str]:
    """Medians of taking turns; the ratio is the median of the turns' own ratios, so drift of the machine cancels."""
    pairs = [(ours(), peer()) for _ in range(rounds)]
    return {
        "ours": statistics.median(a for a, _ in pairs),
        "peer": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(a / b for a, b in pairs),
        "unit": unit,
    }


if __name__ == "__main__":
    main()
