"""A scenario's YAML file: how it is read, and how its problems are put into words."""

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sim.declare.declared import kind_name, kinds_in
from sim.declare.faults import Fault
from sim.declare.loads import Load
from sim.declare.service_times import ServiceTime
from sim.errors import InvalidScenario

_KIND_NAMES = {kind_name(kind) for union in (Load, ServiceTime, Fault) for kind in kinds_in(union)}


def read(file: Path) -> dict[str, Any]:
    """What the file declares, not yet checked.

    Raises:
        InvalidScenario: the file is missing, is no YAML, or holds something else than a scenario.
    """
    try:
        declared = yaml.load(file.read_text(encoding="utf-8"), _UniqueKeys)
    except OSError as error:
        raise InvalidScenario(str(file), f"cannot be read ({error.strerror}); name a scenario's YAML file") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidScenario(str(file), f"is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(declared, dict):
        raise InvalidScenario(str(file), "holds no scenario; it needs name, load and services")
    return declared


def problems(error: ValidationError, schema: Mapping[str, Any]) -> str:
    """All problems in one line: where in the file, and what is wrong. `schema` is the JSON schema of a scenario."""
    found = []
    for problem in error.errors(include_url=False):
        message = problem["msg"].removeprefix("Value error, ")
        match problem["type"]:
            case "extra_forbidden":
                message = f"unknown field; there are: {_known_fields(problem['loc'], schema)}"
            case "union_tag_invalid":
                message = f"there is no kind {problem['ctx']['tag']!r}; use one of {problem['ctx']['expected_tags']}"
            case "union_tag_not_found":
                message = "say which kind it is: kind: ..."
            case "missing":
                message = "is missing; add it"
            case type_ if type_ not in ("value_error", "not_modelled"):
                message += f", not {reprlib.repr(problem['input'])}"
        place = _place(problem["loc"])
        found.append(f"{place}: {message}" if place else message)
    return "; ".join(found)


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML in which no key comes twice: the second one would silently replace the first."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key, (at, _) in zip(keys, node.value, strict=True):
        if keys.count(key) > 1:
            raise yaml.YAMLError(f"line {at.start_mark.line + 1}: {key!r} comes twice")
    return loader.construct_mapping(node, deep=True)


_UniqueKeys.add_constructor("tag:yaml.org,2002:map", _mapping)


def _known_fields(place: Sequence[str | int], schema: Mapping[str, Any]) -> str:
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
    return ", ".join(node.get("properties", ())) or "none"


def _place(loc: tuple[int | str, ...]) -> str:
    """The path in the file. The name of a kind is a part of pydantic's path, but not of the file's."""
    parts = [str(part) for i, part in enumerate(loc) if i == 0 or part not in _KIND_NAMES or loc[i - 1] == "services"]
    return ".".join(parts).replace("\n", " ")
