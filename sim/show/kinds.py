"""Each kind of load, service time and fault in words, and as figures mark it."""

from dataclasses import dataclass
from math import inf

from sim.declare.faults import Fault, Kill
from sim.declare.load import ConstantLoad, ConstantTime, ExponentialTime, Load, LognormalTime, ServiceTime, TraceLoad
from sim.declare.scenario import Scenario
from sim.show.wording import quantity


@dataclass(frozen=True, slots=True)
class Mark:
    """What a figure shows of a fault. `until_s` is infinite where the fault does not end."""

    label: str
    from_s: float
    until_s: float


def load_in_words(load: Load) -> str:
    """What is sent, when and how fast."""
    if isinstance(load, TraceLoad):
        speed = f"at {1 / load.time_scale:g} times its speed" if load.time_scale != 1 else "at its own speed"
        window = f", {load.for_s:g} s of it from {load.from_s:g} s on" if load.for_s else ""
        return f"{load.event}: the recorded trace {load.file.name}{window}, {speed}"
    how = "evenly spaced" if isinstance(load, ConstantLoad) else "at random (Poisson)"
    return f"{load.event}: {load.rate_per_s:g} a second for {load.duration_s:g} s, {how}"


def is_sampled(load: Load) -> bool:
    """Does the load replay the shipped sample instead of the whole trace?"""
    return isinstance(load, TraceLoad) and load.file == load.sample


def time_in_words(time: ServiceTime) -> str:
    """How long the handling of one message takes."""
    match time:
        case ConstantTime():
            return f"{quantity(time.mean_s, 's')}, always"
        case ExponentialTime():
            return f"{quantity(time.mean_s, 's')} on average, exponential"
        case LognormalTime():
            return f"{quantity(time.mean_s, 's')} on average, lognormal, CV {time.cv:g}"
    return f"{quantity(time.base_s, 's')} and {quantity(time.per_token_s, 's')} a token, of recorded time"


def fault_in_words(fault: Fault, scenario: Scenario) -> str:
    """When something goes wrong, where and how."""
    if isinstance(fault, Kill):
        back = (
            "and is not replaced" if fault.back_after_s is None else f"and is replaced {fault.back_after_s:g} s later"
        )
        return f"At {fault.at_s:g} s, consumer {fault.consumer} of {fault.service} is killed without warning {back}."
    usual = scenario.services[fault.service].error_rate
    return (
        f"From {fault.at_s:g} s to {fault.at_s + fault.for_s:g} s, {100 * fault.error_rate:g} % of the attempts at "
        f"{fault.service} fail instead of {100 * usual:g} %."
    )


def mark_of(fault: Fault) -> Mark:
    """How a figure marks the fault."""
    if isinstance(fault, Kill):
        until_s = inf if fault.back_after_s is None else fault.at_s + fault.back_after_s
        return Mark(f"{fault.service} {fault.consumer} killed", fault.at_s, until_s)
    return Mark(f"{fault.service} fails {fault.error_rate:.0%}", fault.at_s, fault.at_s + fault.for_s)
