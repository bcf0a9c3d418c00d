"""simulate_metrics(): runs of any length, of which only the metrics are kept."""

from collections.abc import Iterable

import numpy as np

from sim.declare.long_plan import check_long, long_plan
from sim.declare.order import run_order
from sim.declare.scenario import Progress, Scenario
from sim.evidence.history import Rows, Run
from sim.evidence.tally import Tallied, Tally
from sim.worlds.simulated.machine import Machine
from sim.worlds.simulated.noting import Noted
from sim.worlds.simulated.world import refuse_unlearned, rng_of, world_of


def simulate_metrics(scenario: Scenario, seeds: Iterable[int], *, progress: Progress | None = None) -> Tallied:
    """Run the scenario in virtual time, once for each seed, and keep no rows: memory does not grow with the run.

    What a run draws and does is what `simulate` lets it do, row for row. Metrics are counted while rows come:
    quantiles are within 0.1 % of those of `measure`, the rest is the same but for rounding. What does grow is a
    backlog: a service that is overloaded keeps what waits. Where messages fail, each takes a bit or two. `progress` is
    called about ten times a second of the clock.

    Raises:
        InvalidScenario: there are no seeds, or the scenario has something that is not measured without rows, or own
            handlers are not learned.
        InvalidTrace: a file of service times or the load's trace is missing or broken.
    """
    refuse_unlearned(scenario)
    check_long(scenario)
    order = run_order(seeds, 1)
    runs, tallies = list[Run](), list[Tally]()
    for index, (seed, repeat) in enumerate(order):
        tally = Tally(scenario)

        def keep(rows: Rows, index: int = index, tally: Tally = tally) -> None:
            tally.add(rows)
            if progress and rows.size:
                length_s = scenario.offered_load.duration_s + scenario.drain_s
                progress((index + min(1.0, float(np.max(rows["t_s"][-1:])) / length_s)) / len(order))

        plan, noted = long_plan(scenario, seed), Noted(keep)
        world = world_of(scenario, plan, Machine(None, seed, repeat), rng_of(seed, repeat), noted)
        runs.append(Run(seed, repeat, world.run(), world.left()))
        noted.pack()
        tallies.append(tally)
        if progress:
            progress((index + 1) / len(order))
    return Tallied.of(scenario, runs, tallies)
