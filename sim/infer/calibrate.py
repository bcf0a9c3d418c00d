"""calibrate(): what this machine, server and library add to a scenario's own times, measured by three live runs.

Only times need calibration. Rules do not, because both worlds call the library's own rules. The runs differ in their
rate: a calm one shows the steps of processes that have rested, a brisk one of those that have not. A flood is more than
the processes can do: they never rest, so it shows what an event alone needs of a processor, without waking up.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np

from eventlib.policy import Retry
from eventlib.system_errors import with_mend
from sim.calibration import Calibration
from sim.declare.declared import Floats
from sim.declare.faults.kill import Kill
from sim.declare.loads.poisson import PoissonLoad
from sim.declare.scenario import Progress, Scenario
from sim.declare.service import Service
from sim.declare.service_times.exponential import ExponentialTime
from sim.errors import CalibrationFailed, InvalidCalibration, OtherFormat
from sim.evidence.history import History
from sim.infer.discrepancy import discrepancy
from sim.infer.steps import blocks_of, cpu_of
from sim.progress import shown
from sim.timings import RESTS_S, STEPS, Block
from sim.worlds.live import product_at, run_live, server_at
from sim.worlds.simulated import simulate

_BACK_AFTER_S = 0.2
_RETRY = Retry(attempts=20, wait_s=0.05, wait_s_max=0.05, jitter="none")
_RATES_PER_S = {"calm": 40.0, "brisk": 250.0, "flood": 3000.0}
_SHARES = {"calm": 10.0, "brisk": 5.0, "flood": 1.0}  # of the time
_SHORT_S, _FULL_S = 16.0, 80.0
_ROUNDS = 2  # of scaling
_BUSY_FOR = timedelta(minutes=10)  # so long, what a busy machine showed is not measured again
_SCALE_LIMITS = 0.4, 1.5
_DISTURBED = 1.5  # times as late as in a quiet second: then another program disturbed the handlers
_UNSCALED = ("retry_s", "start_s")  # rare: too few are seen
_IDLE, _BUSY = ("one",), ("busy", "ahead")


def probes(length_s: float = _SHORT_S) -> dict[str, Scenario]:
    """The scenarios that are measured, by name, with loads of `length_s` seconds in all."""
    unit_s = length_s / sum(_SHARES.values())
    return {name: _probe(name, rate, _SHARES[name] * unit_s) for name, rate in _RATES_PER_S.items()}


def _probe(name: str, rate_per_s: float, duration_s: float) -> Scenario:
    """One of the scenarios. No more processes than needed: each makes the others wait for a processor."""
    kills = (Kill(kind="kill", service="killed", at_s=duration_s / 2.0, back_after_s=_BACK_AFTER_S),)
    return Scenario(
        name=f"calibration-{name}",
        description="To time the machine.",
        load=PoissonLoad(kind="poisson", event="first", rate_per_s=rate_per_s, duration_s=duration_s),
        services=_services(name, rate_per_s),
        faults=kills if name == "calm" else (),
        drain_s=20.0 if name == "flood" else 2.0,  # what is left to the busy services is not needed
    )


def _services(name: str, rate_per_s: float) -> dict[str, Service]:
    """At `one` no message waits. `busy` and `ahead` always have work: twice what they can do is offered."""
    one = Service(
        consumes="first", concurrency=64, service_time=ExponentialTime(kind="exponential", mean_s=0.01), retry=_RETRY
    )
    handlers = 4 if name == "brisk" else 1  # with one, the process of `busy` rests between its messages
    busy = Service(
        consumes="first",
        concurrency=handlers,
        service_time=ExponentialTime(kind="exponential", mean_s=2.0 * handlers / rate_per_s),
    )
    if name == "calm":
        return {
            "one": one.model_copy(update={"emits": ("second",), "error_rate": 0.1}),
            "killed": one.model_copy(update={"consumes": "second", "lease_s": 0.5}),
            "busy": busy,
            "ahead": busy.model_copy(update={"prefetch": 8}),
        }
    if name == "brisk":
        return {"one": one, "busy": busy}
    return {"one": one}


async def calibrate(
    *, full: bool = False, url: str | None = None, progress: Progress | None = None
) -> tuple[Calibration, list[History]]:
    """Measure in about half a minute, or in two minutes if `full`. Also returns the histories that it was read from.

    Raises:
        CalibrationFailed: a step was never seen.
        SimError, EventlibError: as `run_live` does.
    """
    histories = []
    scenarios = list(probes(_FULL_S if full else _SHORT_S).values())
    with shown(progress, "timing this machine") as advance:
        for index, scenario in enumerate(scenarios):
            part = partial(_advance, advance, index, len(scenarios))
            histories.append(await run_live(scenario, [index], repeats=1, url=url, progress=part))
    return calibration_of(histories), histories


async def calibration_at(file: str | Path, *, url: str | None = None, progress: Progress | None = None) -> Calibration:
    """Read what was measured here before; measure it and keep it there, if nothing was, or something else is here now.

    What was measured while other programs kept the machine busy is measured again, but not within ten minutes: it is
    most likely as busy still, and so would be each of several notebooks or commands that ask one after the other.

    Raises:
        InvalidCalibration: the file holds something else, or cannot be written.
        SimError, EventlibError: as `calibrate` does.
    """
    if (found := _kept(Path(file))) is not None:
        with server_at(url) as address:
            server = await product_at(address)
        with suppress(InvalidCalibration):  # it is of another machine, server or version
            found.check_fits(server)
            if not found.was_busy or _is_recent(found.date):
                return found
    found, _ = await calibrate(url=url, progress=progress)
    found.save(file)
    return found


def _is_recent(date: str) -> bool:
    """Whether this time, as `now` writes it, is a moment ago. No time at all is not."""
    try:
        return timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(date) < _BUSY_FOR
    except (ValueError, TypeError):  # it says no time, or not in which zone
        return False


def _kept(file: Path) -> Calibration | None:
    """What the file holds; nothing if another version wrote it. If there is none, room is made for it.

    Raises:
        InvalidCalibration: it holds something else, or no room can be made.
    """
    if file.exists():
        with suppress(OtherFormat):  # it was measured here before this version was
            return Calibration.load(file)
        return None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"its directory cannot be made: {with_mend(error)}"
        raise InvalidCalibration(str(file), problem) from error
    return None


def calibration_of(histories: Sequence[History]) -> Calibration:
    """The calibration that histories of `probes` show.

    Raises:
        CalibrationFailed: they lack one of the steps.
    """
    blocks = undisturbed(_blocks(histories))
    cpu = [use for run, history in enumerate(histories) for use in cpu_of(history, run, flooded=_is_flood(history))]
    for step in STEPS:
        if not any(of_class for block in blocks for of_class in block.steps.get(step, ())):
            raise CalibrationFailed("calibration", f"nothing to read {step} from; run it again on a quieter machine")
    found = _consistent(Calibration.measured(blocks, cpu, histories[0].server), histories)
    timed = [history for history in histories if not _is_flood(history)]
    return replace(found, discrepancy=discrepancy(found, timed, (*_IDLE, "killed")))


def _blocks(histories: Sequence[History]) -> list[Block]:
    """The steps in histories of the probes. In the flood, every step waits for a processor: it shows none."""
    blocks = []
    for run, history in enumerate(histories):
        if not _is_flood(history):
            idle, busy = ([name for name in names if name in history.services] for names in (_IDLE, _BUSY))
            blocks += blocks_of(history, idle, busy, run)
    return blocks


def undisturbed(blocks: Sequence[Block]) -> list[Block]:
    """The blocks without those in which other programs disturbed the handlers: what they do is no part of the machine.

    Rare steps are kept from all. Where most of a run was disturbed, nothing helps: see `Calibration.was_busy`.
    """
    late_s = [_late_s(block) for block in blocks]
    runs = np.array([block.run for block in blocks])
    quiet_s = {run: float(np.quantile(np.array(late_s)[runs == run], 0.25)) for run in set(runs.tolist())}
    return [
        block if late <= _DISTURBED * quiet_s[block.run] else _rare_steps(block)
        for late, block in zip(late_s, blocks, strict=True)
    ]


def _late_s(block: Block) -> float:
    """How late its handlers were, on average."""
    late_s = [one for of_class in block.steps.get("handle_s", ()) for one in of_class]
    return float(np.mean(late_s)) if late_s else 0.0


def _rare_steps(block: Block) -> Block:
    return Block(block.run, {step: block.steps[step] for step in _UNSCALED if step in block.steps})


def _is_flood(history: History) -> bool:
    return history.scenario.name.endswith("-flood")


def _consistent(calibration: Calibration, histories: Sequence[History]) -> Calibration:
    """Scale the samples so that a simulation of the probes shows what was measured in them.

    What processes waited for each other is in the samples, and the simulation makes them wait again.
    """
    classes = range(len(RESTS_S) + 1)
    for _ in range(_ROUNDS):
        again = [simulate(one.scenario, [one.runs[0].seed], calibration=calibration) for one in histories[:2]]
        seen, whole = Calibration(tuple(_blocks(again))), replace(calibration, scales={})
        scales = {
            step: [
                _scale(calibration.samples_s(step, rest), whole.samples_s(step, rest), seen.samples_s(step, rest))
                for rest in classes
            ]
            for step in STEPS
            if step not in _UNSCALED
        }
        calibration = replace(calibration, scales=scales)
    return calibration


def _scale(used: Floats, measured: Floats, seen: Floats) -> float:
    """By how much to scale the samples that were measured, where those that were used made these be seen."""
    if not measured.mean() or not seen.mean():
        return 1.0
    return float(np.clip(used.mean() / seen.mean(), *_SCALE_LIMITS))


def _advance(progress: Progress, index: int, of: int, share: float) -> None:
    progress((index + min(1.0, share)) / of)
