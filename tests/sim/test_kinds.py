"""Every kind of load, service time and fault is in its registry and puts itself into words."""

import importlib
import inspect
import pkgutil
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from sim.declare import faults, loads, service_times
from sim.declare.declared import Declared, FilePlaces, kind_name, kinds_in
from sim.declare.faults.errors import Errors
from sim.declare.faults.kind import ErrorWindow, Mark
from sim.declare.loads.trace import TraceLoad
from sim.declare.payload_fields import PayloadField
from sim.declare.scenario import Scenario
from sim.declare.service_times.empirical import EmpiricalTime, Histogram
from sim.declare.service_times.gamma import GammaTime
from sim.declare.service_times.pareto import ParetoTime
from sim.declare.service_times.tokens import TokenTime
from sim.declare.sizes import MessageSize
from sim.errors import InvalidScenario
from tests.model.small import constant, exponential, fault, kill, lognormal, poisson, scenario, service, steady

REGISTRIES: list[tuple[ModuleType, Any]] = [
    (loads, loads.Load),
    (service_times, service_times.ServiceTime),
    (faults, faults.Fault),
]
ERRORS = Errors(kind="errors", service="shipping", at_s=4.0, for_s=1.0, error_rate=0.6)
SHOP = scenario(
    poisson(200.0, 6.0),
    kill("billing", 2.0, 1.0),
    ERRORS,
    billing=service(emits=("paid",)),
    shipping=service(consumes="paid", error_rate=0.01),
)


def trace(**fields: object) -> TraceLoad:
    return TraceLoad.model_validate({"kind": "trace", "event": "asked", "file": "data/calls.csv"} | fields)


@pytest.mark.parametrize(("package", "union"), REGISTRIES)
def test_a_registry_lists_every_kind_of_its_package(package: ModuleType, union: Any) -> None:
    """A module whose class is not listed would declare a kind that no scenario can have."""
    modules = [
        importlib.import_module(f"{package.__name__}.{one.name}") for one in pkgutil.iter_modules(package.__path__)
    ]
    defined = {
        found
        for module in modules
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, Declared) and "kind" in found.model_fields and not inspect.isabstract(found)
        if found.__module__ == module.__name__
    }
    assert defined == set(kinds_in(union))
    assert len({kind_name(kind) for kind in defined}) == len(defined)


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (steady(200.0, 6.0), "200 a second for 6 s, evenly spaced"),
        (poisson(0.5, 0.25), "0.5 a second for 0.25 s, at random (Poisson)"),
        (trace(), "the recorded trace calls.csv, at its own speed"),
        (trace(time_scale=0.04), "the recorded trace calls.csv, at 25 times its speed"),
        (
            trace(from_s=180, for_s=240, time_scale=0.04),
            "the recorded trace calls.csv, 240 s of it from 180 s on, at 25 times its speed",
        ),
    ],
)
def test_a_load_in_words(load: loads.Load, words: str) -> None:
    assert load.in_words() == words


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (constant(0.015), "15 ms, always"),
        (exponential(2.0), "2 s on average, exponential"),
        (lognormal(0.02, 0.5), "20 ms on average, lognormal, CV 0.5"),
        (EmpiricalTime(kind="empirical", values_s=(0.01, 0.03)), "20 ms on average, drawn from 2 values"),
        (TokenTime(kind="tokens", base_s=0.2, per_token_s=0.03), "200 ms and 30 ms a token, of recorded time"),
        (GammaTime(kind="gamma", mean_s=0.02, cv=0.5), "20 ms on average, gamma, CV 0.5"),
        (
            ParetoTime(kind="pareto", shortest_s=1.0, longest_s=4.0, shape=1.0),
            "1.85 s on average, 1 s to 4 s, Pareto, shape 1",
        ),
        (
            EmpiricalTime(kind="empirical", histogram=Histogram(edges_s=(0.0, 0.01, 0.03), counts=(1, 3))),
            "16.2 ms on average, drawn from a histogram of 2 bins",
        ),
    ],
)
def test_a_service_time_in_words(time: service_times.ServiceTime, words: str) -> None:
    assert time.in_words() == words


