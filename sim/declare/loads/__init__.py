"""The registry of loads: to add a kind, write its module and list its class here."""

from typing import Annotated

from pydantic import Field

from sim.declare.loads.constant import ConstantLoad
from sim.declare.loads.poisson import PoissonLoad
from sim.declare.loads.ramp import RampLoad
from sim.declare.loads.schedule import ScheduleLoad
from sim.declare.loads.trace import TraceLoad

Load = Annotated[ConstantLoad | PoissonLoad | RampLoad | ScheduleLoad | TraceLoad, Field(discriminator="kind")]
