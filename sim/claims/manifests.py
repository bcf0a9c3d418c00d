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
    file = _TOP / "docker-compose.yml"
    return file if in_clone() and file.is_file() else None


def problems_of_compose() -> list[str] | str:
    """What is wrong with the Compose file; a text where it cannot be judged here."""
    file = compose_file()
    if file is None:
        return "the Compose file is in the clone, and this is none"
    if importlib.util.find_spec("check_jsonschema") is None:
        return "check-jsonschema, which has the Compose schema, is not installed; `make` installs it"
    problems = _schema_problems(file)
    services = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]
    problems += [f"redis has no {key}" for key in ("healthcheck", "volumes") if key not in services.get("redis", {})]
    waits = [_waits_for_redis(each.get("depends_on")) for each in services.values()]
    return problems if any(waits) else [*problems, "no service waits until redis is healthy"]


def _waits_for_redis(depends_on: object) -> bool:
    return isinstance(depends_on, dict) and depends_on.get("redis", {}).get("condition") == "service_healthy"


def _schema_problems(file: Path) -> list[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return [] if done.returncode == 0 else [" ".join(done.stdout.split())[:300]]


def manifests() -> list[dict[str, Any]]:
    """Every resource in the Kubernetes manifests of the clone, those of kustomize itself left out."""
    files = sorted((_TOP / "deploy" / "kubernetes").rglob("*.yaml"))
    found = (document for file in files for document in yaml.safe_load_all(file.read_text(encoding="utf-8")))
    return [each for each in found if isinstance(each, dict) and each.get("kind") not in (None, "Kustomization")]


def problems_of_kubernetes() -> list[str] | str:
    """What is wrong with the manifests; a text where they cannot be judged here."""
    found = manifests()
    if not found:
        return "there are no manifests of Kubernetes here"
    if importlib.util.find_spec("kubernetes_validate") is None:
        return "kubernetes-validate, which has the schemas, is not installed; `make` installs it"
    problems = [problem for each in found for problem in _validated(each)]
    workloads = [each for each in found if each["kind"] in ("Deployment", "StatefulSet")]
    return problems + [problem for each in workloads for problem in _unready(each)]


def _validated(resource: dict[str, Any]) -> Iterator[str]:
    """What the schema says. Kinds that Kubernetes itself does not know, such as KEDA's, have none."""
    import kubernetes_validate as judge

    try:
        judge.validate(resource, judge.latest_version(), strict=True)
    except judge.SchemaNotFoundError:
        return
    except judge.ValidationError as error:
        yield f"{_name(resource)}: {error.message}"


def _unready(workload: dict[str, Any]) -> Iterator[str]:
    """What a pod needs to be run by others: probes, resources, a time to end in that is above its grace, no root."""
    pod = workload["spec"]["template"]["spec"]
    if not pod.get("securityContext", {}).get("runAsNonRoot"):
        yield f"{_name(workload)} may run as root"
    for container in pod["containers"]:
        arguments = container.get("args", [])
        if "--grace" in arguments:
            grace_s = float(arguments[arguments.index("--grace") + 1])
            if pod.get("terminationGracePeriodSeconds", 30) <= grace_s:  # Kubernetes' own default is 30 s
                yield f"{_name(workload)} is killed before its grace of {grace_s:g} s is over"
        wanted = ("readinessProbe", "livenessProbe", "resources")
        yield from (f"{_name(workload)} has no {each}" for each in wanted if each not in container)
        if container["image"].endswith(":latest") or ":" not in container["image"]:
            yield f"{_name(workload)}: image {container['image']} is not pinned"


def _name(resource: dict[str, Any]) -> str:
    return f"{resource['kind']} {resource.get('metadata', {}).get('name', '')}"


def problems_of_network() -> list[str] | str:
    """What opens Redis to more than its clients; a text where that cannot be judged here."""
    file, found = compose_file(), manifests()
    if file is None or not found:
        return "there are no manifests that isolate a network here"
    return [*_open_in_compose(yaml.safe_load(file.read_text(encoding="utf-8"))), *_open_in_kubernetes(found)]


def _open_in_compose(declared: dict[str, Any]) -> Iterator[str]:
    redis = declared["services"].get("redis", {})
    if redis.get("ports"):
        yield f"Compose: redis publishes {redis['ports']}"
    networks = redis.get("networks") or ["default"]
    for name in networks:
        if not (declared.get("networks", {}).get(name) or {}).get("internal"):
            yield f"Compose: network {name} of redis is not internal"


def _open_in_kubernetes(found: list[dict[str, Any]]) -> Iterator[str]:
    """A policy closes everything, and what is opened to Redis names pods."""
    policies = [each["spec"] for each in found if each["kind"] == "NetworkPolicy"]
    if not any(each["podSelector"] == {} and not each.get("ingress") and not each.get("egress") for each in policies):
        yield "Kubernetes: no policy closes everything that is not opened"
    for policy in policies:
        if "redis" in policy["podSelector"].get("matchLabels", {}).values():
            senders = [sender for rule in policy.get("ingress", []) for sender in rule.get("from", [{}])]
            if not all("podSelector" in sender for sender in senders):
                yield "Kubernetes: a policy lets more than named pods reach redis"
