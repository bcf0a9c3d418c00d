"""A valid value for every field of an event class, made from its JSON Schema."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from eventlib.events.schema import Event

_TEXTS = ("a1", "de", "text/plain", "0" * 64)  # one of them matches each pattern of the catalog


class NoSample(Exception):
    """No value is known that fits a part of a schema."""


def sample(event_class: type[Event]) -> Event:
    """A valid event of the class.

    Raises:
        NoSample: one of its fields has a schema that is not known here.
    """
    return event_class.model_validate_json(_written(event_class))


@cache
def _written(event_class: type[Event]) -> str:
    schema = event_class.model_json_schema()
    return json.dumps(_value(schema, schema.get("$defs", {})))


def _value(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        return _value(parts[schema["$ref"].rpartition("/")[2]], parts)
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    if "anyOf" in schema:
        return _value(schema["anyOf"][0], parts)
    match schema.get("type"):
        case "object":
            return {name: _value(each, parts) for name, each in schema.get("properties", {}).items()}
        case "array":
            return [_value(schema["items"], parts)] * max(1, schema.get("minItems", 1))
        case "string":
            return _text(schema)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
    raise NoSample(f"no sample for {schema}")


def _text(schema: Mapping[str, Any]) -> str:
    if schema.get("format") == "date-time":
        return "2026-05-04T12:00:00Z"
    for text in _TEXTS:
        if re.search(schema.get("pattern", ""), text) and len(text) >= schema.get("minLength", 0):
            return text
    raise NoSample(f"no text matches {schema['pattern']!r}")