@pytest.mark.parametrize(
    ("declared", "words", "mark"),
    [
        (
            kill("billing", 2.0, 1.0),
            "At 2 s, consumer 0 of billing is killed without warning and is replaced 1 s later.",
            Mark("billing 0 killed", 2.0, 3.0),
        ),
        (
            kill("billing", 0.5, None, consumer=3),
            "At 0.5 s, consumer 3 of billing is killed without warning and is not replaced.",
            Mark("billing 3 killed", 0.5, inf),
        ),
        (
            ERRORS,
            "From 4 s to 5 s, 60 % of the attempts at shipping fail instead of 1 %.",
            Mark("shipping fails 60%", 4.0, 5.0),
        ),
        (
            fault("pause", service="billing", at_s=1.0, for_s=0.5),
            "At 1 s, consumer 0 of billing stands still for 0.5 s.",
            Mark("billing 0 paused", 1.0, 1.5),
        ),
        (
            fault("outage", service="billing", at_s=2.0, back_after_s=1.0),
            "At 2 s, the consumer of billing is killed without warning and is replaced 1 s later.",
            Mark("billing out", 2.0, 3.0),
        ),
        (
            fault("outage", service="billing", at_s=2.0),
            "At 2 s, the consumer of billing is killed without warning and is not replaced.",
            Mark("billing out", 2.0, inf),
        ),
        (
            fault("outage", service="billing", at_s=2.0, back_after_s=1.0, how="pause"),
            "At 2 s, the consumer of billing stands still for 1 s.",
            Mark("billing out", 2.0, 3.0),
        ),
        (
            fault("slow", service="shipping", at_s=1.0, for_s=2.0, factor=3),
            "From 1 s to 3 s, attempts at shipping take 3 times as long.",
            Mark("shipping 3x slower", 1.0, 3.0),
        ),
        (
            fault("poison", service="billing", share=0.02),
            "From 0 s on, 2 % of the events always fail at billing.",
            Mark("billing poisoned", 0.0, inf),
        ),
        (
            fault("poison", service="billing", at_s=1.0, for_s=2.0, messages=[7], how="kill"),
            "From 1 s to 3 s, event 7 always kills the consumers of billing.",
            Mark("billing poisoned", 1.0, 3.0),
        ),
        (
            fault("server_away", at_s=1.0, for_s=2.0),
            "From 1 s to 3 s, no process reaches the server: connections break and are refused.",
            Mark("server away", 1.0, 3.0),
        ),
        (
            fault("server_restart", at_s=1.0, back_after_s=0.5),
            "At 1 s, the server is stopped; 0.5 s later it starts again, with its data.",
            Mark("server restarts", 1.0, 1.5),
        ),
        (
            fault("server_restart", at_s=1.0, with_data=False),
            "At 1 s, the server is stopped; 0 s later it starts again, without its data: what it held is lost.",
            Mark("server loses all", 1.0, 1.0),
        ),
        (
            fault("server_full", at_s=1.0, for_s=2.0),
            "From 1 s to 3 s, the server has no memory left and refuses what would take some.",
            Mark("server full", 1.0, 3.0),
        ),
        (
            fault("reset", at_s=1.0),
            "At 1 s, all connections to the server break.",
            Mark("connections reset", 1.0, 1.0),
        ),
        (
            fault("black_hole", at_s=1.0, for_s=2.0),
            "From 1 s to 3 s, nothing passes between the processes and the server; connections stay open.",
            Mark("black hole", 1.0, 3.0),
        ),
        (
            fault("latency", at_s=1.0, for_s=2.0, added_s=0.02),
            "From 1 s to 3 s, the way to the server takes 20 ms longer, and so does the way back.",
            Mark("20 ms latency", 1.0, 3.0),
        ),
        (
            fault("bandwidth", at_s=1.0, for_s=2.0, bytes_per_s=50_000),
            "From 1 s to 3 s, each connection to the server passes 50 kB a second on.",
            Mark("50 kB/s", 1.0, 3.0),
        ),
        (
            fault("lost_replies", at_s=1.0, for_s=2.0),
            "From 1 s to 3 s, the server does what it is asked and its replies are lost; then connections break.",
            Mark("replies lost", 1.0, 3.0),
        ),
        (
            fault("random", every_s=2.0),
            "From 0 s on, something goes wrong each 2 s on average.",
            Mark("random faults", 0.0, inf),
        ),
    ],
)
def test_a_fault_in_words_and_in_a_figure(declared: faults.Fault, words: str, mark: Mark) -> None:
    assert declared.in_words(SHOP) == words
    assert declared.mark() == mark


