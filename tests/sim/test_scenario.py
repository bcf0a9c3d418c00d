"""What a scenario may declare, how a file that may not is refused, and how its messages are numbered."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from eventlib.policy import Retry
from sim.declare.faults.errors import Errors
from sim.declare.faults.kill import Kill
from sim.declare.flow import MAX_PATHS, Flow
from sim.declare.loads.poisson import PoissonLoad
from sim.declare.own_handlers import Emitted
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.declare.service_times.lognormal import LognormalTime
from sim.errors import InvalidScenario
from tests.model.small import any_scenario, constant, poisson, scenario, service

ORDERS = """
name: orders
load: {kind: poisson, event: order.placed, rate_per_s: 200, duration_s: 6}
services:
  billing:
    consumes: order.placed
    consumers: 2
    service_time: {kind: lognormal, mean_s: 0.02, cv: 0.5}
    retry: {attempts: 5, wait_s: 0.1}
    emits: [order.paid]
  shipping:
    consumes: order.paid
    service_time: {kind: constant, mean_s: 0.015}
faults:
  - {kind: kill, service: billing, consumer: 1, at_s: 2.0, back_after_s: 1.0}
  - {kind: errors, service: shipping, at_s: 4.0, for_s: 1.0, error_rate: 0.6}
"""
BUILT = Scenario(
    name="orders",
    load=PoissonLoad(kind="poisson", event="order.placed", rate_per_s=200, duration_s=6),
    services={
        "billing": Service(
            consumes="order.placed",
            consumers=2,
            service_time=LognormalTime(kind="lognormal", mean_s=0.02, cv=0.5),
            retry=Retry(attempts=5, wait_s=0.1),
            emits=("order.paid",),
        ),
        "shipping": Service(consumes="order.paid", service_time=constant(0.015)),
    },
    faults=(
        Kill(kind="kill", service="billing", consumer=1, at_s=2.0, back_after_s=1.0),
        Errors(kind="errors", service="shipping", at_s=4.0, for_s=1.0, error_rate=0.6),
    ),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "orders.yaml"


def test_a_file_and_python_declare_the_same(file: Path) -> None:
    file.write_text(ORDERS)
    loaded = Scenario.load(file)
    assert loaded == BUILT
    assert list(loaded.services) == ["billing", "shipping"]
    assert loaded.plan(1).arrivals_s.tobytes() == BUILT.plan(1).arrivals_s.tobytes()


@pytest.mark.parametrize("declared", [BUILT, *(any_scenario(number) for number in range(10))])
def test_a_scenario_is_the_same_after_a_trip_through_a_file(file: Path, declared: Scenario) -> None:
    file.write_text(yaml.safe_dump(declared.model_dump(mode="json", by_alias=True), sort_keys=False))
    assert Scenario.load(file) == declared
    assert Scenario.load(str(file)) == declared


def test_a_byte_order_mark_is_no_part_of_the_file(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + ORDERS.replace("\n", "\r\n").encode())
    assert Scenario.load(file) == BUILT


@pytest.mark.parametrize(
    ("declared", "field"),
    [(BUILT, "name"), (BUILT, "faults"), (BUILT.services["billing"], "consumers"), (BUILT.offered_load, "duration_s")],
)
def test_a_declaration_cannot_be_changed(declared: Any, field: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(declared, field, 1)


def refusal(file: Path) -> str:
    """What is wrong with a file, on one line, without the file's name before it."""
    with pytest.raises(InvalidScenario) as refused:
        Scenario.load(file)
    assert refused.value.where == str(file)
    assert "\n" not in str(refused.value)
    return refused.value.problem


def changed(**fields: Any) -> dict[str, Any]:
    """The orders with other fields: `services__billing__consumers=0` goes down by the double underscores."""
    declared: dict[str, Any] = yaml.safe_load(ORDERS)
    for path, value in fields.items():
        *above, last = path.split("__")
        place = declared
        for name in above:
            place = place[name]
        place[last] = value
    return declared


def killed(*at_s: float, back_after_s: float | None = 1.0, service: str = "billing", consumer: int = 0) -> list[Any]:
    there = {"kind": "kill", "service": service, "consumer": consumer, "back_after_s": back_after_s}
    return [there | {"at_s": one} for one in at_s]


