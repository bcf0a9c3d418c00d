"""Handlers of the user's own run live: what they do is seen, what is wrong with them is said in one line."""

import asyncio
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from eventlib import Event
from eventlib.policy import Retry
from sim.declare.loads import Load
from sim.declare.loads.constant import ConstantLoad
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.errors import InvalidScenario, LiveRunFailed, SimError
from sim.evidence.checks import check
from sim.evidence.history import History
from sim.evidence.recovery import left_over
from sim.infer.own_services import learn_services, learned_of
from sim.worlds import describing
from sim.worlds.describing import described
from sim.worlds.live import run_live
from sim.worlds.messages import Mark, Numbered
from sim.worlds.own_handlers import WatchedBus
from sim.worlds.payloads import payload_of
from sim.worlds.process_pool import process_pool
from sim.worlds.simulated import simulate
from sim.worlds.worker import Job
from tests.live.live_runs import OF_THE_MACHINE, no_process_left, problems
from tests.model.small import constant, kill, rows_of, scenario, steady
from tests.own_app import Paid, Placed, app

TOP = Path(__file__).parents[2]
MESSAGES = 60


def own(group: str, consumes: str = "own.placed", payload: str | None = "tests.own_app:placed", **more: Any) -> Service:
    fields = {"consumes": consumes, "app": "tests.own_app:app", "group": group, "payload": payload, "folder": TOP}
    return Service.model_validate(fields | more)


def alone(service: Service) -> Scenario:
    fields = {"size": [1, 2]} if service.follows else {}
    load = ConstantLoad.model_validate(steady(100.0, 0.1, "own.placed").model_dump() | {"fields": fields})
    return scenario(load, desk=service)


SHOP = scenario(
    steady(100.0, MESSAGES / 100, "own.placed"),
    kill("computing", 0.3, 0.1),
    computing=own("compute", consumers=2),
    waiting=own("wait", "own.paid", None),
    audit=Service(consumes="own.paid", concurrency=9, service_time=constant(0.001)),
)


@pytest.fixture(scope="module")
def runs(url: str) -> tuple[Scenario, History]:
    """The shop, learned in a second, and then live."""

    async def both() -> tuple[Scenario, History]:
        learned = await learn_services(SHOP, seconds=1.0, url=url)
        return learned, await run_live(learned, [0], repeats=1, url=url)

    with no_process_left():
        return asyncio.run(both())


def rejected(number: int) -> bool:
    return number % 7 == 6 and number % 10 != 9


def test_every_message_is_found_by_its_number(runs: tuple[Scenario, History]) -> None:
    """Although no field of the events says it: handled and dead are those that the handlers say, what is left apart."""
    _, history = runs
    handled = {int(row["message"]) for row in rows_of(history, "handled", "computing")}
    dead = {int(row["message"]): int(row["attempt"]) for row in rows_of(history, "dead", "computing")}
    failing = {number for number in range(MESSAGES) if number % 10 == 9}
    to_handle = {number for number in range(MESSAGES) if number not in failing and not rejected(number)}
    to_die = failing | {number for number in range(MESSAGES) if rejected(number)}
    assert handled <= to_handle and set(dead) <= to_die
    (killed,) = rows_of(history, "killed", "computing")
    started = rows_of(history, "started", "computing")
    at_work = started[(started["consumer"] == killed["consumer"]) & (started["t_s"] <= killed["t_s"])]["message"]
    # What the killed consumer settled last, it may not have had the time to note.
    missing = (to_handle | to_die) - handled - set(dead) - set(at_work[-4:].tolist())
    assert len(missing) <= left_over(history.runs[0].left["computing"])
    assert {dead[number] for number in failing & set(dead)} <= {2, 3}, (
        "a third one, if its consumer was killed in its second"
    )


def test_what_they_publish_is_seen_with_the_time_that_set_it_off(runs: tuple[Scenario, History]) -> None:
    """An order pays once, every third one twice; a declared service reads the same events beside the App's own."""
    declared, history = runs
    (emitted,) = declared.flow.emitted_by["computing"]
    handled = {int(row["message"]) for row in rows_of(history, "handled", "computing")}
    for service in ("waiting", "audit"):
        paid = rows_of(history, "handled", service)
        causes = declared.flow.causes(emitted, "own.placed", paid["message"])
        expected = [number for number in sorted(handled) for _ in range(2 if number % 3 == 0 else 1)]
        assert sorted(set(zip(causes.tolist(), paid["message"].tolist(), strict=True))) == sorted(
            (number, declared.flow.number(emitted, "own.placed", number, place))
            for place, number in ((i and expected[i] == expected[i - 1], expected[i]) for i in range(len(expected)))
        )
        assert np.allclose(paid["intended_s"], causes / 100.0)


