"""What a real machine adds to a scenario's own times."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Overheads:
    """What each step takes on a real machine, in seconds. Zero is an infinitely fast machine."""

    publish_s: float = 0.0  # from handing an event to the bus until its reply; the server has it half-way
    dispatch_s: float = 0.0  # from the server to the start of the handler, where a reader waits for the entry
    read_s: float = 0.0  # from asking to the start of the handler, where the entry waits for a reader
    handle_s: float = 0.0  # what a handler takes longer than its service time
    settle_s: float = 0.0  # from the end of a handler until the server knows
    retry_s: float = 0.0  # what a retry comes later than its delay, beside the dispatch
    start_s: float = 0.0  # from starting a consumer until it reads

    def __repr__(self) -> str:
        return f"Overheads({', '.join(f'{name}={value:.3g}' for name, value in asdict(self).items())})"