def test_only_a_fault_of_the_error_rate_has_windows_of_it() -> None:
    """And for its own service alone."""
    assert SHOP.plan(0).error_windows == {"billing": [], "shipping": [ErrorWindow(4.0, 5.0, 0.6)]}


def test_a_trace_is_marked_as_sampled_only_if_its_sample_is_used() -> None:
    assert not steady(1.0, 1.0).sampled
    assert not poisson(1.0, 1.0).sampled
    assert not trace().sampled
    assert not trace(sample="data/sample.csv").sampled
    assert trace(sample="data/calls.csv").sampled


def test_files_are_looked_up_only_where_a_scenario_file_says_so(tmp_path: Path) -> None:
    """A trace that is declared in Python, or is read from a history, keeps its own path."""
    declared = {"kind": "trace", "event": "asked", "file": "calls.csv", "sample": "sample.csv"}
    assert TraceLoad.model_validate(declared).file == Path("calls.csv")
    beside = TraceLoad.model_validate(declared, context=FilePlaces(tmp_path, sample_if_missing=False))
    assert (beside.file, beside.sample) == (tmp_path / "calls.csv", tmp_path / "sample.csv")
    instead = TraceLoad.model_validate(declared, context=FilePlaces(tmp_path, sample_if_missing=True))
    assert instead.file == tmp_path / "sample.csv"
    assert instead.sampled


def test_a_trace_without_a_file_is_refused_as_incomplete(tmp_path: Path) -> None:
    """Also if its sample could be used in its place."""
    declared = {"kind": "trace", "event": "asked", "sample": "sample.csv"}
    with pytest.raises(ValueError, match=r"file\n.*Field required"):
        TraceLoad.model_validate(declared, context=FilePlaces(tmp_path, sample_if_missing=True))


def mistyped() -> list[tuple[dict[str, Any], str]]:
    """A field with a kind that lacks its last letter, and the kind that was meant: for every kind."""
    load = {"kind": "constant", "event": "placed", "rate_per_s": 1, "duration_s": 1}
    desk = {"consumes": "placed", "service_time": {"kind": "constant", "mean_s": 0.1}}
    of_registry = {
        loads.Load: lambda wrong: {"load": load | wrong},
        service_times.ServiceTime: lambda wrong: {"services": {"desk": desk | {"service_time": wrong}}},
        faults.Fault: lambda wrong: {"faults": [wrong]},
        MessageSize: lambda wrong: {"load": load | {"size_bytes": wrong}},
        PayloadField: lambda wrong: {"load": load | {"fields": {"items": wrong}}},
    }
    names = [(make, kind_name(kind)) for union, make in of_registry.items() for kind in kinds_in(union)]
    whole = {"name": "p", "load": load, "services": {"desk": desk}}
    return [(whole | make({"kind": name[:-1]}), name) for make, name in names]


@pytest.mark.parametrize(("declared", "meant"), mistyped())
def test_a_mistyped_kind_is_told_which_one_was_meant(tmp_path: Path, declared: dict[str, Any], meant: str) -> None:
    file = tmp_path / "mistyped.yaml"
    file.write_text(yaml.safe_dump(declared))
    with pytest.raises(InvalidScenario) as refused:
        Scenario.load(file)
    assert f"there is no kind {meant[:-1]!r}; use one of " in refused.value.problem
    assert refused.value.problem.endswith(f"; did you mean {meant}?")


def test_a_kind_of_a_random_plan_is_told_too_and_nothing_where_none_is_near(tmp_path: Path) -> None:
    plan = fault("random", every_s=1.0, kinds=["kil"])
    with pytest.raises(ValueError, match=r"kinds may be kill, .*; did you mean kill\?"):
        scenario(steady(10.0, 10.0), plan, desk=service(0.01))
    with pytest.raises(ValueError, match=r"kinds may be kill,[^?]*$"):
        scenario(steady(10.0, 10.0), plan.model_copy(update={"kinds": ("xyzzy",)}), desk=service(0.01))
