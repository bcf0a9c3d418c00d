"""What a program in another language is given: the JSON Schema of each event's envelope, and the scripts."""

from typing import Any

from eventlib import envelope_schema
from eventlib.broker import scripts as all_scripts
from eventlib.broker.scripts import Script
from eventlib.events.schema import Event, spec_of


def schemas(*event_classes: type[Event]) -> dict[str, Any]:
    """`{TYPE: {VERSION: SCHEMA}}`, as the programs in Node take them."""
    found: dict[str, Any] = {}
    for event_class in event_classes:
        spec = spec_of(event_class)
        found.setdefault(spec.type, {})[str(spec.version)] = envelope_schema(event_class)
    return found


def scripts() -> dict[str, str]:
    """Every script by its name, as Redis is given it."""
    return {script.name: script.text for script in vars(all_scripts).values() if isinstance(script, Script)}
