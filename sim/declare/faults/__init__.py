"""The registry of faults: to add a kind, write its module and list its class here."""

from typing import Annotated

from pydantic import Field

from sim.declare.faults.errors import Errors
from sim.declare.faults.kill import Kill

Fault = Annotated[Kill | Errors, Field(discriminator="kind")]
