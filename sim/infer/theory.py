"""What queueing theory says about a service: known answers, which the simulated world must reproduce.

All formulas hold for Poisson arrivals, first come first served, a steady state, no errors and no kills. `rate_per_s` is
the number of arrivals a second, `mean_s` the mean service time, `servers` the number of handlers that run at once
(consumers x concurrency).
"""

from math import isfinite

from sim.errors import InvalidScenario


def waiting_probability(rate_per_s: float, mean_s: float, servers: int) -> float:
    """Probability that a message finds every server busy (Erlang C), for exponential service times.

    Source: Erlang, "Solution of some problems in the theory of probabilities", 1917. Computed by the recursion for
    Erlang B, which does not overflow or lose digits: Cooper, "Introduction to Queueing Theory", 2nd ed., 1981,
    chapter 3.

    Raises:
        InvalidScenario: work arrives faster than it is done, or an argument is out of range.
    """
    utilization = _utilization(rate_per_s, mean_s, servers)
    blocked = 1.0  # Erlang B of no servers
    for count in range(1, servers + 1):
        blocked = rate_per_s * mean_s * blocked / (count + rate_per_s * mean_s * blocked)
    return blocked / (1.0 - utilization * (1.0 - blocked))


def wait_s_mean(rate_per_s: float, mean_s: float, servers: int) -> float:
    """Mean seconds from arrival to the start of service in M/M/c: exponential service times.

    Source and errors as in `waiting_probability`.
    """
    probability = waiting_probability(rate_per_s, mean_s, servers)
    return probability * mean_s / (servers - rate_per_s * mean_s)


def wait_s_mean_general(rate_per_s: float, mean_s: float, cv: float) -> float:
    """Mean seconds from arrival to the start of service in M/G/1: one server, any service time.

    `cv` is the service time's standard deviation over its mean: 0 constant, 1 exponential.
    Source: the formula of Pollaczek (1930) and Khinchine (1932).

    Raises:
        InvalidScenario: work arrives faster than it is done, or an argument is out of range.
    """
    utilization = _utilization(rate_per_s, mean_s, 1)
    if not (isfinite(cv) and cv >= 0):
        raise InvalidScenario("theory", f"cv is {cv}; it cannot be negative or infinite")
    return utilization / (1.0 - utilization) * mean_s * (1.0 + cv**2) / 2.0


def lag_s_mean(rate_per_s: float, mean_s: float, servers: int) -> float:
    """Mean seconds from arrival to the end of service in M/M/c: waiting and service.

    Source and errors as in `waiting_probability`.
    """
    return wait_s_mean(rate_per_s, mean_s, servers) + mean_s


def _utilization(rate_per_s: float, mean_s: float, servers: int) -> float:
    """The share of time that a server is busy, below 1."""
    if not (isfinite(rate_per_s) and isfinite(mean_s) and rate_per_s > 0 and mean_s > 0 and servers >= 1):
        raise InvalidScenario(
            "theory", f"needs positive numbers, not rate_per_s={rate_per_s}, mean_s={mean_s}, servers={servers}"
        )
    utilization = rate_per_s * mean_s / servers
    if utilization >= 1.0:
        capacity, growth = servers / mean_s, rate_per_s - servers / mean_s
        raise InvalidScenario(
            "theory",
            f"{rate_per_s:g} /s are offered and {capacity:g} /s can be done, so the queue grows by {growth:g} /s "
            "for ever; lower the rate or add servers",
        )
    return utilization
