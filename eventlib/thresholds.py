"""From when on something is a problem: one place for alert rules, `workbench monitor`, `workbench doctor` and reports.

Pure: numbers with units and stated defaults. A name ends in its unit; a `share` is a fraction of one.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eventlib.errors import InvalidArgument


class Thresholds(BaseModel):
    """When to tell an operator. The defaults suit a service whose events are handled within seconds.

    Raises:
        pydantic.ValidationError: a value is out of range, or a name is unknown. `thresholds_of` says it in one line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    oldest_age_s: float = Field(60.0, gt=0, description="Age of the oldest event or task that waits to be handled.")
    growth_per_s: float = Field(1.0, gt=0, description="By how many entries a second a backlog grows.")
    growth_over_s: float = Field(600.0, ge=60, description="For how long a backlog has to grow before it counts.")
    growth_entries_min: int = Field(100, ge=1, description="A smaller backlog may grow as it likes.")
    deaf_s: float = Field(
        10.0, ge=2, description="A consumer, or a program, has had no answer from the server for so long."
    )
    idle_s: float = Field(60.0, ge=1, description="A consumer that has asked for nothing for so long is idle.")
    paused_s: float = Field(600.0, ge=0, description="An operator has let a group, a queue or a saga rest for so long.")
    dead_letters: int = Field(0, ge=0, description="More dead letters than this in one queue.")
    error_share: float = Field(0.05, ge=0, lt=1, description="Share of the attempts of handlers that fail.")
    error_attempts_min: int = Field(20, ge=1, description="With fewer attempts in five minutes, the share is no alarm.")
    loss_in_s: float = Field(86_400.0, ge=0, description="A group loses unread entries by retention within this time.")
    unread_share: float = Field(
        0.8, gt=0, le=1, description="Share of a trimmed stream of any library that a group has not read."
    )
    memory_share: float = Field(0.8, gt=0, le=1, description="Share of maxmemory that Redis uses.")
    eviction_policy: str = Field(
        "noeviction", pattern="^[a-z-]+$", description="The maxmemory-policy that is right for streams."
    )
    spool_share: float = Field(0.5, gt=0, le=1, description="Share of its size limit that a spool's file has.")
    last_for_s: float = Field(60.0, ge=0, description="How long something must last before an alert fires.")
    latency_s: float = Field(0.02, gt=0, description="Median time of a small question to the server.")
    clock_skew_s: float = Field(1.0, gt=0, description="Difference between the server's clock and this machine's.")
    slow_command_s: float = Field(0.1, gt=0, description="A command of the slow log that took so long.")
    big_key_bytes: int = Field(100 * 2**20, ge=1, description="Memory of one key.")


def thresholds_of(given: Mapping[str, Any]) -> Thresholds:
    """Thresholds from names and values, where values may be text.

    Raises:
        InvalidArgument: a name is unknown, or a value is no number or out of range; it says which and what can be.
    """
    try:
        return Thresholds.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            problem = f"is no threshold; there are {', '.join(Thresholds.model_fields)}"
        else:
            problem = f"is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"
        raise InvalidArgument(f"threshold {name}", problem) from None
