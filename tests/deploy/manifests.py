"""The files of deploy/, read."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.repository import TOP

DEPLOY = TOP / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ("development", "production")


def documents(*files: Path) -> list[dict[str, Any]]:
    """The resources that files hold, those of kustomize itself left out."""
    found = [document for file in files for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    return [document for document in found if document["kind"] != "Kustomization"]


def of_kind(kind: str, resources: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The resources of a kind, by name."""
    return {each["metadata"]["name"]: each for each in resources if each["kind"] == kind}


def option(arguments: list[str], name: str) -> str:
    """The value of an option in a command line."""
    return arguments[arguments.index(name) + 1]


def seconds(text: str) -> float:
    """Such as `50s`."""
    found = re.fullmatch(r"(\d+)s", text)
    assert found is not None, text
    return float(found[1])


BASE = documents(*sorted((KUBERNETES / "base").glob("*.yaml")))
SCALING = documents(KUBERNETES / "overlays" / "production" / "scaling.yaml")
COMPOSE: dict[str, Any] = yaml.safe_load((TOP / "docker-compose.yml").read_text(encoding="utf-8"))
