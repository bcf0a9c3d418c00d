"""The runs that seeds and repeats make, one after the other."""

from collections.abc import Iterable
from itertools import islice
from operator import index

from sim.errors import InvalidScenario

MAX_RUNS = 1_000_000  # of one history; long before, most scenarios have too many rows


def run_order(seeds: Iterable[int], repeats: int) -> list[tuple[int, int]]:
    """The seed and the repeat of each run: all seeds, then all of them once more.

    Raises:
        InvalidScenario: there are none, or too many, or they are no whole numbers of 0 or more.
    """
    try:
        found, times = [index(seed) for seed in islice(seeds, MAX_RUNS + 1)], index(repeats)
    except TypeError as error:
        problem = f"seeds and repeats are whole numbers ({error}); give such as range(30), and repeats=1 or more"
        raise InvalidScenario("seeds", problem) from error
    if not found or times < 1:
        raise InvalidScenario("seeds", "there are none; give at least one, such as range(30), and repeats=1 or more")
    if min(found) < 0:
        raise InvalidScenario("seeds", f"{min(found)} is below 0; give whole numbers of 0 or more, such as range(30)")
    if len(found) * times > MAX_RUNS:
        raise InvalidScenario("seeds", f"over {MAX_RUNS:,} runs; lower the number of seeds or repeats")
    return [(seed, repeat) for repeat in range(times) for seed in found]