def test_nothing_is_lost_though_a_consumer_is_killed(runs: tuple[Scenario, History]) -> None:
    _, history = runs
    verdicts = {one.name: one.verdict for one in check(history)}
    assert {name for name, verdict in verdicts.items() if verdict != "true"} <= OF_THE_MACHINE
    assert {"loop_free", "no_exit", "no_task_left"} <= set(verdicts)


def test_the_app_says_how_its_consumers_work(runs: tuple[Scenario, History]) -> None:
    learned, _ = runs
    one = learned.services["computing"]
    assert (one.concurrency, one.prefetch, one.lease_s, one.consumers) == (4, 1, 2.0, 2)
    assert one.retry == Retry(attempts=2, wait_s=0.0)
    assert one.wire is not None and (one.wire.version, one.wire.stream) == (2, "own-orders")


def test_what_handlers_do_is_learned(runs: tuple[Scenario, History]) -> None:
    """One computes for 4 ms, the other one waits for 10 ms."""
    learned, _ = runs
    computing, waiting = (learned.services[name] for name in ("computing", "waiting"))
    time = computing.service_time
    assert time.kind == "empirical" and waiting.service_time.kind == "empirical"
    assert 0.0039 < np.median(time.cpu_s) < 0.006
    assert np.mean(waiting.service_time.values_s) > 0.01 > 5 * np.median(waiting.service_time.cpu_s)
    assert computing.own and computing.own.learned and waiting.own and waiting.own.learned
    assert computing.error_rate == pytest.approx(0.1, abs=0.05)
    assert computing.own.learned.retry_error_rate == 1.0
    assert computing.own.learned.reject_rate == pytest.approx(0.13, abs=0.06)
    assert computing.own.learned.emits["own.paid"].mean == pytest.approx(4 / 3, abs=0.12)
    assert waiting.own.learned.emits == {} and waiting.error_rate == 0.0


def test_an_app_with_a_circuit_breaker_is_scaled_in_both_worlds(url: str) -> None:
    """Many events come at once, and take seconds, as circuits are open most of the time.

    The model has what this run shows of the handlers, and the App's own breaker.
    """
    rule = {"min": 1, "max": 2, "backlog_per_consumer": 10, "every_s": 0.3, "down_after_s": 0.5}
    load = {"kind": "spike", "event": "own.placed", "rate_per_s": 5, "peak_rate_per_s": 600, "at_s": 0.2, "for_s": 0.3}
    spike = TypeAdapter(Load).validate_python(load | {"duration_s": 2.0})
    declared = scenario(spike, desk=own("guarded", autoscale=rule))
    with no_process_left():
        live = asyncio.run(run_live(declared, [0], repeats=1, url=url))
    seen = live.scenario.services["desk"]
    assert seen.circuit_breaker == app.settings("guarded").circuit_breaker
    learned = learned_of(seen, live, "desk")
    assert learned.autoscale == seen.autoscale
    simulated = simulate(declared.with_services({"desk": learned}), [0])
    for history in (live, simulated):
        assert problems(history) == {}, history.world
        scaled = rows_of(history, "scaled")["value"].tolist()
        assert scaled[:2] == [1.0, 2.0], history.world
        assert set(rows_of(history, "handled")["consumer"]) == {0, 1}, history.world
        # Half of the first attempts fail, so circuits open again and again; in the end all is handled.
        assert rows_of(history, "circuit_opened").size and rows_of(history, "circuit_closed").size, history.world


