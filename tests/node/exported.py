"""What a program in another language is given: the JSON Schema of each event's envelope, and the scripts."""

from typing import Any

from eventlib import keys
from eventlib.keys import Script
from eventlib.schema import Event, spec_of


def schemas(*event_classes: type[Event]) -> dict[str, Any]:
    """`{TYPE: {VERSION: SCHEMA}}`, as the programs in Node take them."""
    found: dict[str, Any] = {}
    for event_class in event_classes:
        spec = spec_of(event_class)
        found.setdefault(spec.type, {})[str(spec.version)] = envelope_schema(event_class)
    return found


def scripts() -> dict[str, str]:
    """Every script by its name, as Redis is given it."""
    return {script.name: script.text for script in vars(keys).values() if isinstance(script, Script)}


def envelope_schema(event_class: type[Event]) -> Any:
    """JSON Schema 2020-12 of the whole envelope, as a reader applies it: what it does not name is ignored."""
    spec, data = spec_of(event_class), _opened(event_class.model_json_schema())
    text = {"type": "string"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["specversion", "id", "source", "type", "eventversion", "time", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": text | {"minLength": 1},
            "source": text,
            "type": {"const": spec.type},
            "eventversion": {"const": spec.version},
            "time": text | {"format": "date-time"},
            "correlationid": text,
            "causationid": text,
            "data": data,
        },
        "$defs": data.pop("$defs", {}),
    }


def _opened(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {k: _opened(v) for k, v in schema.items() if (k, v) != ("additionalProperties", False)}
    return [_opened(part) for part in schema] if isinstance(schema, list) else schema
