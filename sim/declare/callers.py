"""Callers: processes that send the load as requests and wait for the replies, as declared."""

from pydantic import Field

from sim.declare.declared import Declared

CALLERS = "callers"  # what faults and metrics call them, beside the names of the services


class Callers(Declared):
    """Each event of the load is a request. A service replies by publishing the event type `reply`.

    The `processes` send by turns. Each request waits for its reply for at most `timeout_s`; that time covers its
    publishing too. What is due while a caller's process is dead is not sent: there is no caller to send it. A caller
    that comes back asks for the replies that its process was waiting for when it was killed, for `timeout_s` again.
    """

    reply: str
    processes: int = Field(default=1, ge=1, le=100)
    timeout_s: float = Field(default=1.0, ge=0.001, le=1e5)

    def of(self, request: int) -> int:
        """Which caller makes this request of the plan."""
        return request % self.processes

    def in_words(self, request: str) -> str:
        """How requests are made, as one sentence."""
        who = "One caller waits" if self.processes == 1 else f"{self.processes} callers wait"
        return f"Each {request} is a request. {who} for its {self.reply}, for at most {self.timeout_s:g} s."
