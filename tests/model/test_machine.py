"""The machine of the simulated world: processes that are busy, cores that are shared, batches that are on their way."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import simpy

from sim.calibration import Calibration
from sim.evidence.metrics import measure
from sim.timings import STEPS, Block, CpuUse
from sim.worlds.simulated import simulate
from sim.worlds.simulated.link import Link
from sim.worlds.simulated.machine import Machine, _shared_s
from sim.worlds.simulated.sending import Batches
from tests.model.small import constant, fault, poisson, rows_of, scenario, service, steady


def costing(
    cores: int = 64, *, event_s: float = 0.0, wake_s: float = 0.0, role: str = "consumer", **steps: float
) -> Calibration:
    """Constant steps, and a role that needs so much of a processor."""
    uses = (CpuUse(0, role, wake_s, 1.0, 0.0), CpuUse(0, role, event_s, 0.0, 1.0))
    return replace(Calibration.constant(**steps), cpu=uses, machine={"CPUs": str(cores)})


def throughput(calibration: Calibration | None, consumers: int = 1, **changes: Any) -> float:
    """Messages a second that a service of handlers without work gets through when it is offered 4,000 for a second."""
    work = service(service_time=constant(0.0), consumers=consumers, concurrency=50, **changes)
    declared = scenario(steady(4000.0, 1.0), desk=work)
    return float(measure(simulate(declared, [0], calibration=calibration))["throughput_per_s"][0])


def test_a_process_does_one_thing_at_a_time() -> None:
    """A millisecond of processor time for each message bounds one consumer, whatever its concurrency."""
    assert throughput(None) == pytest.approx(4000.0, rel=0.01)
    assert throughput(costing(event_s=0.001)) == pytest.approx(1000.0, rel=0.02)
    assert throughput(costing(event_s=0.001), consumers=3) == pytest.approx(3000.0, rel=0.03)


def test_processes_share_the_cores() -> None:
    """Three busy consumers on two cores get through two thirds of what they would on three."""
    assert throughput(costing(2, event_s=0.001), consumers=3) == pytest.approx(2000.0, rel=0.05)
    assert throughput(costing(1, event_s=0.001), consumers=3) == pytest.approx(1000.0, rel=0.05)


def test_the_server_is_one_process_too() -> None:
    """It is asked to append, to hand out and to acknowledge: three commands a message."""
    declared = scenario(steady(1000.0, 0.5), desk=service(service_time=constant(0.0), concurrency=50))
    lag_s = [
        float(measure(simulate(declared, [0], calibration=costing(role="server", event_s=cost_s)))["lag_s_p95"][0])
        for cost_s in (0.0002, 0.0004)
    ]
    assert lag_s[0] < 0.005 < lag_s[1], "it is busy for 0.6 s a second, or for 1.2 s"


def test_who_is_busy_needs_no_waking() -> None:
    """An idle process takes the whole step; one that is at work anyway only its share of the processor."""
    process = Machine(costing(event_s=0.001, handle_s=0.01), 0).process("consumer")
    assert process.does_s("handle_s", 1.0) == pytest.approx(0.01)
    assert process.does_s("handle_s", 1.0002) == pytest.approx(0.0003 + 0.0005)
    assert process.does_s("handle_s", 2.0) == pytest.approx(0.01)


def test_a_step_depends_on_the_rest_before_it() -> None:
    """After a rest of 30 ms it takes what was measured after such rests."""
    classes = [[0.001], [0.002], [0.003], [0.004], [0.005]]
    machine = Machine(Calibration((Block(0, {step: [one * 20 for one in classes] for step in STEPS}),)), 0)
    for rest_s, took_s in ((0.0005, 0.001), (0.002, 0.002), (0.01, 0.003), (0.03, 0.004), (1.0, 0.005)):
        process = machine.process("consumer")
        process.late_s(1.0)
        assert process.does_s("handle_s", 1.0 + rest_s) == took_s
        assert process.takes_s("read_s") == took_s, "what follows depends on the same rest"


def test_what_comes_while_a_batch_is_on_its_way_joins_the_next() -> None:
    batches = Batches(Link(simpy.Environment(), random.Random(0)))
    process = Machine(Calibration.constant(publish_s=0.1), 0).process("generator")
    first, second, third, late = (batches.join(at_s, process) for at_s in (1.0, 1.02, 1.05, 1.3))
    assert (first.appended_s, first.published_s) == (1.05, 1.1)
    assert second[1:] == third[1:] == pytest.approx((1.15, 1.2)), "they go together, when the first one is there"
    assert late.published_s == pytest.approx(1.4)


def test_a_lone_message_pays_for_each_step_once() -> None:
    steps = {"lateness_s": 0.001, "publish_s": 0.01, "dispatch_s": 0.02, "handle_s": 0.003}
    declared = scenario(steady(1.0, 3.0), desk=service(0.1, emits=("paid",)), next=service(0.1, consumes="paid"))
    history = simulate(declared, [0], calibration=Calibration.constant(**steps))
    done = rows_of(history, "handled", "next")
    expected_s = 0.001 + 2 * (0.005 + 0.02 + 0.1 + 0.003)
    assert done["t_s"] - done["intended_s"] == pytest.approx(np.full(3, expected_s))


def test_the_machine_has_streams_of_its_own() -> None:
    declared = scenario(poisson(50.0, 2.0), desk=service())
    samples = {step: [np.linspace(0.0001, 0.002, 40).tolist()] * 5 for step in STEPS}
    calibration = Calibration((Block(0, samples),))
    late_s = [rows_of(simulate(declared, [seed], calibration=calibration), "sent")["t_s"] for seed in (1, 1, 2)]
    assert np.array_equal(late_s[0], late_s[1]) and not np.array_equal(late_s[0][:5], late_s[2][:5])


def back_at_s(calibration: Calibration, consumers: int = 4) -> list[float]:
    """When each consumer of a service that is out for a second handles its first message, from the end of that on."""
    work = service(service_time=constant(0.1), consumers=consumers)
    declared = scenario(steady(200.0, 3.0), fault("outage", service="desk", at_s=1.0, back_after_s=1.0), desk=work)
    started = rows_of(simulate(declared, [0], calibration=calibration), "started")
    started = started[started["t_s"] >= 2.0]
    return sorted(float(started["t_s"][started["consumer"] == one].min()) - 2.0 for one in range(consumers))


def test_processes_that_start_together_share_the_cores() -> None:
    """Starting is computing: four on two cores take twice as long as one alone."""
    assert back_at_s(costing(4, start_s=0.2)) == pytest.approx([0.2] * 4, abs=0.001)
    assert back_at_s(costing(2, start_s=0.2)) == pytest.approx([0.4] * 4, abs=0.001)
    assert back_at_s(costing(1, start_s=0.2), consumers=1) == pytest.approx([0.2], abs=0.001)
    assert back_at_s(replace(costing(2, start_s=0.2), left_out=frozenset({"cpu"}))) == pytest.approx(
        [0.2] * 4, abs=0.001
    )


def test_the_one_that_has_least_to_do_for_its_start_is_there_first() -> None:
    """Of 0.1 and 0.3 s on one core, the first is there after 0.2 s, and then leaves the core to the other."""
    assert _shared_s([0.3, 0.1], 1, 0) == pytest.approx([0.4, 0.2])
    assert _shared_s([0.3, 0.1], 2, 0) == pytest.approx([0.3, 0.1])
    assert _shared_s([0.2], 2, 3) == pytest.approx([0.4]), "beside three others that start"


def test_who_starts_has_what_the_others_leave_of_the_cores() -> None:
    """Of one core, another process has used 0.4 so far: it takes 1 / 0.6 times as long, and at most twice as long."""
    for used_s, takes_s in ((0.0, 0.3), (4.0, 0.5), (9.0, 0.6)):
        machine = Machine(costing(1, event_s=1.0, start_s=0.3), seed=0)
        machine.process("consumer").late_s(0.0, 1, share=used_s)
        assert machine.starts_s(10.0, 1) == pytest.approx([takes_s])


def test_processes_that_start_keep_the_others_waiting() -> None:
    """While four processes start on one core, what a running one computes takes as long as it is one of five."""
    machine = Machine(costing(1, event_s=0.001, start_s=0.2), seed=0)
    running = machine.process("consumer")
    assert running.does_s("handle_s", 0.0, share=1.0) == pytest.approx(0.0, abs=1e-9)
    machine.starts_s(1.0, 4)
    assert running.computes_s(1.0, 0.01) == pytest.approx(0.05)
    assert running.computes_s(2.0, 0.01) == pytest.approx(0.01), "they have started by then"