def test_the_load_says_what_own_events_say_and_handlers_follow_it(url: str) -> None:
    """A declared service takes as long as a field says too. What was learned holds for other numbers in the field."""
    load = steady(20.0, 3.0, "own.placed").model_dump() | {"fields": {"size": [0.1, 0.5]}}
    linear = {"kind": "linear", "base_s": 0.0, "per_unit_s": 1.0, "field": "size"}
    services = {
        "desk": own("sized", follows="size"),
        "audit": Service.model_validate({"consumes": "own.placed", "concurrency": 50, "service_time": linear}),
    }
    declared = Scenario.model_validate(
        {"name": "sized", "load": load, "services": {n: s.model_dump() for n, s in services.items()}}
    )
    live, sizes = asyncio.run(run_live(declared, [0], repeats=1, url=url)), declared.plan(0).fields["size"]
    for name in services:
        started, handled = (np.sort(rows_of(live, kind, name), order="message") for kind in ("started", "handled"))
        took_s = handled["t_s"] - started["t_s"]
        assert took_s.size == 60 and np.all(took_s >= sizes - 0.001)
        assert np.median(took_s[sizes == 0.1]) < 0.3, name
    learned = learned_of(services["desk"], live, "desk")
    assert learned.own and learned.own.learned and learned.own.learned.per_unit_s == pytest.approx(1.0, abs=0.3)
    larger = declared.model_dump(by_alias=True)
    larger["load"]["fields"] = {"size": 2.0}
    larger["services"] = {"desk": learned.model_dump()}
    simulated = simulate(Scenario.model_validate(larger), [0])
    lag_s = rows_of(simulated, "handled")["t_s"] - rows_of(simulated, "handled")["intended_s"]
    assert np.median(lag_s) == pytest.approx(2.0, abs=0.8)


def test_a_batch_handler_is_learned_and_batches_in_both_worlds(url: str) -> None:
    """Five events come at once. Each call takes what is there, and each event of it fails and pays by itself."""
    load = {"kind": "batching", "event": "own.placed", "of": steady(50.0, 1.2, "own.placed"), "size": 5, "wait_s": 1.0}
    audit = Service(consumes="own.paid", concurrency=9, service_time=constant(0.0))
    declared = scenario(TypeAdapter(Load).validate_python(load), desk=own("bulk"), audit=audit)

    async def both() -> tuple[Scenario, History]:
        learned = await learn_services(declared, seconds=1.0, url=url)
        return learned, await run_live(learned, [0], repeats=1, url=url)

    learned, live = asyncio.run(both())
    desk = learned.services["desk"]
    assert desk.batch is not None and (desk.batch.size, desk.batch.wait_s) == (8, 0.0)
    assert 0.03 < desk.batch.per_message_s < 0.15  # it publishes for each, too
    assert desk.service_time.kind == "empirical" and 0.12 < np.median(desk.service_time.values_s) < 0.5
    simulated = simulate(learned, [0])
    for history in (live, simulated):
        assert problems(history) == {}, history.world
        sizes = rows_of(history, "batch", "desk")["value"]
        assert sizes.max() > 1 and sizes.sum() == rows_of(history, "started", "desk").size, history.world
        assert np.unique(rows_of(history, "handled", "audit")["message"]).size == 60, history.world
    assert rows_of(live, "retried", "desk").size == 6
    assert live.scenario.services["desk"] == desk, "what was learned holds for the run"


