"""The simulated world: a scenario in virtual time, as a SimPy model of what eventlib and Redis do.

Every decision is made by `eventlib.policy`, by the functions that the library's own consumers call; only how long
things take is modelled. What one read, one sweep and one retry do mirrors the library and its scripts step by step,
but for the size of a read: the model asks for all that a consumer has capacity for, the library for 500 entries.
Not modelled either: the library brings a retry back when a consumer of the group looks for it, half a second late at
most, or when one runs again. In the model it is back in time.

One message costs three SimPy events: arrival, delivery and completion. They carry callbacks instead of processes,
because a process for each message doubles the time. What lives long is a process: the load, faults, sweeps, samples.
"""

from sim.worlds.simulated.long_runs import simulate_metrics
from sim.worlds.simulated.world import simulate

__all__ = ["simulate", "simulate_metrics"]