TOKENS = {"kind": "tokens", "base_s": 0.1, "per_token_s": 0.01}
NUMBERS: dict[str, list[Any]] = {
    "load__rate_per_s": [0, -10, float("nan"), float("inf"), "fast", None, [1]],
    "load__duration_s": [0, -1],
    "drain_s": [0, float("nan")],
    "services__billing__consumers": [0, 101, 1.5, "many"],
    "services__billing__concurrency": [0, -1],
    "services__billing__prefetch": [-1],
    "services__billing__error_rate": [-0.1, 1.1, float("nan")],
    "services__billing__lease_s": [0, float("inf")],
    "services__billing__service_time__mean_s": [0, -1],
    "services__billing__service_time__cv": [0],
    "services__billing__retry__attempts": [0, 2.5],
    "services__billing__retry__jitter": ["some"],
}


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in NUMBERS.items() for value in values])
def test_a_number_out_of_range(file: Path, path: str, value: object) -> None:
    """Refused by its place in the file, what it must be, and what it is."""
    file.write_text(yaml.safe_dump(changed(**{path: value})))
    place, _, problem = refusal(file).partition(": ")
    assert place.startswith(path.split("__")[0]) and place.endswith(path.split("__")[-1])
    assert problem.startswith("Input should be") and problem.endswith(
        ", not empty" if value is None else f", not {value!r}"
    )


@pytest.mark.parametrize(
    ("path", "place", "known"),
    [
        ("lod", "lod", "load"),
        ("load__rate", "load.rate", "rate_per_s"),
        ("services__billing__consumer", "services.billing.consumer", "consumers"),
        ("services__billing__retry__atempts", "services.billing.retry.atempts", "attempts"),
        ("services__billing__service_time__sd_s", "services.billing.service_time.sd_s", "mean_s"),
    ],
)
def test_an_unknown_field(file: Path, path: str, place: str, known: str) -> None:
    """A misspelt field would otherwise leave its default in force."""
    file.write_text(yaml.safe_dump(changed(**{path: 1})))
    said = refusal(file)
    assert known in said.partition("unknown field; there are: ")[2].split(", ")
    assert said.startswith(place.partition(".")[0]) and place.rpartition(".")[2] + ":" in said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"services__shipping__consumes": "order.sent"}, ["services.shipping", "nothing sends 'order.sent'", "emit"]),
        ({"services__shipping__emits": ["order.placed"]}, ["loops for ever", "'billing'", "'shipping'", "emits out"]),
        ({"services__billing__emits": ["order.placed", "order.paid"]}, ["loops for ever", "'billing'", "emits out"]),
        ({"services__billing__emits": ["order.paid"] * (MAX_PATHS + 1)}, ["services.billing", f"over {MAX_PATHS}"]),
        ({"faults": killed(1.0, service="biling")}, ["faults", "'biling'", "'billing', 'shipping'"]),
        ({"faults": killed(1.0, consumer=2)}, ["faults", "'billing'", "0 to 1"]),
        ({"faults": killed(1.0, consumer=-1)}, ["faults.0", "consumer", "greater than or equal to 0"]),
        ({"faults": killed(-1.0)}, ["faults.0", "at_s", "greater than or equal to 0"]),
        ({"faults": killed(1.0, 1.5)}, ["faults", "'billing' consumer 0", "killed while it is down"]),
        ({"faults": killed(1.0, 1.0)}, ["faults", "killed while it is down"]),
        ({"faults": killed(3.0, 1.0, back_after_s=None)}, ["faults", "killed while it is down"]),
        ({"faults": [{"kind": "flood", "service": "billing"}]}, ["faults.0", "flood"]),
        ({"services__billing__service_time": TOKENS}, ["services.billing.service_time", "kind 'trace'"]),
        ({"services": {}}, ["services", "at least one"]),
        ({"services": None}, ["services", "name: value", "empty"]),
        ({"services": ["billing"]}, ["services", "name: value", "['billing']"]),
        ({"services__billing": None}, ["services.billing", "name: value", "empty"]),
        ({"load": "fast"}, ["load", "'fast'"]),
        ({"load": None}, ["load", "name: value", "empty"]),
        ({"load": {"event": "order.placed"}}, ["load", "kind"]),
        ({"load__kind": "sinus"}, ["load", "sinus", "constant", "poisson", "trace"]),
        ({"name": 7}, ["name", "string", "7"]),
        ({"name": ""}, ["name", "at least 1 character"]),
        ({"faults": 3}, ["faults", "a list", "3"]),
        ({"services__billing__emits": "order.paid"}, ["services.billing.emits", "a list", "'order.paid'"]),
        ({"services__billing__retry": 5}, ["services.billing.retry", "name: value", "5"]),
    ],
)  # fmt: skip
def test_a_scenario_that_cannot_run_is_refused(file: Path, fields: dict[str, Any], said: list[str]) -> None:
    file.write_text(yaml.safe_dump(changed(**fields)))
    problem = refusal(file)
    assert [word for word in said if word not in problem] == [], problem


