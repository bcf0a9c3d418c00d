"""Files for deploys are found wrong where one thing is taken away from files that are right."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from sim.claims import manifests
from sim.claims.manifests import problems_of_compose, problems_of_kubernetes, problems_of_network

COMPOSE: dict[str, Any] = {
    "services": {
        "redis": {
            "image": "redis:8",
            "networks": ["inside"],
            "volumes": ["data:/data"],
            "healthcheck": {"test": ["CMD", "redis-cli", "ping"]},
        },
        "shop": {"image": "shop:1", "depends_on": {"redis": {"condition": "service_healthy"}}},
    },
    "networks": {"inside": {"internal": True}},
    "volumes": {"data": {}},
}
PROBE = {"httpGet": {"path": "/readyz", "port": 8080}}
CONTAINER = {
    "name": "shop",
    "image": "shop:1",
    "args": ["run", "shop:app", "--grace", "30"],
    "readinessProbe": PROBE,
    "livenessProbe": PROBE,
    "resources": {"limits": {"memory": "1Gi"}},
}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "shop"},
    "spec": {
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {
                "securityContext": {"runAsNonRoot": True},
                "terminationGracePeriodSeconds": 50,
                "containers": [CONTAINER],
            },
        },
    },
}
CLOSED: dict[str, Any] = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "closed"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
}
OPEN: dict[str, Any] = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "redis"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "redis"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"client": "true"}}}]}],
    },
}
Files = dict[str, Any]


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Files], Path]:
    """Write files into a clone that has nothing else."""

    def write(files: Files) -> Path:
        (tmp_path / "pyproject.toml").touch()
        (tmp_path / "docker-compose.yml").write_text(yaml.safe_dump(files["compose"]))
        folder = tmp_path / "deploy" / "kubernetes" / "base"
        folder.mkdir(parents=True)
        (folder / "all.yaml").write_text(yaml.safe_dump_all([files["shop"], files["closed"], files["open"]]))
        monkeypatch.setattr(manifests, "_TOP", tmp_path)
        return tmp_path

    return write


def right() -> Files:
    return deepcopy({"compose": COMPOSE, "shop": DEPLOYMENT, "closed": CLOSED, "open": OPEN})


def pod(files: Files) -> dict[str, Any]:
    found: dict[str, Any] = files["shop"]["spec"]["template"]["spec"]
    return found


def listed(found: list[str] | str) -> list[str]:
    """The problems, of what could be judged."""
    assert isinstance(found, list), found
    return found


def test_nothing_is_wrong_with_what_is_right(judge: Callable[[Files], Path]) -> None:
    judge(right())
    assert (problems_of_compose(), problems_of_kubernetes(), problems_of_network()) == ([], [], [])


def publish_redis(files: Files) -> None:
    files["compose"]["services"]["redis"]["ports"] = ["6379:6379"]


def open_the_network(files: Files) -> None:
    files["compose"]["networks"]["inside"] = {}


def let_everybody_in(files: Files) -> None:
    files["open"]["spec"]["ingress"] = [{}]


def close_nothing(files: Files) -> None:
    files["closed"]["spec"]["ingress"] = [{}]


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (publish_redis, "redis publishes"),
        (open_the_network, "is not internal"),
        (let_everybody_in, "more than named pods"),
        (close_nothing, "no policy closes everything"),
    ],
)
def test_an_open_network_is_found(judge: Callable[[Files], Path], break_it: Callable[[Files], None], said: str) -> None:
    files = right()
    break_it(files)
    judge(files)
    [problem] = listed(problems_of_network())
    assert said in problem


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda files: pod(files)["containers"][0].pop("readinessProbe"), "has no readinessProbe"),
        (lambda files: pod(files)["containers"][0].update(image="shop"), "is not pinned"),
        (lambda files: pod(files).update(securityContext={}), "may run as root"),
        (lambda files: pod(files).update(terminationGracePeriodSeconds=20), "killed before its grace of 30 s"),
        (lambda files: pod(files).update(replica=2), "replica"),
    ],
)
def test_a_pod_that_is_not_ready_for_production_is_found(
    judge: Callable[[Files], Path], break_it: Callable[[Files], None], said: str
) -> None:
    pytest.importorskip("kubernetes_validate")
    files = right()
    break_it(files)
    judge(files)
    [problem] = listed(problems_of_kubernetes())
    assert said in problem


def test_compose_without_a_health_check_or_against_its_schema_is_found(judge: Callable[[Files], Path]) -> None:
    files = right()
    del files["compose"]["services"]["redis"]["healthcheck"]
    files["compose"]["services"]["shop"]["imag"] = "shop"
    judge(files)
    schema, missing = listed(problems_of_compose())
    assert "imag" in schema and missing == "redis has no healthcheck"


def test_what_is_not_there_cannot_be_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "_TOP", tmp_path)
    told = (problems_of_compose(), problems_of_kubernetes(), problems_of_network())
    assert all(isinstance(one, str) for one in told)
