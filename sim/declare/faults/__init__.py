"""The registry of faults: to add a kind, write its module and list its class here."""

from typing import Annotated

from pydantic import Field

from sim.declare.declared import kind_name, kinds_in
from sim.declare.faults.bandwidth import Bandwidth
from sim.declare.faults.black_hole import BlackHole
from sim.declare.faults.dependency_out import DependencyOut
from sim.declare.faults.errors import Errors
from sim.declare.faults.kill import Kill
from sim.declare.faults.kind import FaultKind
from sim.declare.faults.latency import Latency
from sim.declare.faults.lost_replies import LostReplies
from sim.declare.faults.outage import Outage
from sim.declare.faults.pause import Pause
from sim.declare.faults.poison import Poison
from sim.declare.faults.random_plan import RandomPlan
from sim.declare.faults.reset import Reset
from sim.declare.faults.server_away import ServerAway
from sim.declare.faults.server_full import ServerFull
from sim.declare.faults.server_restart import ServerRestart
from sim.declare.faults.slow import Slow

_OfServices = Kill | Errors | Pause | Outage | Slow | Poison | DependencyOut
_OfTheServer = ServerAway | ServerRestart | ServerFull
_OfTheNetwork = Reset | BlackHole | Latency | Bandwidth | LostReplies

Fault = Annotated[_OfServices | _OfTheServer | _OfTheNetwork | RandomPlan, Field(discriminator="kind")]

# The kinds by what a file calls them.
FAULT_KINDS = {kind_name(kind): kind for kind in kinds_in(Fault) if issubclass(kind, FaultKind)}

# The kinds of history rows that faults note, in the order of the registry.
NOTES = tuple(note for kind in FAULT_KINDS.values() for note in kind.notes)
