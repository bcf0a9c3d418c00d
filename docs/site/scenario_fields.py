"""The fields of a scenario, read from the models that validate it."""

from collections.abc import Iterator, Mapping
from typing import Any

from docs.site.markdown import heading, table
from sim.declare.declared import kinds_in
from sim.declare.faults import Fault
from sim.declare.loads import Load
from sim.declare.scenario import Scenario
from sim.declare.service_times import ServiceTime

Schema = Mapping[str, Any]
_LIMITS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def fields() -> str:
    """A section for the scenario, for each kind of load, service time and fault, and for what else it is made of."""
    schema = Scenario.model_json_schema()
    models: dict[str, Schema] = schema["$defs"]
    kinds = {
        "Load": [kind.__name__ for kind in kinds_in(Load)],
        "Service time": [kind.__name__ for kind in kinds_in(ServiceTime)],
        "Fault": [kind.__name__ for kind in kinds_in(Fault)],
    }
    parts = [*_section(2, "The file", schema)]
    for what, names in kinds.items():
        parts.append(heading(2, f"{what}s"))
        for name in names:
            parts += _section(3, f"{what}: `{models[name]['properties']['kind']['const']}`", models[name])
    parts.append(heading(2, "What these are made of"))
    named = {name for names in kinds.values() for name in names}
    for name, model in sorted(models.items()):
        if name not in named and "properties" in model and not model.get("found"):
            parts += _section(3, name, model)
    return "\n".join(parts)


def _section(level: int, title: str, model: Schema) -> Iterator[str]:
    yield heading(level, title)
    yield model.get("description", "") + "\n"
    needed = model.get("required", ())
    yield table(
        ["field", "value", "default"],
        (
            [f"`{name}`", _value(field), "needed" if name in needed else _default(field)]
            for name, field in model["properties"].items()
            if not field.get("found") and name != "kind"
        ),
    )


def _value(field: Schema) -> str:
    """What may stand in a field, in words."""
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in field:
            found = [_value(each) for each in field[choice] if each.get("type") != "null"]
            return " or ".join(dict.fromkeys(_kind_of(field) or found))
    return _typed(field)


def _typed(field: Schema) -> str:
    match field.get("type"):
        case "array":
            items = field.get("items") or {}
            return f"list of {_value(items)}" if items else "list"
        case "object":
            values = field.get("additionalProperties")
            return f"by name: {_value(values)}" if isinstance(values, Mapping) else "by name"
        case str(type_):
            limits = [f"{words} {field[limit]:g}" for limit, words in _LIMITS.items() if limit in field]
            return ", ".join([{"string": "text"}.get(type_, type_), *limits])
    return "anything"


def _kind_of(field: Schema) -> list[str]:
    """Kinds are too many to list in a cell."""
    kinds = field.get("discriminator", {}).get("mapping", {})
    return [f"a `kind`: {', '.join(f'`{kind}`' for kind in kinds)}"] if kinds else []


def _default(field: Schema) -> str:
    default = field.get("default")
    if default is None or default in ("", [], {}):
        return "none"
    if isinstance(default, Mapping):
        return ", ".join(f"`{name}: {value}`" for name, value in default.items())
    return f"`{default}`"
