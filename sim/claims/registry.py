"""All claims, theme by theme. A new one is declared in the module of its theme, and is found here."""

from sim.claims import (
    alerting,
    bus,
    client,
    documents,
    operations,
    patterns,
    performance,
    schemas,
    security,
    services,
    tasks,
)
from sim.claims.claim import Claim, claims_of
from sim.evidence.claims import THEMES

_MODULES = (schemas, bus, tasks, client, documents, patterns, performance, operations, alerting, security, services)


def all_claims() -> tuple[Claim, ...]:
    """The 58 claims, theme by theme and by their numbers."""
    found = (one for module in _MODULES for one in claims_of(module))
    return tuple(sorted(found, key=lambda one: (list(THEMES).index(one.theme), one.number)))
