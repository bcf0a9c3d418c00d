"""The example of a service of one's own: it is small, it runs live, and what it does is predicted."""

import shutil
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from sim.cli.commands import app
from sim.declare.loads.constant import ConstantLoad
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.evidence.checks import broken, check
from sim.infer.learned_file import save_learned
from sim.infer.own_services import learn_services
from sim.worlds.live import run_live
from tests.live.live_runs import no_process_left

FOLDER = Path(__file__).parents[2] / "examples" / "own_service"


async def test_the_example_is_learned_and_keeps_its_promises_live(url: str, tmp_path: Path) -> None:
    """At a smaller scale: half a second of its load. Then it is simulated without a server, from the file."""
    scenario = Scenario.load(FOLDER / "shop.yaml")
    load = ConstantLoad(kind="constant", event="order.placed", rate_per_s=60, duration_s=0.5)
    small = scenario.model_copy(update={"offered_load": load, "faults": ()})
    with no_process_left():
        learned = await learn_services(scenario, seconds=0.8, url=url)
        known = learned.services
        history = await run_live(small, [0], repeats=1, url=url)
    assert not broken(check(history))
    billing, receipts = (known[name].service_time for name in ("billing", "receipts"))
    assert billing.kind == "empirical" and receipts.kind == "empirical"
    assert np.median(billing.cpu_s) > 5 * np.median(receipts.cpu_s)
    assert known["billing"].own and known["billing"].own.learned
    assert known["billing"].own.learned.emits["order.paid"].mean > 0.9
    save_learned(learned, tmp_path / "learned.json")
    command = ["simulate", str(FOLDER / "shop.yaml"), "--seeds", "2"]
    with_file = ["--learned", str(tmp_path / "learned.json")]
    ran = CliRunner().invoke(app, [*command, *with_file])
    assert ran.exit_code == 0 and "as they were learned on this machine" in " ".join(ran.stderr.split())
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2 and "its own handlers are not learned yet" in " ".join(refused.output.split())


def test_a_prediction_of_other_code_than_was_learned_is_refused(tmp_path: Path, url: str) -> None:
    """Before anything is timed or simulated."""
    shutil.copytree(FOLDER, tmp_path / "shop")
    code, scenario = tmp_path / "shop" / "shop.py", tmp_path / "shop" / "shop.yaml"
    times = {"kind": "empirical", "values_s": [0.01]}
    known = {
        "digest": "of the old code",
        "import_s": 0.1,
        "learned": {"attempts": 50, "emits": {"order.paid": {"shares": [0.0, 1.0]}}},
    }
    declared = Scenario.load(scenario)
    services = {
        name: Service.model_validate(service.model_dump() | {"service_time": times, "own": known})
        for name, service in declared.services.items()
    }
    save_learned(declared.with_services(services), tmp_path / "learned.json")
    code.write_text(code.read_text() + "\n")
    command = ["predict", str(scenario), "--learned", str(tmp_path / "learned.json"), "--url", url]
    with no_process_left():
        refused = CliRunner().invoke(app, command)
    said = " ".join(refused.output.split())
    assert refused.exit_code == 2 and "has changed since it was learned" in said and "its code" in said


def test_the_example_is_short() -> None:
    assert len([line for line in (FOLDER / "shop.py").read_text().splitlines() if line.strip()]) <= 40
