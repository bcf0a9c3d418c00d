"""The registry of faults: to add a kind, write its module and list its class here."""

from typing import Annotated

from pydantic import Field

from sim.declare.declared import kinds_in
from sim.declare.faults.errors import Errors
from sim.declare.faults.kill import Kill
from sim.declare.faults.kind import FaultKind
from sim.declare.faults.pause import Pause

Fault = Annotated[Kill | Errors | Pause, Field(discriminator="kind")]

# The kinds of history rows that faults note, in the order of the registry.
NOTES = tuple(note for kind in kinds_in(Fault) if issubclass(kind, FaultKind) for note in kind.notes)
