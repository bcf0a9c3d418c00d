"""The example of a service of one's own: it is small, it runs live, and what it does is predicted."""

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from sim.cli.commands import app
from sim.declare.loads.constant import ConstantLoad
from sim.declare.scenario import Scenario
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
    assert np.mean(billing.cpu_s) > 5 * np.mean(receipts.cpu_s)
    assert known["billing"].own and known["billing"].own.learned
    assert known["billing"].own.learned.emits["order.paid"].mean > 0.9
    save_learned(learned, tmp_path / "learned.json")
    command = ["simulate", str(FOLDER / "shop.yaml"), "--seeds", "2"]
    assert CliRunner().invoke(app, [*command, "--learned", str(tmp_path / "learned.json")]).exit_code == 0
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2 and "its own handlers are not learned yet" in " ".join(refused.output.split())


def test_the_example_is_short() -> None:
    assert len([line for line in (FOLDER / "shop.py").read_text().splitlines() if line.strip()]) <= 40
