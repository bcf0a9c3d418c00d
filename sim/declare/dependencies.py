"""What services depend on, as declared: a limited number of calls from all of them is served at once."""

from pydantic import Field

from sim.declare.declared import Declared
from sim.declare.service_times import ServiceTime

CAPACITY_MAX = 10_000


class Dependency(Declared):
    """Something that services call and wait for, such as a database with so many connections.

    It serves `capacity` calls at once, first come first served, each for `service_time`. All services that use it share
    it. A call whose caller gives up or dies is dropped if it still waits; if it is being served, that goes on.
    """

    capacity: int = Field(ge=1, le=CAPACITY_MAX)
    service_time: ServiceTime

    def in_words(self) -> str:
        """How many calls it serves, and for how long, as half a sentence."""
        return f"{self.capacity} at once, {self.service_time.in_words()}"