@pytest.mark.parametrize("name", ["kill", "tokens", "services", "a.b"])
def test_a_place_is_named_whatever_the_service_is_called(file: Path, name: str) -> None:
    broken = {"consumes": "order.placed", "consumers": 0, "service_time": {"kind": "constant", "mean_s": 0.01}}
    file.write_text(yaml.safe_dump(changed(services={name: broken}, faults=[])))
    assert refusal(file).startswith(f"services.{name}.consumers: ")


@pytest.mark.parametrize("missing", ["name", "load", "services"])
def test_a_field_that_is_missing(file: Path, missing: str) -> None:
    file.write_text(yaml.safe_dump({name: value for name, value in changed().items() if name != missing}))
    assert missing in refusal(file)
    assert "missing" in refusal(file) or "required" in refusal(file)


def test_every_problem_is_named_at_once(file: Path) -> None:
    file.write_text(yaml.safe_dump(changed(load__rate_per_s=-1, services__billing__consumers=0, drain_s=-2)))
    said = refusal(file)
    assert [word for word in ("rate_per_s", "consumers", "drain_s") if word not in said] == []


def test_a_consumer_may_be_killed_again_when_it_is_back(file: Path) -> None:
    faults = killed(1.0, 2.1) + killed(1.5, consumer=1)
    file.write_text(yaml.safe_dump(changed(faults=faults)))
    assert len(Scenario.load(file).faults) == 3


@pytest.mark.parametrize("name", ["bil ling", "bil:ling", "{billing}", "", "böhm"])
def test_a_service_that_redis_could_not_name(file: Path, name: str) -> None:
    """It becomes the name of a consumer group, in keys that braces, colons and spaces would break."""
    services = {name: {"consumes": "order.placed", "service_time": {"kind": "constant", "mean_s": 0.01}}}
    file.write_text(yaml.safe_dump(changed(services=services, faults=[])))
    assert repr(name) in refusal(file)


@pytest.mark.parametrize("name", ["order placed", "order:placed", "", "OrderPlaced", "order-placed", "7up"])
def test_an_event_type_that_cannot_be_on_the_wire(file: Path, name: str) -> None:
    """What the live world could not send is refused before the simulated one runs it."""
    file.write_text(yaml.safe_dump(changed(load__event=name, services__billing__consumes=name)))
    assert repr(name) in refusal(file)


