"""A service: the consumers of one event type, as declared."""

from pydantic import Field

from eventlib.policy import Lease, Retry, RetryBudget
from sim.declare.declared import Declared
from sim.declare.service_times import ServiceTime


class Service(Declared):
    """Consumers of one event type: each handles `concurrency` messages at once, every one for `service_time`.

    An attempt fails with probability `error_rate`, at its end. `retry` says what follows, and `retry_budget` how many
    retries one consumer may run. A handled message makes the service publish one event of each type in `emits`.
    """

    consumes: str
    consumers: int = Field(default=1, ge=1, le=100)
    concurrency: int = Field(default=1, ge=1)
    prefetch: int = Field(default=0, ge=0)
    service_time: ServiceTime
    error_rate: float = Field(default=0.0, ge=0, le=1)
    retry: Retry = Retry()
    retry_budget: RetryBudget | None = None
    lease_s: float = Field(default=30.0, ge=0.01, le=1e5)
    emits: tuple[str, ...] = ()

    @property
    def lease(self) -> Lease:
        return Lease(self.lease_s)