BAD_MODULES = {
    "raising": "raise ValueError('not today')\n",
    "exiting": "import sys\nprint('leaving')\nsys.exit(4)\n",
    "ending": "import os\nos._exit(4)\n",
    "hanging": "import threading\nthreading.Event().wait()\n",
    "lacking": "import no_such_library\n",
    "optional": "raise ModuleNotFoundError('install shop[extra]')\n",
    "wrong": "def f(:\n",
}
SEEN = {"digest": "0", "import_s": 0.1, "learned": {"attempts": 50}}
BAD: list[tuple[Service, str]] = [
    (own("x", app="nowhere:app"), "services.desk.app: there is no module 'nowhere' in "),
    (own("x", app="tests.own_app:nothing"), "services.desk.app: tests.own_app has no 'nothing'"),
    (own("x", app="tests.own_app:not_an_app"), "tests.own_app:not_an_app is a int, not an App"),
    (own("x", app="raising:app"), "importing raising raises ValueError: not today (raising.py, line 1)"),
    (own("x", app="exiting:app"), "importing exiting ends the program (exiting.py, line 3)"),
    (own("x", app="ending:app"), "importing ending:app ended its process"),
    (own("x", app="hanging:app"), "importing hanging:app takes over 2 s"),
    (own("x", app="lacking:app"), "lacking needs no_such_library, which is not installed"),
    (own("x", app="optional:app"), "optional raises ModuleNotFoundError: install shop[extra] (optional.py, line 1)"),
    (own("x", app="wrong:app"), "importing wrong raises SyntaxError: "),
    (own("absent"), "has no group 'absent'; it has both, bulk, compute, dying, "),
    (own("wait"), "group 'wait' has no handler of 'own.placed'; it handles own.paid"),
    (own("bulk", follows="size"), "services.desk.follows: batch handlers follow no field yet; leave it out"),
    (own("ordered"), "'ordered' is ordered by 'number', which is not modelled yet"),
    (
        own("compute", payload="tests.own_app:broken"),
        "payload: tests.own_app:broken raised ValueError for message 0: no",
    ),
    (own("compute", payload="tests.own_app:other"), "returned a Paid; return a Placed, which group 'compute' handles"),
    (own("compute", payload="tests.own_app:not_an_app"), "tests.own_app:not_an_app is no function"),
    (own("compute", payload=None), "Placed has no defaults or examples for number; name a function as payload"),
    (own("compute", payload="none.jsonl"), "none.jsonl cannot be read (No such file or directory)"),
    (own("compute", payload="paid.jsonl"), "paid.jsonl, line 2: is no 'own.placed'"),
    (own("compute", payload="bad.jsonl"), "bad.jsonl, line 1: "),
    (own("compute", payload="empty.jsonl"), "empty.jsonl has no events"),
    (
        own("compute", own=SEEN),
        "has changed since it was learned (concurrency, prefetch, lease_s, retry, its code); learn it again",
    ),
]
ENVELOPE = (
    '{"specversion":"1.0","type":"%s","eventversion":%d,"source":"s","datacontenttype":"application/json",'
    '"id":"i","time":"2026-01-01T00:00:00Z","data":{"number":5}}\n'
)


def test_an_app_is_described_where_the_load_sends_nothing(tmp_path: Path) -> None:
    """As few seeds of a slow load do."""
    declared = alone(own("sized", follows="size"))
    rare = declared.offered_load.model_copy(update={"rate_per_s": 0.001})
    file = tmp_path / "desk.json"
    describing.describe(
        Job("describer", "", 0, "", "", str(file), "desk"), declared.model_copy(update={"offered_load": rare})
    )
    assert json.loads(file.read_text())["concurrency"] == app.settings("sized").concurrency


async def test_what_is_wrong_with_an_app_or_its_payload_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in BAD_MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "paid.jsonl").write_text(ENVELOPE % ("own.placed", 1) + ENVELOPE % ("own.paid", 1))
    (tmp_path / "bad.jsonl").write_text("{\n")
    (tmp_path / "empty.jsonl").write_text("\n")
    with no_process_left():
        async with process_pool() as pool:
            for service, said in BAD:
                monkeypatch.setattr(describing, "IMPORT_S", 2.0 if "hanging" in str(service.app) else 20.0)
                there = service.model_copy(update={"folder": tmp_path})
                with pytest.raises((InvalidScenario, LiveRunFailed)) as raised:
                    await described(alone(there), pool, tmp_path)
                assert said in str(raised.value)
                assert isinstance(raised.value, InvalidScenario)


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (own("dying"), "ended although it was not told to, with status 3"),
        (
            own("compute", payload="tests.own_app:later_broken"),
            "tests.own_app:later_broken raised ValueError for message 3",
        ),
    ],
)
async def test_what_ends_a_run_is_said(url: str, service: Service, said: str) -> None:
    with no_process_left(), pytest.raises(LiveRunFailed, match=said):
        await run_live(alone(service), [0], repeats=1, url=url)


async def test_handlers_that_block_exit_or_leak_are_told(url: str, tmp_path: Path) -> None:
    """The run goes on. What it sends was recorded, by writers of an old version too, and is sent again and again."""
    lines = [(ENVELOPE % ("own.placed", 1 + number % 2)).replace(":5}", f":{number}}}") for number in range(5)]
    (tmp_path / "orders.jsonl").write_text("".join(lines))
    service = own("late", payload="orders.jsonl").model_copy(update={"folder": tmp_path})
    history = await run_live(alone(service), [0], repeats=1, url=url)
    found = {one.name: one for one in check(history)}
    [longest_s] = re.findall(r"the longest time was ([\d.]+) s", found["loop_free"].detail)
    assert found["loop_free"].verdict == "false" and float(longest_s) >= 1.1  # longer, where the machine stands still
    assert found["no_exit"].verdict == "false" and found["no_exit"].detail == "4 attempts did; desk: 4"
    assert found["no_task_left"].verdict == "false" and "desk in run 0 (seed 0): 2" in found["no_task_left"].detail
    assert {int(row["message"]) for row in rows_of(history, "dead", "desk")} == {1, 6}
    assert {int(row["message"]) for row in rows_of(history, "handled", "desk")} == {0, 2, 3, 4, 5, 7, 8, 9}


