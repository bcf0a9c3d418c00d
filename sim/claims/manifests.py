"""Judging the files for deploys by validators, where the reader has them: nothing is started."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

_TOP = Path(__file__).parents[2]


def in_clone() -> Path | None:
    """The folder of the clone that this runs from; None where it runs from a wheel, which has no such files."""
    return _TOP if (_TOP / "pyproject.toml").is_file() else None


def compose_file() -> Path | None:
    """The Compose file of the clone."""
    names = ("deploy/docker-compose.yml", "docker-compose.yml")
    return next((_TOP / name for name in names if in_clone() and (_TOP / name).is_file()), None)


def problems_of_compose() -> list[str] | str:
    """What is wrong with the Compose file; a text where it cannot be judged here."""
    file = compose_file()
    if file is None:
        return "the Compose file is in the clone, and this is none"
    if importlib.util.find_spec("check_jsonschema") is None:
        return "check-jsonschema, which has the Compose schema, is not installed; `make` installs it"
    problems = _schema_problems(file)
    declared = yaml.safe_load(file.read_text(encoding="utf-8"))
    redis = declared["services"].get("redis", {})
    problems += [f"redis has no {key}" for key in ("healthcheck", "volumes") if key not in redis]
    waits = [
        each.get("depends_on", {}).get("redis", {}).get("condition")
        for each in declared["services"].values()
        if isinstance(each.get("depends_on"), dict)
    ]
    return problems if "service_healthy" in waits else [*problems, "no service waits until redis is healthy"]


def _schema_problems(file: Path) -> list[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return [] if done.returncode == 0 else [" ".join(done.stdout.split())[:300]]


def manifests() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every document of the Kubernetes manifests in the clone."""
    for file in sorted((_TOP / "deploy" / "kubernetes").rglob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            if isinstance(document, dict):
                yield file, document


def problems_of_kubernetes() -> list[str] | str:
    """What is wrong with the manifests; a text where they cannot be judged here."""
    if not any(manifests()):
        return "there are no manifests of Kubernetes here"
    if importlib.util.find_spec("kubernetes_validate") is None:
        return "kubernetes-validate, which has the schemas, is not installed"
    return "the manifests are not judged by this version"


def problems_of_network() -> list[str] | str:
    """What opens Redis to more than the services; a text where that cannot be judged here."""
    if not any(manifests()) and not (_TOP / "deploy" / "docker-compose.yml").is_file():
        return "there are no manifests that isolate a network here"
    return "the manifests are not judged by this version"
