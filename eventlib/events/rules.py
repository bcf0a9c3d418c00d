"""JSON Schema of what an event class reads, and what JSON Schema cannot say under keywords that begin with x-.

- `x-rules`: what else a value has to keep to. Its keys are those of pydantic's core schema, such as `tz_constraint`. It
  is made from whatever pydantic-core is given, less what the JSON Schema says, so that no rule has to be thought of.
- `x-read`: for fields that are read under other names than the one they are written under, all of those names.
- `x-computed`: names that are written and not read.
"""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, cast

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import SchemaValidator

from eventlib.events.core_types import (
    AROUND,
    MAPPINGS,
    NO_RULE,
    NO_SETTING,
    OBJECTS,
    PLAIN,
    SAID,
    SETTINGS,
    SPECIAL,
    USUAL,
)
from eventlib.events.identity import digest_of, identity
from eventlib.events.names import Core, fields_of, read_names, written_name

Json = dict[str, Any]

RULES = "x-rules"
READ = "x-read"
COMPUTED = "x-computed"


class RuledSchema(GenerateJsonSchema):
    """Generates the JSON Schema of a class and adds the x- keywords."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings: list[Core] = [{}]  # of the classes around
        self._core_definitions: list[Core] = []

    @property
    def mode(self) -> JsonSchemaMode:
        return "validation"  # what is read, whatever a class prefers

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        if self._is_defined(schema):
            return super().generate_inner(schema)
        self._settings.append(schema.get("config", self._settings[-1]))
        if schema["type"] == "definitions":
            self._core_definitions = schema["definitions"]
        try:
            found = super().generate_inner(_named_as_written(schema))
            return self._with(schema, found, self._additions(schema, self._target(found)))
        finally:
            self._settings.pop()

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {}  # anything; the rules say what

    def field_is_required(self, field: Any, total: bool) -> bool:
        return super().field_is_required(field, total) or self._default_is_refused(field["schema"])

    def _is_defined(self, schema: Core) -> bool:
        reference = self.core_to_defs_refs.get((schema["ref"], self.mode)) if "ref" in schema else None
        return reference is not None and reference in self.definitions

    def _target(self, found: Json) -> Json:
        """What a reference leads to. Empty if it is still being made."""
        while "$ref" in found:
            found = self.definitions.get(self.json_to_defs_refs[found["$ref"]], {})
        return found

    def _with(self, schema: Core, found: Json, additions: Json) -> Json:
        additions = {keyword: value for keyword, value in additions.items() if value}
        if "$ref" in found and "ref" in schema and (additions or schema["type"] in MAPPINGS):
            defined = self.json_to_defs_refs[found["$ref"]]
            self.definitions[defined] = _merged(schema, self.definitions[defined], additions)
            return found
        return _merged(schema, found, additions)

    # What is added

    def _additions(self, schema: Core, said: Json) -> Json:
        rules = self._own_rules(schema, said) | self._inner_rules(schema)
        additions: Json = {RULES: rules}
        if schema["type"] in OBJECTS:
            names = {
                written_name(name, field): read_names(name, field, self._settings[-1])
                for name, field in fields_of(schema)
            }
            additions[READ] = {written: read for written, read in names.items() if read != [written]}
            additions[COMPUTED] = sorted(
                field.get("alias", field["property_name"]) for field in schema.get("computed_fields", ())
            )
        return additions

    def _own_rules(self, schema: Core, said: Json) -> Json:
        kind, settings = schema["type"], self._settings[-1]
        if kind not in PLAIN and kind not in AROUND and kind not in SPECIAL:
            return {"type": kind, "unknown": digest_of(schema)}
        values = _with_settings(schema, settings)
        said_as = SAID.get(kind, {})
        rules = {
            key: _as_json(value)
            for key, value in values.items()
            if key not in NO_RULE
            and value is not None
            and value is not False
            and USUAL.get(key) != value
            and not (key in said_as and said.get(said_as[key]) == _as_json(value))
        }
        if kind in SPECIAL or (kind in PLAIN and (said.get("type"), said.get("format")) not in PLAIN[kind]):
            rules["type"] = kind
        if kind == "decimal" and {"max_digits", "decimal_places"} <= rules.keys():
            rules["whole_digits"] = rules["max_digits"] - rules["decimal_places"]
        if kind in ("is-instance", "is-subclass"):
            rules["class"] = identity(schema["cls"])["name"]
        return rules

    def _inner_rules(self, schema: Core) -> Json:
        """Rules that are code, or schemas that JSON Schema has no place for."""
        kind, rules = schema["type"], _code_of(schema)
        if "serialization" in schema and (written := _serializer(schema["serialization"])):
            rules["serializers"] = [written]
        if unknown := {k: _as_json(v) for k, v in schema.get("config", {}).items() if k not in NO_SETTING}:
            rules["settings"] = unknown
        if kind in MAPPINGS and (keys := self._key_schema(schema)) != {"type": "string"}:
            rules["keys"] = keys
        if (first := schema.get("variadic_item_index")) is not None and len(schema["items_schema"]) > first + 1:
            rules["last_items"] = [self.generate_inner(item) for item in schema["items_schema"][first:]]
        if kind == "chain":
            rules["steps"] = [self.generate_inner(step) for step in schema["steps"][1:]]
        if kind == "lax-or-strict" and (schema.get("strict") or self._settings[-1].get("strict")):
            rules["strict_schema"] = self.generate_inner(schema["strict_schema"])
        if "json_schema_input_schema" in schema and "schema" in schema:
            rules["inside"] = self.generate_inner(schema["schema"])
        if kind == "tagged-union":
            rules |= self._discriminator(schema)
        return rules

    def _key_schema(self, schema: Core) -> Json:
        keys = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        return {k: v for k, v in keys.items() if k != "title"} or {"type": "string"}

    def _discriminator(self, schema: Core) -> Json:
        """A discriminator is a rule unless all members require the field, with the values that lead to them."""
        by = schema["discriminator"]
        if isinstance(by, list) and len(by) == 1:
            by = by[0][0] if isinstance(by[0], list) and len(by[0]) == 1 else by[0]
        choices = {str(_as_json(tag)): self.generate_inner(choice) for tag, choice in schema["choices"].items()}
        if isinstance(by, str) and all(by in self._target(choice).get("required", ()) for choice in choices.values()):
            return {}
        return {"discriminator": identity(by) if callable(by) else _as_json(by), "choices": choices}

    def _default_is_refused(self, schema: Core) -> bool:
        """Whether a default is validated and not valid: then nothing is read without the field."""
        if schema["type"] != "default" or not schema.get(
            "validate_default", self._settings[-1].get("validate_default")
        ):
            return False
        try:
            around = {"type": "definitions", "schema": schema, "definitions": self._core_definitions}
            return SchemaValidator(cast("Any", around), cast("Any", self._settings[-1])).get_default_value() is None
        except Exception:  # a validator or a factory may raise anything
            return True


def _merged(schema: Core, found: Json, additions: Json) -> Json:
    """The schema with the additions. What code around it adds comes last, as it is applied last."""
    if schema["type"] in MAPPINGS and isinstance(by_pattern := found.get("patternProperties"), dict):
        [(pattern, values)] = by_pattern.items()
        names = {"pattern": pattern} | found.get("propertyNames", {})
        found = {k: v for k, v in found.items() if k != "patternProperties"}
        found |= {"additionalProperties": values or True, "propertyNames": names}
    if not additions:
        return found
    return (
        found
        | additions
        | ({RULES: merged_rules(found.get(RULES, {}), additions[RULES])} if RULES in additions else {})
    )


def merged_rules(inside: Json, around: Json) -> Json:
    """Both rules, as rules of one value."""
    merged = dict(inside)
    for key, rule in around.items():
        if isinstance(rule, list) and isinstance(merged.get(key, []), list):
            merged[key] = merged.get(key, []) + rule
        elif merged.get(key, rule) == rule:
            merged[key] = rule
        else:
            merged[key] = {"inside": merged[key], "around": rule}
    return merged


def _with_settings(schema: Core, settings: Core) -> Json:
    """The type with what its class sets for all of its kind."""
    values, kind = dict(schema), schema["type"]
    for setting, key in SETTINGS.get(kind, {}).items():
        if values.get(key) is None and setting in settings:
            values[key] = settings[setting]
    if settings.get("strict") and (kind in PLAIN or kind in SPECIAL or kind == "enum") and kind not in OBJECTS:
        values.setdefault("strict", True)
    if kind == "float":
        values.setdefault("allow_inf_nan", True)
    return values


def _named_as_written(schema: Core) -> Core:
    """The schema with each field under the name that it is written under: the one that its readers are told of."""
    if schema["type"] not in OBJECTS:
        return schema
    named = [(name, {**field, "validation_alias": written_name(name, field)}) for name, field in fields_of(schema)]
    return {**schema, "fields": [f for _, f in named] if isinstance(schema["fields"], list) else dict(named)}


# Code


def _code_of(schema: Core) -> Json:
    """The functions that a value goes through, and others that decide what is accepted."""
    kind, functions = schema["type"], []
    if kind.startswith("function-"):
        functions.append({"type": kind, **identity(schema["function"]["function"], _owner(schema))})
    elif kind == "call" and not _is_named_tuple(schema["function"]):
        functions.append({"type": kind, **identity(schema["function"])})
    elif kind in ("model", "dataclass"):
        class_ = schema["cls"]
        if schema.get("custom_init"):
            functions.append({"type": "init", **identity(class_.__init__, class_)})
        if after := schema.get("post_init"):
            function = getattr(class_, after if isinstance(after, str) else "__post_init__")
            if not function.__module__.startswith("pydantic."):  # which makes private attributes, and refuses nothing
                functions.append({"type": "post-init", **identity(function, class_)})
    rules: Json = {"functions": functions} if functions else {}
    if schema.get("missing") is not None:
        rules["missing"] = identity(schema["missing"])
    return rules


def _owner(schema: Core) -> type | None:
    while "cls" not in schema:
        if not isinstance(schema := schema.get("schema", {}), Mapping) or not schema:
            return None
    return cast("type", schema["cls"])


def _is_named_tuple(function: object) -> bool:
    return isinstance(function, type) and issubclass(function, tuple) and hasattr(function, "_fields")


def _serializer(schema: Core) -> Json | None:
    if schema["type"] in ("model", "include-exclude-sequence", "include-exclude-dict"):
        return None
    known = {k: _as_json(v) for k, v in schema.items() if k not in ("function", "schema", "return_schema")}
    return known | (identity(schema["function"]) if "function" in schema else {})


def _as_json(value: Any) -> Any:
    """A value of a core schema in JSON."""
    match value:
        case Enum():
            return _as_json(value.value)
        case None | bool() | int() | str():
            return value
        case float():
            return value if value - value == 0 else str(value)
        case Decimal():
            return str(value)
        case date() | datetime() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case list() | tuple():
            return [_as_json(item) for item in value]
        case set() | frozenset():
            return sorted(map(_as_json, value), key=str)
        case dict():
            return {str(_as_json(k)): _as_json(v) for k, v in value.items()}
    if (pattern := getattr(value, "pattern", None)) is not None:
        return {"pattern": pattern, "flags": value.flags} if value.flags & ~32 else pattern
    return identity(value)
