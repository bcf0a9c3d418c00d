"""Make data/sample/llm-trace-sample.csv: a bursty trace in the form of the public one, drawn, not recorded.

usage: python data/make_sample.py
"""

from pathlib import Path

import numpy as np

from sim.declare.traces import TRACE_COLUMNS

SEED, LENGTH_S = 20231116, 700.0
BUSY_PER_S, CALM_PER_S, MEAN_BUSY_S, MEAN_CALM_S = 22.0, 0.5, 5.0, 25.0


def arrivals_s(rng: np.random.Generator) -> list[float]:
    """A Poisson process whose rate switches between busy and calm, shape (n,)."""
    at_s, busy, found = 0.0, True, [0.0]
    while at_s < LENGTH_S:
        end_s = min(LENGTH_S, at_s + rng.exponential(MEAN_BUSY_S if busy else MEAN_CALM_S))
        n = rng.poisson((BUSY_PER_S if busy else CALM_PER_S) * (end_s - at_s))
        found.extend(np.sort(rng.uniform(at_s, end_s, n)))
        at_s, busy = end_s, not busy
    return found


def main() -> None:
    rng = np.random.default_rng(SEED)
    lines = [",".join(TRACE_COLUMNS)]
    for at_s in arrivals_s(rng):
        at = np.datetime64("2023-11-16T18:00:00", "ns") + np.timedelta64(int(at_s * 1e9), "ns")
        context, generated = rng.lognormal(7.3, 1.0), rng.lognormal(2.6, 1.0)
        lines.append(f"{str(at).replace('T', ' ')[:27]},{int(context) + 1},{int(generated) + 1}")
    file = Path(__file__).parent / "sample" / "llm-trace-sample.csv"
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
