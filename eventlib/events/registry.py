"""A registry is a set of event classes, gathered explicitly. It exports them for other languages.

The export is one AsyncAPI 3.0 document that describes all events of the set. `schema_changes` compares two of them.
"""

import importlib
import inspect
import json
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from eventlib.errors import InvalidArgument, InvalidDeclaration
from eventlib.events.alternatives import RULES_VERSION
from eventlib.events.rules import RuledSchema
from eventlib.events.schema import Event, oldest_version, spec_of
from eventlib.whole_files import write_whole

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOCUMENT = "asyncapi.json"
WIRE = "x-event"  # in each data schema: type, version, stream, and the oldest version that readers read


class Registry(Mapping[str, type[Event]]):
    """Event classes by their types, gathered from classes, modules and packages.

        events = Registry(OrderPlaced, shop.events)

    From a module it takes every event class with wire names, imported or defined there. From a package it also takes
    the classes of all its modules.

    Raises:
        InvalidDeclaration: two classes share a type.
        UnknownEventType: a class declares no type.
    """

    def __init__(self, *sources: type[Event] | ModuleType) -> None:
        self._classes: dict[str, type[Event]] = {}
        for source in sources:
            for event_class in _classes_of(source) if isinstance(source, ModuleType) else [source]:
                self._add(event_class)

    def _add(self, event_class: type[Event]) -> None:
        type_ = spec_of(event_class).type
        first = self._classes.setdefault(type_, event_class)
        if first is not event_class:
            raise InvalidDeclaration(
                _path_of(event_class), f"has the type {type_!r} of {_path_of(first)}; give one of them another type"
            )

    def __getitem__(self, type_: str) -> type[Event]:
        return self._classes[type_]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def __repr__(self) -> str:
        return f"Registry({', '.join(self._classes)})"

    def asyncapi(self, *, title: str = "Events", version: str = "1.0.0") -> Json:
        """One AsyncAPI 3.0 document: a channel and two operations for each stream, a message for each type.

        `title` and `version` are those of the document; an event's own version is in its schema.
        """
        specs = sorted((spec_of(event_class) for event_class in self.values()), key=lambda spec: spec.type)
        streams = {
            stream: [s.type for s in specs if s.stream == stream] for stream in sorted({s.stream for s in specs})
        }
        schemas: Json = {}
        for spec in specs:
            schemas |= _component_schemas(self[spec.type])
        return {
            "asyncapi": "3.0.0",
            RULES_VERSION: 1,
            "info": {"title": title, "version": version},
            "defaultContentType": "application/cloudevents+json",
            "channels": {stream: _channel(stream, types) for stream, types in streams.items()},
            "operations": dict(
                _operation(action, stream, types) for stream, types in streams.items() for action in ("send", "receive")
            ),
            "components": {
                "messages": {spec.type: _message(self[spec.type]) for spec in specs},
                "schemas": schemas,
            },
        }

    def save(self, directory: Path | str, *, title: str = "Events", version: str = "1.0.0") -> list[Path]:
        """Write `asyncapi.json` and, for each event, the JSON Schemas of its data and envelope. Returns the paths.

        Other files in the directory stay.
        """
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        documents = {DOCUMENT: self.asyncapi(title=title, version=version)}
        for type_, event_class in sorted(self.items()):
            documents[f"{type_}.data.json"] = json_schema(event_class)
            documents[f"{type_}.envelope.json"] = envelope_schema(event_class)
        for name, document in documents.items():
            write_whole(folder / name, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return [folder / name for name in documents]


def open_export(path: Path | str) -> Json:
    """Read the AsyncAPI document that `Registry.save` wrote. `path` is its directory, or the file itself.

    Raises:
        InvalidArgument: there is no file, or it is not such a document.
    """
    file = Path(path)
    if file.is_dir():
        file = file / DOCUMENT
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise InvalidArgument(
            str(file), f"cannot be read: {error.strerror}; write it with `workbench schemas export`"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(str(file), f"is not JSON: {error}") from error
    match document:
        case {"asyncapi": str(), "components": {"schemas": dict(schemas)}} if all(map(_is_exported, schemas.values())):
            return dict(document)
    raise InvalidArgument(
        str(file), f"is not an export; name what `workbench schemas export` wrote: a directory, or the {DOCUMENT} in it"
    )


def _is_exported(schema: object) -> bool:
    match schema:
        case {"x-event": {"type": str(), "version": int(), "stream": str(), "oldest": int()}}:
            return True
        case dict():
            return WIRE not in schema
    return isinstance(schema, bool)


# JSON Schema 2020-12


def json_schema(event_class: type[Event]) -> Json:
    """The event's data as JSON Schema 2020-12: what a reader of this version must accept, later fields included."""
    spec = spec_of(event_class)
    return {"$schema": DIALECT, "$id": _urn(event_class, "data"), **_data_schema(event_class, "#/$defs/{model}")} | {
        WIRE: _wire(event_class),
        "title": f"{spec.type} version {spec.version}",
    }


def envelope_schema(event_class: type[Event]) -> Json:
    """The whole CloudEvents envelope of the event, data included, as JSON Schema 2020-12."""
    spec = spec_of(event_class)
    data = _data_schema(event_class, "#/$defs/{model}")
    definitions = data.pop("$defs", {})
    return {
        "$schema": DIALECT,
        "$id": _urn(event_class, "envelope"),
        "title": f"Envelope of {spec.type} version {spec.version}",
        **_envelope(event_class, data),
        **({"$defs": definitions} if definitions else {}),
    }


def _urn(event_class: type[Event], part: str) -> str:
    spec = spec_of(event_class)
    return f"urn:eventlib:{spec.type}:{spec.version}:{part}"


def _wire(event_class: type[Event]) -> Json:
    spec = spec_of(event_class)
    return {
        "type": spec.type,
        "version": spec.version,
        "stream": spec.stream,
        "oldest": oldest_version(event_class),
    }


def _data_schema(event_class: type[Event], reference: str) -> Json:
    schema = event_class.model_json_schema(by_alias=True, ref_template=reference, schema_generator=RuledSchema)
    opened: Json = _opened(schema)
    return opened


def _envelope(event_class: type[Event], data: Json) -> Json:
    spec = spec_of(event_class)
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["specversion", "id", "source", "type", "eventversion", "time", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1, "description": "Unique: two events with one id are the same."},
            "source": text | {"description": "The program that published it."},
            "type": {"const": spec.type},
            "eventversion": {"const": spec.version, "description": "Version of the shape of data."},
            "time": text | {"format": "date-time", "description": "When it was published, by the publisher's clock."},
            "correlationid": text | {"description": "Shared by all events that one request caused."},
            "causationid": text | {"description": "Id of the event whose handling published this one."},
            "traceparent": text | {"description": "W3C trace context."},
            "tracestate": text | {"description": "W3C trace state."},
            "data": data,
        },
    }


