"""The registry of service times: to add a kind, write its module and list its class here."""

from typing import Annotated

from pydantic import Field

from sim.declare.service_times.constant import ConstantTime
from sim.declare.service_times.empirical import EmpiricalTime
from sim.declare.service_times.exponential import ExponentialTime
from sim.declare.service_times.gamma import GammaTime
from sim.declare.service_times.linear import LinearTime
from sim.declare.service_times.lognormal import LognormalTime
from sim.declare.service_times.pareto import ParetoTime
from sim.declare.service_times.tokens import TokenTime

ServiceTime = Annotated[
    ConstantTime | ExponentialTime | LognormalTime | GammaTime | ParetoTime | LinearTime | TokenTime | EmpiricalTime,
    Field(discriminator="kind"),
]
