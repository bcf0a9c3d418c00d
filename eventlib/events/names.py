"""The names that the fields of a class are written and read under, from pydantic's core schema."""

from collections.abc import Mapping
from typing import Any

Core = Mapping[str, Any]


def fields_of(schema: Core) -> list[tuple[str, Core]]:
    """The fields of a model, a dataclass or a typed dict, by their names in Python."""
    fields = schema["fields"]
    return [(field["name"], field) for field in fields] if isinstance(fields, list) else list(fields.items())


def written_name(name: str, field: Core) -> str:
    """The name that a field is written under."""
    return str(field.get("serialization_alias", name))


def read_names(name: str, field: Core, settings: Core) -> list[Any]:
    """All names that a field is read under, the first one first; a path into another field is a list."""
    alias = field.get("validation_alias")
    names: list[Any] = [alias] if isinstance(alias, str) else list(alias or [])
    names = [path[0] if isinstance(path, list) and len(path) == 1 else path for path in names]
    if not settings.get("validate_by_alias", True) or field.get("init") is False:
        names = []
    if field.get("init") is not False and (not names or settings.get("validate_by_name")):
        names.append(name)
    return [read for place, read in enumerate(names) if read not in names[:place]]
