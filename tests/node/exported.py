"""What a program in another language is given: JSON Schema of the envelope and of each event, and the scripts."""

from typing import Any

from eventlib import keys
from eventlib.keys import Script
from eventlib.schema import Event, spec_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TEXT = {"type": "string", "minLength": 1}
ENVELOPE: dict[str, Any] = {
    "$schema": DIALECT,
    "type": "object",
    "required": ["specversion", "id", "source", "type", "eventversion", "time", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": TEXT,
        "source": TEXT,
        "type": TEXT,
        "eventversion": {"type": "integer", "minimum": 1},
        "time": {"type": "string", "format": "date-time"},
        "correlationid": {"type": ["string", "null"]},
        "causationid": {"type": ["string", "null"]},
        "data": {"type": "object"},
    },
}


def schemas(*event_classes: type[Event]) -> dict[str, Any]:
    """`{"envelope": SCHEMA, "events": {TYPE: {VERSION: SCHEMA}}}`, as the consumer in Node takes it."""
    events: dict[str, dict[str, Any]] = {}
    for event_class in event_classes:
        spec = spec_of(event_class)
        events.setdefault(spec.type, {})[str(spec.version)] = {"$schema": DIALECT, **event_class.model_json_schema()}
    return {"envelope": ENVELOPE, "events": events}


def scripts() -> dict[str, str]:
    """Every script by its name, as Redis is given it."""
    return {script.name: script.text for script in vars(keys).values() if isinstance(script, Script)}
