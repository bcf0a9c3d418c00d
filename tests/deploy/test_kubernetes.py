"""The manifests are valid, and their numbers fit one another, the example and the code's defaults."""

import asyncio
import re
import subprocess
from functools import cache
from typing import Any
from urllib.parse import quote

import kubernetes_validate
import pytest
import redis.asyncio as redis
import yaml

import eventlib as ev
from eventlib import running
from eventlib.broker.surveying import SurveyLimits, Surveyor
from eventlib.cli import run as run_cli
from eventlib.importing import imported
from eventlib.operate.exporter import Exporter
from eventlib.settings import Settings, load_settings
from eventlib.testing import eventually
from tests.deploy.manifests import BASE, DEPLOY, KUBERNETES, OVERLAYS, SCALING, documents, of_kind, option
from tests.probing import samples
from tests.programs import program
from tests.repository import TOP
from tests.shop import Connect, OrderPlaced, new_app, nothing_left, orders

VERSION = "1.37"
DEFAULTS = Settings()
KUSTOMIZE = [found, "build"] if (found := program("kustomize")) else [program("kubectl"), "kustomize"]
CONSUMERS = {name: each for name, each in of_kind("Deployment", BASE).items() if name != "exporter"}
WORKLOADS = {**of_kind("Deployment", BASE), **of_kind("StatefulSet", BASE)}
POLICIES = of_kind("NetworkPolicy", BASE)


@cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    """What an overlay makes. `make test` unpacks kubectl; where none is for the machine, the parts are validated."""
    if KUSTOMIZE[0] is None:
        pytest.skip("neither kustomize nor kubectl is for this machine; the parts are validated all the same")
    command = [*filter(None, KUSTOMIZE), str(KUBERNETES / "overlays" / overlay)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def validate(resources: list[dict[str, Any]]) -> set[str]:
    """Validate strictly: an unknown field is an error. Returns the kinds that Kubernetes itself does not know."""
    foreign = set[str]()
    for resource in resources:
        try:
            kubernetes_validate.validate(resource, VERSION, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            foreign.add(resource["kind"])
    return foreign


def test_every_part_is_valid_and_an_unknown_field_is_not() -> None:
    assert validate(BASE) == set()
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        validate([{**CONSUMERS["billing"], "replica": 2}])


def test_each_overlay_renders_what_is_valid() -> None:
    development, production = map(rendered, OVERLAYS)
    assert validate([each for each in development if each not in BASE and each["kind"] == "Secret"]) == set()
    assert validate(production) == {"ScaledObject"}
    assert {each["metadata"].get("namespace", each["metadata"]["name"]) for each in production} == {"event-workbench"}
    # Where KEDA decides how many pods there are, an apply must not set the number back.
    assert [each for each in of_kind("Deployment", production).values() if "replicas" in each["spec"]] == [
        of_kind("Deployment", production)["exporter"]
    ]


def container(workload: dict[str, Any]) -> dict[str, Any]:
    [found] = workload["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("name", CONSUMERS)
def test_a_pod_is_killed_only_after_it_could_drain(name: str) -> None:
    workload = CONSUMERS[name]
    pod, own = workload["spec"]["template"]["spec"], container(CONSUMERS[name])
    grace_s = float(option(own["args"], "--grace"))
    pre_stop_s = own["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pre_stop_s + grace_s + running._ABANDON_S
    app = imported(option(own["args"], "run"), [TOP / "examples" / "own_service"])
    group = option(own["args"], "--group")
    assert grace_s >= app.settings(group).lease.duration_s and grace_s == DEFAULTS.running.grace_s
    assert group == name
    assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize("name", CONSUMERS)
def test_probes_ask_what_each_is_for_at_the_port_of_the_code(name: str) -> None:
    own = container(CONSUMERS[name])
    [port] = own["ports"]
    assert port["containerPort"] == int(option(own["args"], "--health-port")) == DEFAULTS.health.port
    paths = {kind: own[kind]["httpGet"]["path"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    starting = own["startupProbe"]
    assert starting["periodSeconds"] * starting["failureThreshold"] > run_cli.CONNECT_WITHIN_S
    [served] = container(WORKLOADS["exporter"])["ports"]
    assert (
        served["containerPort"]
        == DEFAULTS.exporter.port
        == int(option(container(WORKLOADS["exporter"])["args"], "--port"))
    )


@pytest.mark.parametrize("name", WORKLOADS)
def test_no_pod_is_root_or_can_write_to_its_image(name: str) -> None:
    pod, own = WORKLOADS[name]["spec"]["template"]["spec"], container(WORKLOADS[name])
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
    assert own["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod["automountServiceAccountToken"] and "memory" in own["resources"]["limits"]
    assert ":" in own["image"] and not own["image"].endswith(":latest")
    assert not any("password" in str(each).lower() and "value" in each and "file" not in each["name"].lower()
                   for each in own.get("env", ()))  # fmt: skip


def test_each_workload_survives_a_drained_node() -> None:
    budgets = of_kind("PodDisruptionBudget", BASE)
    for name in ("billing", "receipts", "redis"):
        assert budgets[name]["spec"]["selector"] == WORKLOADS[name]["spec"]["selector"]
    assert budgets["redis"]["spec"]["maxUnavailable"] == 0
    assert all(budgets[name]["spec"]["maxUnavailable"] < CONSUMERS[name]["spec"]["replicas"] for name in CONSUMERS)


def selected(policy: dict[str, Any]) -> set[str]:
    """The workloads that a policy is about."""
    wanted = policy["spec"]["podSelector"].get("matchLabels", {}).items()
    return {
        name for name, each in WORKLOADS.items() if wanted <= each["spec"]["template"]["metadata"]["labels"].items()
    }


def test_only_clients_reach_redis_and_nothing_comes_from_outside() -> None:
    assert selected(POLICIES["nothing"]) == set(WORKLOADS)
    assert POLICIES["nothing"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in POLICIES["nothing"]["spec"] and "egress" not in POLICIES["nothing"]["spec"]
    to_redis = POLICIES["redis-from-its-clients"]
    assert selected(to_redis) == {"redis"}
    [rule] = to_redis["spec"]["ingress"]
    clients = selected({"spec": rule["from"][0]})
    assert clients == set(WORKLOADS) - {"redis"} == selected(POLICIES["clients-to-redis"])
    assert rule["ports"] == [{"port": 6379, "protocol": "TCP"}]
    services = of_kind("Service", BASE).values()
    assert all(each["spec"].get("type", "ClusterIP") == "ClusterIP" for each in services)
    [metrics] = POLICIES["metrics-from-monitoring"]["spec"]["ingress"]
    assert {each["port"] for each in metrics["ports"]} == {8080, 9121} and "from" in metrics


def matching(query: str, text: str) -> float:
    """What the query of a trigger gives: it sums the samples that one selector picks, each series once."""
    found = re.fullmatch(r"sum\(max by \(__name__, stream, group\) \(\{(.*)\}\)\)", query)
    assert found is not None, query
    tests = re.findall(r'(\w+)(=~|=)"((?:[^"\\]|\\.)*)"', found[1])
    return sum(
        value
        for (name, labels), value in samples(text).items()
        if all(
            re.fullmatch(re.escape(wanted) if how == "=" else wanted, {**dict(labels), "__name__": name}.get(label, ""))
            for label, how, wanted in tests
        )
    )


@pytest.mark.one_server
async def test_trap_44_one_entry_wakes_a_group_without_pods_and_so_does_one_that_is_retried(
    connect: Connect, raw: redis.Redis, url: str, namespace: str
) -> None:
    [trigger] = of_kind("ScaledObject", SCALING)["billing"]["spec"]["triggers"]
    query, wakes_above = trigger["metadata"]["query"], float(trigger["metadata"]["activationThreshold"])

    async def backlog() -> float:
        surveyor = Surveyor(url, SurveyLimits(10_000.0, 500, 60.0, ()))
        try:
            exporter = Exporter(surveyor, 0.0)
            await exporter.look()
            return matching(query.replace("ev:", f"{namespace}:"), exporter.metrics())
        finally:
            await surveyor.close()

    app, handled = new_app()
    async with connect(app) as bus:
        async with bus.running():
            await bus.publish_many(orders(1))
            await eventually(lambda: handled)
            await eventually(lambda: nothing_left(bus))
        assert await backlog() == 0.0 <= wakes_above
        await bus.publish_many(orders(2))
        assert await backlog() == 1.0 > wakes_above
    failing, begun = ev.App("shop"), asyncio.Event()

    @failing.subscribe(OrderPlaced, group="billing")
    async def bill(_: ev.Event, __: ev.Delivery) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with connect(failing) as bus:
        async with bus.running(grace_s=0.0):
            await begun.wait()
        assert (await bus.backlog("orders", "billing")).retrying == 1
        assert await backlog() == 1.0 > wakes_above


@pytest.mark.parametrize("name", of_kind("ScaledObject", SCALING))
def test_pods_stay_longer_than_a_retry_waits(name: str) -> None:
    spec = of_kind("ScaledObject", SCALING)[name]["spec"]
    assert spec["scaleTargetRef"]["name"] in CONSUMERS and spec["minReplicaCount"] == 0
    app = imported("shop:app", [TOP / "examples" / "own_service"])
    waits = [each.retry.wait_s_max for each in app.subscriptions if each.group == name]
    assert spec["cooldownPeriod"] > max(waits) + app.settings(name).lease.duration_s
    assert spec["fallback"]["replicas"] >= 1 and spec["triggers"][0]["metadata"]["ignoreNullValues"] == "false"


def test_the_page_says_the_numbers_of_the_files() -> None:
    page = (TOP / "docs" / "deploy.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| `?([\w-]+?)`? \| (\d+) \|", page, re.MULTILINE))
    own = CONSUMERS["billing"]["spec"]["template"]["spec"]
    assert said == {
        "preStop": str(container(CONSUMERS["billing"])["lifecycle"]["preStop"]["sleep"]["seconds"]),
        "--grace": f"{DEFAULTS.running.grace_s:g}",
        "terminationGracePeriodSeconds": str(own["terminationGracePeriodSeconds"]),
        "lease": f"{ev.App('x').settings('x').lease.duration_s:g}",
    }
    waits_s = of_kind("ScaledObject", SCALING)["billing"]["spec"]["cooldownPeriod"]
    assert f"`cooldownPeriod` ({waits_s} s)" in page


@pytest.mark.parametrize("name", [name for name in WORKLOADS if name != "redis"])
def test_clients_have_the_password_of_redis_from_a_file_that_is_there(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {each["name"]: each["value"] for each in container(WORKLOADS[name])["env"]}
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    address, file = load_settings().redis.address(), variables["REDIS_PASSWORD_FILE"]
    [mount] = [each for each in container(WORKLOADS[name])["volumeMounts"] if each["name"] == "password"]
    assert address == f"redis://redis:6379/0?password_file={quote(file, '')}"
    assert file == f"{mount['mountPath']}/password"


def test_what_the_files_name_is_there() -> None:
    for file in sorted(KUBERNETES.rglob("kustomization.yaml")):
        declared = yaml.safe_load(file.read_text())
        for resource in declared["resources"]:
            assert (file.parent / resource).exists(), resource
    assert (DEPLOY / "Containerfile").is_file() and documents(KUBERNETES / "base" / "kustomization.yaml") == []
