"""A service whose handlers take many messages in one call."""

from pydantic import Field

from sim.declare.declared import Declared
from sim.wording import quantity


class BatchHandler(Declared):
    """A handler takes up to `size` messages in one call.

    A batch that is not full waits for more until its oldest message has waited for `wait_s`. A call takes the service
    time, which is that of its first message, and `per_message_s` for each message. Each message fails, is retried and
    dies by itself.
    """

    size: int = Field(ge=1, le=10_000)
    wait_s: float = Field(default=0.0, ge=0, le=3600)
    per_message_s: float = Field(default=0.0, ge=0, le=1e5)

    def in_words(self) -> str:
        """How many at once, as half a sentence."""
        waits = f", waits up to {quantity(self.wait_s, 's')} for them" if self.wait_s else ""
        return f"up to {self.size} in one call{waits}"

    def takes_in_words(self, call: str) -> str:
        """What a call takes, as half a sentence; `call` is what the service time says."""
        return f"{call} a call" + (f", and {quantity(self.per_message_s, 's')} a message" if self.per_message_s else "")
