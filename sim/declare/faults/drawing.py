"""The faults that happen: those that are declared, with what is drawn in the place of each random plan."""

from dataclasses import replace
from typing import Any

from sim.declare.faults import FAULT_KINDS
from sim.declare.faults.kind import FaultKind, FaultySystem
from sim.errors import InvalidTrace


class DrawnFaults(tuple[Any, ...]):
    """The faults that happen, which were drawn for those that are `declared`."""

    declared: tuple[Any, ...]


def drawn_faults(system: FaultySystem) -> tuple[FaultKind, ...]:
    """The faults that happen in a system, as `DrawnFaults` where they are others than those that it declares.

    They are drawn one after the other: each random plan sees what those before it have become.
    """
    declared, found = tuple(system.faults), list[FaultKind]()
    for place, fault in enumerate(declared):
        try:
            found += fault.expanded(replace(system, faults=(*found, *declared[place + 1 :])), FAULT_KINDS)
        except InvalidTrace:  # the run refuses it
            found.append(fault)
    if tuple(found) == declared:
        return declared
    drawn = DrawnFaults(found)
    drawn.declared = declared
    return drawn