@pytest.mark.parametrize("content", [b"", b"\n", b"# nothing\n", b"- 1\n- 2\n", b"orders\n", b"7\n", b"null\n"])
def test_a_file_without_a_scenario(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert refusal(file) == "holds no scenario; it needs name, load and services"


@pytest.mark.parametrize(
    "content",
    [
        b"load: [1,\nname: }",
        b"name:\n\t- tab",
        b"name: a\x00b",
        b"\xff\xfe\x00",
        b"!!python/object:os.system {}",
        b"name: x\n---\nname: y\n",
    ],
)
def test_a_file_that_is_no_yaml(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert refusal(file).startswith("is no YAML")


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.yaml") == "cannot be read (No such file or directory); name a scenario's YAML file"
    assert refusal(tmp_path) == "cannot be read (Is a directory); name a scenario's YAML file"


# Flow


def test_a_chain_keeps_the_number() -> None:
    """Message 7 of the load is message 7 everywhere."""
    assert BUILT.flow == Flow(
        paths={"order.placed": 1, "order.paid": 1},
        means={"order.placed": 1.0, "order.paid": 1.0},
        consumers={"order.placed": ["billing"], "order.paid": ["shipping"]},
        emitted_by={"billing": [Emitted("order.paid", first=0, slots=1)], "shipping": []},
        seen=frozenset(),
        drawn=frozenset(),
    )
    assert BUILT.flow.emitted("billing", "order.placed", 7) == [("order.paid", 7)]


def diamond() -> Scenario:
    """From the load to `joined` there are three paths: over left, and over right twice; then one on to `last`."""
    return scenario(
        poisson(50.0, 2.0),
        join=service(consumes="joined", emits=("last",)),  # declared before what feeds it
        split=service(emits=("left", "right")),
        left=service(consumes="left", emits=("joined",)),
        right=service(consumes="right", emits=("joined", "joined")),
        end=service(consumes="last"),
    )


def test_paths_multiply_messages() -> None:
    assert diamond().flow.paths == {"placed": 1, "left": 1, "right": 1, "joined": 3, "last": 3}


def test_messages_of_a_diamond_have_numbers_of_their_own() -> None:
    """Row i of the load sets off messages 3i, 3i + 1 and 3i + 2, each once."""
    flow = diamond().flow
    for index in range(5):
        joined = flow.emitted("left", "left", index) + flow.emitted("right", "right", index)
        assert sorted(number for _, number in joined) == [3 * index, 3 * index + 1, 3 * index + 2]
        last = [one for _, number in joined for one in flow.emitted("join", "joined", number)]
        assert sorted(last) == [("last", 3 * index + way) for way in range(3)]


def test_a_plan_has_a_service_time_and_failure_draws_for_each_message() -> None:
    declared = diamond()
    plan = declared.plan(0)
    sent = len(plan.arrivals_s)
    assert {name: len(times) for name, times in plan.service_s.items()} == {
        "join": 3 * sent,
        "split": sent,
        "left": sent,
        "right": sent,
        "end": 3 * sent,
    }
    assert plan.failure_draws["join"].shape == (3 * sent, declared.services["join"].retry.attempts)


def test_an_event_without_a_consumer_is_allowed() -> None:
    assert scenario(poisson(1.0, 1.0), desk=service(emits=("archived",))).flow.paths["archived"] == 1


def test_where_error_windows_overlap_the_later_one_decides() -> None:
    """Before, between and after: the service's own rate; where two windows overlap, the later declared."""
    windows = [
        Errors(kind="errors", service="desk", at_s=1.0, for_s=2.0, error_rate=1.0),
        Errors(kind="errors", service="desk", at_s=2.0, for_s=0.5, error_rate=0.0),
    ]
    plan = scenario(poisson(50.0, 2.0), *windows, desk=service(error_rate=0.0)).plan(0)
    times_s = [0.0, 0.99, 1.0, 1.99, 2.0, 2.49, 2.5, 2.99, 3.0]
    fails = [plan.fails("desk", 0, 1, at_s) for at_s in times_s]
    assert fails == [False, False, True, True, False, False, True, True, False]


@pytest.mark.parametrize(("rate_per_s", "attempts"), [(1e12, 5), (2000.0, 10_000)])
def test_a_plan_that_is_too_large_for_memory_is_refused(rate_per_s: float, attempts: int) -> None:
    """Refused before it is drawn; the message says what to lower."""
    desk = {"consumes": "asked", "service_time": {"kind": "constant", "mean_s": 0.01}, "retry": {"attempts": attempts}}
    load = {"kind": "poisson", "event": "asked", "rate_per_s": rate_per_s, "duration_s": 10.0}
    huge = Scenario.model_validate({"name": "huge", "load": load, "services": {"desk": desk}})
    for draw in (lambda: huge.plan(0), lambda: huge.check_size(1)):
        with pytest.raises(InvalidScenario, match=r"services\.desk: .*lower the load's rate_per_s"):
            draw()
