"""Callers: processes that send the load as requests and wait for the replies, as declared."""

from collections.abc import Mapping

from pydantic import Field

from eventlib.policy import Retry
from sim.declare.declared import Declared
from sim.declare.loads.kind import LoadKind
from sim.declare.service import Service
from sim.wording import quantity

CALLERS = "callers"  # what faults and metrics call them, beside the names of the services
_ONCE = Retry(attempts=1)


class Callers(Declared):
    """Each event of the load is a request. A service replies by publishing the event type `reply`.

    The `processes` send by turns. Each request waits for its reply for at most `timeout_s`; that time covers its
    publishing too. A request that was not answered in time is sent again, after the waits of `retry`, as another
    message. The services handle both, because they cannot know that the caller gave the first one up. After
    `retry.attempts` of them, by default one, the request is given up.

    What is due while a caller's process is dead is not sent: there is no caller to send it. A caller that comes back
    asks for the replies that its process was waiting for when it was killed, for `timeout_s` again.
    """

    reply: str
    processes: int = Field(default=1, ge=1, le=100)
    timeout_s: float = Field(default=1.0, ge=0.001, le=1e5)
    retry: Retry = _ONCE

    @property
    def retries(self) -> bool:
        """Whether a request that was not answered in time is sent again."""
        return self.retry.attempts > 1

    def ask_by_answers(self, load: LoadKind) -> bool:
        """Whether what is asked depends on the answers: a request may be sent again, or the load is a closed loop."""
        return self.retries or load.looping > 0

    def of(self, message: int, clients: int = 0) -> int:
        """Which caller sends this message of the plan. `clients`: how many take turns in a closed loop."""
        request = message // self.retry.attempts
        return (request % clients if clients else request) % self.processes

    def in_words(self, request: str) -> str:
        """How requests are made, as one or two sentences."""
        who = "One caller waits" if self.processes == 1 else f"{self.processes} callers wait"
        told = f"Each {request} is a request. {who} for its {self.reply}, for at most {self.timeout_s:g} s."
        if not self.retries:
            return told
        waits = f"{quantity(self.retry.wait_s, 's')} to {quantity(self.retry.wait_s_max, 's')}"
        return f"{told} It is sent up to {self.retry.attempts} times, after waits of {waits}, and then given up."


def callers_problem(callers: Callers | None, load: LoadKind, services: Mapping[str, Service]) -> str | None:
    """Why this load cannot be sent to these services, or not by these callers: where in the file, and the mend."""
    if callers is None:
        mend = "clients of a closed loop wait for replies; say which, as in callers: {reply: quote.given}"
        return f"callers: {mend}" if load.looping else None
    if CALLERS in services:
        return f"services.{CALLERS}: metrics and faults call the callers so; give it another name"
    if load.mix:
        return "load.event: callers make requests of one type; name one, or leave the callers out"
    if load.collects:
        return "load: callers send each request by itself; leave batching out, or the callers"
    if not any(callers.reply in service.emits for service in services.values()):
        return f"callers.reply: no service emits {callers.reply!r}; add it to the emits of one"
    if queue := next((name for name, service in services.items() if service.queue or service.saga), None):
        return f"services.{queue}: callers need plain services, no task queues or sagas; leave one out"
    return None