def test_each_seed_begins_at_another_place_of_recorded_events(tmp_path: Path) -> None:
    """Or what was learned, with a seed of its own, would always be of the first ones."""
    lines = [(ENVELOPE % ("own.placed", 1)).replace(":5}", f":{number}}}") for number in range(100)]
    (tmp_path / "orders.jsonl").write_text("".join(lines))
    service = own("compute", payload=str(tmp_path / "orders.jsonl"))
    firsts = []
    for seed in range(5):
        make = payload_of(alone(service), "own.placed", seed)
        assert make is not None
        numbers = [int(make(index).model_dump()["number"]) for index in range(100)]
        assert numbers == [(numbers[0] + index) % 100 for index in range(100)]
        firsts.append(numbers[0])
    assert firsts[0] == 0 and min(np.diff(np.sort(firsts))) > 10


class Published:
    """A bus that takes everything, and a recorder of what is noted."""

    def __init__(self) -> None:
        self.options: list[dict[str, Any]] = []
        self.noted: list[tuple[str, str, int]] = []
        self.error: SimError | None = None

    async def publish(self, event: Event, **options: Any) -> str:
        self.options.append(options)
        return "id"

    def add(self, kind: str, event: str, message: Numbered) -> None:
        self.noted.append((kind, event, message.index))

    def fail(self, error: SimError) -> None:
        self.error = error


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([Placed(number=1)], "its handlers publish 'own.placed', which the load, a declared service or "),
        ([Paid(number=1)] * 32, "its handlers publish over 31 'own.paid' for one message"),
    ],
)
async def test_what_no_scenario_can_number_ends_the_run(events: list[Event], said: str) -> None:
    """A loop, or more events of one message than there are numbers for."""
    place: Any = Published()
    delivery: Any = SimpleNamespace(bus=place, envelope=None)
    declared = scenario(steady(1.0, 1.0, "own.placed"), desk=own("compute"), next=own("wait", "own.paid", None))
    bus = WatchedBus(delivery, declared, "desk", Mark(7, 0.5), place)
    with pytest.raises(LiveRunFailed, match=said):
        await bus.publish_many(events)
    assert place.error is not None and said in str(place.error)


async def test_a_mark_goes_beside_a_trace_state_of_the_handler() -> None:
    place: Any = Published()
    delivery: Any = SimpleNamespace(bus=place, envelope=None)
    declared = scenario(steady(1.0, 1.0, "own.placed"), desk=own("compute"), next=own("wait", "own.paid", None))
    bus = WatchedBus(delivery, declared, "desk", Mark(7, 0.1), place)
    await bus.publish(Paid(number=1), id="mine", traceparent=f"00-{'a' * 32}-{'b' * 16}-01", tracestate="vendor=x")
    (options,) = place.options
    (number,) = {index for _, _, index in place.noted}
    assert options == {
        "id": "mine",
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        "tracestate": f"workbench={number}:0.1,vendor=x",
    }
    assert [kind for kind, *_ in place.noted] == ["sent", "published"]


def test_what_the_load_says_of_an_event_needs_no_example() -> None:
    made = payload_of(alone(own("compute", payload=None)), "own.placed", 0, {"number": np.array([7.0, 8.0])})
    assert made is not None and [made(index).model_dump()["number"] for index in (0, 1)] == [7, 8]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("nothing", r"load\.fields\.nothing: Placed has no field 'nothing'; there are: number, size"),
        ("number", r"load\.fields\.number: Placed does not take 0\.5 \(.*\); whole: true rounds it"),
    ],
)
def test_a_field_that_the_own_events_do_not_take_is_refused(field: str, said: str) -> None:
    def first() -> Event:
        made = payload_of(alone(own("compute")), "own.placed", 0, {field: np.array([0.5])})
        assert made is not None
        return made(0)

    with pytest.raises(InvalidScenario, match=said):
        first()
