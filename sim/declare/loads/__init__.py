"""The registry of loads: to add a kind, write its module and list its class here."""

from typing import Annotated

from pydantic import Field

from sim.declare.loads.batching import BatchingLoad
from sim.declare.loads.bursty import BurstyLoad
from sim.declare.loads.closed import ClosedLoad
from sim.declare.loads.constant import ConstantLoad
from sim.declare.loads.diurnal import DiurnalLoad
from sim.declare.loads.poisson import PoissonLoad
from sim.declare.loads.ramp import RampLoad
from sim.declare.loads.schedule import ScheduleLoad
from sim.declare.loads.spike import SpikeLoad
from sim.declare.loads.stages import StagesLoad
from sim.declare.loads.step import StepLoad
from sim.declare.loads.trace import TraceLoad

Load = Annotated[
    ConstantLoad
    | PoissonLoad
    | RampLoad
    | StepLoad
    | SpikeLoad
    | StagesLoad
    | BurstyLoad
    | DiurnalLoad
    | BatchingLoad
    | ClosedLoad
    | ScheduleLoad
    | TraceLoad,
    Field(discriminator="kind"),
]

for _kind in (StagesLoad, BatchingLoad):  # they are made of loads of any kind
    _kind.model_rebuild(_types_namespace={"Load": Load})