_NAMED_SCHEMAS = {"$defs", "properties", "patternProperties", "dependentSchemas"}  # name -> schema
_SCHEMA_LISTS = {"allOf", "anyOf", "oneOf", "prefixItems"}
_SINGLE_SCHEMAS = {"items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else"}


def _opened(schema: Any) -> Any:
    """The schema as readers apply it. They ignore unknown fields, even if the class refuses them in a new event.

    OpenAPI's `discriminator` is left out: it adds nothing to oneOf, and no JSON Schema tool follows its references.
    """
    if not isinstance(schema, dict):
        return schema
    opened: Json = {}
    for keyword, value in schema.items():
        if keyword == "discriminator" or (keyword == "additionalProperties" and value is False):
            continue
        if keyword in _NAMED_SCHEMAS:
            opened[keyword] = {name: _opened(part) for name, part in value.items()}
        elif keyword in _SCHEMA_LISTS:
            opened[keyword] = [_opened(part) for part in value]
        else:
            opened[keyword] = _opened(value) if keyword in _SINGLE_SCHEMAS else value
    return opened


# AsyncAPI 3.0


def _component_schemas(event_class: type[Event]) -> Json:
    """The data schema under the event's type, and each of its definitions beside it, as TYPE-NAME.

    `#/$defs` would refer to the AsyncAPI document. No event type has a hyphen, so the names are unique.
    """
    type_ = spec_of(event_class).type
    schema = _data_schema(event_class, f"#/components/schemas/{type_}-{{model}}")
    definitions = schema.pop("$defs", {})
    if "$ref" in schema:  # a class that contains itself; AsyncAPI ignores keywords beside a reference
        schema = {"allOf": [{"$ref": schema["$ref"]}]}
    return {type_: schema | {WIRE: _wire(event_class)}} | {
        f"{type_}-{name}": part for name, part in definitions.items()
    }


def _message(event_class: type[Event]) -> Json:
    spec = spec_of(event_class)
    message: Json = {
        "name": spec.type,
        "title": f"{spec.type} version {spec.version}",
        "contentType": "application/cloudevents+json",
        "correlationId": {"location": "$message.payload#/correlationid"},
        "payload": _envelope(event_class, {"$ref": f"#/components/schemas/{spec.type}"}),
    }
    if event_class.__doc__ and (doc := inspect.getdoc(event_class)):
        message["summary"] = doc.partition("\n\n")[0].replace("\n", " ")
    return message


def _channel(stream: str, types: list[str]) -> Json:
    return {
        "address": stream,
        "description": f"The Redis stream <namespace>:{{{stream}}}:events; field 'event' of an entry is the envelope.",
        "messages": {type_: {"$ref": f"#/components/messages/{type_}"} for type_ in types},
    }


def _operation(action: str, stream: str, types: list[str]) -> tuple[str, Json]:
    return f"{action}.{stream}", {
        "action": action,
        "channel": {"$ref": f"#/channels/{stream}"},
        "messages": [{"$ref": f"#/channels/{stream}/messages/{type_}"} for type_ in types],
    }


# Gathering


def _classes_of(module: ModuleType) -> Iterator[type[Event]]:
    for value in list(vars(module).values()):
        if inspect.isclass(value) and issubclass(value, Event) and value.event_spec is not None:
            yield value
    for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
        if found.name != "__main__":  # importing it would run the program
            yield from _classes_of(importlib.import_module(f"{module.__name__}.{found.name}"))


def _path_of(event_class: type[Event]) -> str:
    return f"{event_class.__module__}.{event_class.__qualname__}"
