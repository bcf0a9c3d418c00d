"""The health of the services, and alerts for people. Published by the guardian service, which watches all services."""

from typing import Literal, Self

from pydantic import AwareDatetime, Field

from eventlib.catalog.vocabulary import DurationS, Id, Name, Part
from eventlib.events.schema import Event

Status = Literal["healthy", "degraded", "down"]


class HealthCheck(Part):
    """One of the checks that a service makes of itself."""

    name: Name = Field(description="What was checked, such as redis or disk.")
    status: Status = Field(description="The result of the check.")
    detail: str = Field(default="", max_length=500, description="What was found; no personal data, no secrets.")


class ServiceHealthChanged(Event, type="service.health.changed", version=1, stream="system"):
    """A service is better or worse than before. Published by the guardian when two observations in a row agree."""

    service: Name = Field(description="Which service it is.")
    instance: Id = Field(description="Which of its processes it is.")
    status: Status = Field(description="Its status now.")
    previous_status: Status = Field(description="Its status before.")
    checks: tuple[HealthCheck, ...] = Field(default=(), max_length=50, description="The checks that led to this.")
    observed_at: AwareDatetime = Field(description="When the second observation was made.")


class AlertRaised(Event, type="alert.raised", version=1, stream="system"):
    """A person must look at something. Published by the guardian when a rule has held for its time."""

    alert_id: Id = Field(description="Names the alert until it is resolved.")
    rule: Name = Field(description="Which rule it is, such as lag/contextual.")
    severity: Literal["info", "warning", "critical"] = Field(description="How soon a person must look.")
    service: Name = Field(description="Which service it is about.")
    summary: str = Field(min_length=1, max_length=500, description="One sentence for that person; no personal data.")
    value: float = Field(description="The measured value.")
    threshold: float = Field(description="The limit that the value passed.")
    raised_at: AwareDatetime = Field(description="When the rule had held for its time.")


class AlertResolved(Event, type="alert.resolved", version=1, stream="system"):
    """An alert is over. Published by the guardian when the rule of a raised alert no longer holds."""

    alert_id: Id = Field(description="The alert that was raised.")
    rule: Name = Field(description="Which rule it is.")
    service: Name = Field(description="Which service it is about.")
    resolved_at: AwareDatetime = Field(description="When the rule no longer held.")
    duration_s: DurationS = Field(description="How long the alert was raised.")

    @classmethod
    def of(cls, raised: AlertRaised, *, resolved_at: AwareDatetime) -> Self:
        """Resolve an alert. The ids are taken from it, and the duration is computed.

        Raises:
            ValueError: `resolved_at` is before the alert was raised.
        """
        return cls(
            alert_id=raised.alert_id,
            rule=raised.rule,
            service=raised.service,
            resolved_at=resolved_at,
            duration_s=(resolved_at - raised.raised_at).total_seconds(),
        )
