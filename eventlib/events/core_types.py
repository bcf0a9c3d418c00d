"""What is known of pydantic's core types: what JSON Schema says of them, and which of their keys are rules.

A type or a key that is not here is a rule: it is exported as it stands, and a change of it counts as breaking.
"""

from typing import Any

# What a core type looks like in JSON Schema if it is no special kind of that: its type and format.
PLAIN: dict[str, set[tuple[str, str | None]]] = {
    "str": {("string", None)},
    "int": {("integer", None)},
    "float": {("number", None)},
    "bool": {("boolean", None)},
    "none": {("null", None)},
    "datetime": {("string", "date-time")},
    "date": {("string", "date")},
    "time": {("string", "time")},
    "timedelta": {("string", "duration")},
    "uuid": {("string", "uuid"), *(("string", f"uuid{version}") for version in range(1, 9))},
    "bytes": {("string", "binary"), ("string", "base64url")},
    "url": {("string", "uri")},
    "multi-host-url": {("string", "multi-host-uri")},
}
LISTS = ("list", "set", "frozenset", "tuple", "deque", "generator", "named-tuple")
MAPPINGS = ("dict", "frozendict", "ordered-dict", "counter")
OBJECTS = ("model-fields", "typed-dict", "dataclass-args")
for _kind in LISTS:
    PLAIN[_kind] = {("array", None)}
for _kind in (*MAPPINGS, *OBJECTS):
    PLAIN[_kind] = {("object", None)}

# They take what is inside them or what is listed, and have no type of their own.
AROUND = {
    "any", "arguments", "call", "chain", "computed-field", "custom-error", "dataclass", "dataclass-field",
    "default", "definition-ref", "definitions", "enum", "function-after", "function-before", "function-plain",
    "function-wrap", "json-or-python", "lax-or-strict", "literal", "model", "model-field", "named-tuple-field",
    "nullable", "tagged-union", "typed-dict-field", "union",
}  # fmt: skip
SPECIAL = {
    "callable", "complex", "decimal", "fraction", "is-instance", "is-subclass", "json",
}  # fmt: skip

# What JSON Schema says with another word, if it says it.
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_LENGTH = {"min_length": "minLength", "max_length": "maxLength"}
SAID: dict[str, dict[str, str]] = {
    "str": _LENGTH | {"pattern": "pattern"},
    "bytes": _LENGTH,
    "url": _LENGTH,
    "multi-host-url": _LENGTH,
    "int": _BOUNDS | {"multiple_of": "multipleOf"},
    "float": _BOUNDS | {"multiple_of": "multipleOf"},
}
SAID |= {kind: {"min_length": "minItems", "max_length": "maxItems"} for kind in LISTS}
SAID |= {kind: {"min_length": "minProperties", "max_length": "maxProperties"} for kind in MAPPINGS}

# Keys that change nothing in what is read from JSON, or that the schema or a rule has in another form.
NO_RULE = {
    "arguments_schema", "auto_collapse", "choices", "cls", "cls_name", "cls_repr", "collect_init_only",
    "computed_fields", "config", "copy_default", "custom_error_context", "custom_error_message",
    "custom_error_type", "custom_init", "dataclass_name", "default", "default_factory",
    "default_factory_takes_data", "definitions", "discriminator", "expected", "extra_behavior",
    "extras_keys_schema", "extras_schema", "fail_fast", "fields", "from_attributes", "frozen", "function",
    "function_name", "generic_origin", "init", "init_only", "items_schema", "json_schema",
    "json_schema_input_schema", "keys_schema", "kw_only", "lax_schema", "members", "metadata", "model_name",
    "name", "post_init", "python_schema", "ref", "required", "return_schema", "revalidate_instances",
    "root_model", "schema", "schema_ref", "serialization", "serialization_alias", "serialization_exclude",
    "serialization_exclude_if", "slots", "steps", "strict_schema", "sub_type", "total", "type",
    "validate_default", "validation_alias", "values_schema", "var_args_schema", "var_kwargs_schema",
    "variadic_item_index",
}  # fmt: skip
USUAL: dict[str, Any] = {"microseconds_precision": "truncate", "mode": "smart", "regex_engine": "rust-regex"}

# Settings of a class, and the keys that they are of the types that they are for.
_OF_NUMBERS = ("allow_inf_nan", "ser_json_inf_nan")
_OF_TIMES = ("ser_json_temporal", "ser_json_timedelta", "val_temporal_unit")
_OF_BYTES = ("ser_json_bytes", "val_json_bytes")
SETTINGS: dict[str, dict[str, str]] = {
    "str": {
        "str_min_length": "min_length",
        "str_max_length": "max_length",
        "str_strip_whitespace": "strip_whitespace",
        "str_to_lower": "to_lower",
        "str_to_upper": "to_upper",
        "coerce_numbers_to_str": "coerce_numbers_to_str",
        "regex_engine": "regex_engine",
    },
    "bytes": {name: name for name in _OF_BYTES},
}
SETTINGS |= {kind: {name: name for name in _OF_NUMBERS} for kind in ("float", "decimal")}
SETTINGS |= {kind: {name: name for name in _OF_TIMES} for kind in ("datetime", "date", "time", "timedelta")}
SETTINGS |= {kind: {"url_preserve_empty_path": "url_preserve_empty_path"} for kind in ("url", "multi-host-url")}
NO_SETTING = {
    "cache_strings", "extra_fields_behavior", "from_attributes", "hide_input_in_errors", "loc_by_alias",
    "polymorphic_serialization", "revalidate_instances", "serialize_by_alias", "strict", "title",
    "typed_dict_total", "validate_by_alias", "validate_by_name", "validate_default", "validation_error_cause",
    *(name for settings in SETTINGS.values() for name in settings),
}  # fmt: skip
