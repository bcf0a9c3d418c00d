"""A disk that is full: what was in a file stays, and what a command has found is shown all the same."""

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from eventlib.cli.console import write_json
from sim.calibration import Calibration
from sim.cli.commands import app
from sim.errors import SimError
from sim.infer.learned_file import save_learned
from sim.infer.prediction import Prediction
from sim.infer.sweep import sweep
from sim.show.sweeps import write_figure
from sim.worlds.simulated import simulate
from tests.model.small import any_scenario
from tests.sim.test_commands import SMALL
from tests.sim.test_sweep import Counting

HISTORY = simulate(any_scenario(1), [0])
SWEEP = sweep(any_scenario(1), {"drain_s": [30]}, seeds=[0], executor=Counting())
WRITERS: dict[str, Callable[[Path], None]] = {
    "a history": HISTORY.save,
    "a calibration": Calibration.constant(publish_s=0.001).save,
    "a prediction": Prediction.of(HISTORY, [0]).save,
    "what was learned": lambda file: save_learned(HISTORY.scenario, file),
    "a sweep": SWEEP.save,
    "a figure of a sweep": lambda file: write_figure(SWEEP, file),
    "JSON": lambda file: write_json(file, {"lags": list(range(1000))}),
}


@contextmanager
def full_disk(left: int) -> Iterator[None]:
    """Files may have so many bytes: what a full disk does to a file that is being written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_was_in_a_file_stays(tmp_path: Path, write: Callable[[Path], None]) -> None:
    file = tmp_path / "kept.png"
    write(file)
    before = file.read_bytes()
    with pytest.raises((SimError, OSError), match="kept"), full_disk(10):
        write(file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def test_what_was_found_is_shown_and_the_rest_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The history does not fit, the JSON does."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(yaml.safe_dump(SMALL | {"load": SMALL["load"] | {"rate_per_s": 2000}}))
    with full_disk(50_000):
        few = ["simulate", "small.yaml", "--seeds", "3", "--json", "o.json", "--history", "h.parquet"]
        result = CliRunner().invoke(app, few)
    assert result.exit_code == 2 and "error: h.parquet: cannot be written" in result.output
    assert "lag_s_p50" in result.output and json.loads(Path("o.json").read_text())["scenario"] == "small"
    assert not Path("h.parquet").exists()
