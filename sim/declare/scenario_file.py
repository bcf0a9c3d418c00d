"""A scenario's YAML file: how it is read, and how its problems are put into words."""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sim.declare.declared import FOUND, did_you_mean, kind_name, kinds_in
from sim.declare.faults import Fault
from sim.declare.loads import Load
from sim.declare.plain_yaml import Unreadable, parse
from sim.declare.service_times import ServiceTime
from sim.errors import InvalidScenario

_KIND_NAMES = {kind_name(kind) for union in (Load, ServiceTime, Fault) for kind in kinds_in(union)}

_FIELDS = "Input should be fields, each on a line of its own as `name: value`"
_IN_YAML = {  # pydantic speaks of Python's types, which no scenario's author needs to know
    "tuple_type": "Input should be a list, such as [a, b]",
    "dict_type": _FIELDS,
    "model_type": _FIELDS,
    "model_attributes_type": _FIELDS,
}


def read(file: Path) -> dict[str, Any]:
    """What the file declares, not yet checked.

    Raises:
        InvalidScenario: the file is missing, is no YAML, or holds something else than a scenario.
    """
    try:
        declared = parse(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidScenario(str(file), f"cannot be read ({error.strerror}); name a scenario's YAML file") from error
    except Unreadable as error:
        raise InvalidScenario(str(file), f"is no YAML that reads one way: {error}") from error
    except ValueError as error:  # its bytes, or a name that no file can have
        raise InvalidScenario(str(file), f"is no YAML in UTF-8: {error}") from error
    if not isinstance(declared, dict):
        raise InvalidScenario(str(file), "holds no scenario; it needs name, load and services")
    return declared


def problems(error: ValidationError, schema: Callable[[], Mapping[str, Any]]) -> list[str]:
    """All problems: where in the file, and what is wrong. `schema` makes the JSON schema of a scenario: slowly."""
    found = []
    for problem in error.errors(include_url=False):
        message = problem["msg"].removeprefix("Value error, ")
        match problem["type"]:
            case "extra_forbidden":
                known = _known_fields(problem["loc"], schema())
                meant = did_you_mean(str(problem["loc"][-1]), known)
                message = f"unknown field; there are: {', '.join(known) or 'none'}{meant}"
            case "union_tag_invalid":
                given, kinds = problem["ctx"]["tag"], problem["ctx"]["expected_tags"]
                meant = did_you_mean(given, (kind.strip(" '") for kind in kinds.split(",")))
                message = f"there is no kind {given!r}; use one of {kinds}{meant}"
            case "union_tag_not_found":
                message = "say which kind it is: kind: ..."
            case "missing":
                message = "is missing; add it"
            case "too_short":
                given, least = problem["ctx"]["actual_length"], problem["ctx"]["min_length"]
                if isinstance(problem["input"], list) and len(problem["input"]) >= least:
                    continue  # what is wrong with the rest has been told
                message = f"has {given}; give at least {least}" if given else "is empty; give at least one"
            case type_ if type_ not in ("value_error", "not_modelled"):
                message = f"{_IN_YAML.get(type_, message)}, not {_as_written(problem['input'])}"
                if type_ == "string_type" and isinstance(problem["input"], int | float):
                    message += "; if it is text, put it in quotes"
        place = _place(problem["loc"])
        found.append(f"{place}: {message}" if place else message)
    return found


def _as_written(value: object) -> str:
    return "empty" if value is None else reprlib.repr(value)


def _known_fields(place: Sequence[str | int], schema: Mapping[str, Any]) -> list[str]:
    """What may stand where a problem is, by the schema."""

    def resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
        found: Mapping[str, Any] = schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        return found

    node = schema
    for step in place[:-1]:
        kinds = node.get("discriminator", {}).get("mapping", {})
        within = node.get("properties", {}).get(step) or node.get("additionalProperties") or node.get("items")
        node = resolved({"$ref": kinds[step]} if step in kinds else within or {})
        if given := [part for part in node.get("anyOf", ()) if part != {"type": "null"}]:
            node = resolved(given[0])
    fields = node.get("properties", {})
    return [name for name, field in fields.items() if not FOUND.items() <= field.items()]


def _place(loc: tuple[int | str, ...]) -> str:
    """The path in the file. The name of a kind is a part of pydantic's path, but not of the file's."""
    # Two alike are the name of a kind and a field of it.
    parts = [
        str(part) for i, part in enumerate(loc) if i == 0 or part not in _KIND_NAMES or loc[i - 1] in ("services", part)
    ]
    return ".".join(parts)
