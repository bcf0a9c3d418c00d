"""A history is the same after saving and opening, and a file that is no history is refused."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from sim.calibration import Calibration
from sim.declare.faults.errors import Errors
from sim.declare.faults.kill import Kill
from sim.errors import InvalidHistory
from sim.evidence.history import KIND, KINDS, ROW, History, sorted_rows
from sim.worlds.simulated import simulate
from tests.model.small import any_scenario
from tests.sim.handmade import attempted, chain, history, sampled, sent, whole

SIMULATED = simulate(any_scenario(1), [5, 6], calibration=Calibration.constant(publish_s=0.001))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    file = tmp_path / "run.parquet"
    SIMULATED.save(file)
    return file


def test_a_history_is_the_same_after_saving_and_opening(saved: Path) -> None:
    """Every byte of the rows and all metadata are compared."""
    opened = History.open(saved)
    assert opened.rows.tobytes() == SIMULATED.rows.tobytes()
    assert opened.rows.dtype == ROW
    for name in ("world", "scenario", "server", "runs", "calibration", "services", "events"):
        assert getattr(opened, name) == getattr(SIMULATED, name)


def test_saving_twice_gives_the_same_file(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.parquet"
    History.open(saved).save(again)
    assert again.read_bytes() == saved.read_bytes()


def test_a_history_without_rows(tmp_path: Path) -> None:
    history().save(tmp_path / "empty.parquet")
    assert len(History.open(tmp_path / "empty.parquet").rows) == 0


def test_other_programs_read_the_columns(saved: Path) -> None:
    frame = pd.read_parquet(saved)
    assert list(frame.columns) == list(ROW.names or ())
    assert len(frame) == len(SIMULATED.rows)


def test_runs() -> None:
    both = history(whole(0, 0.0, 1.0), sent(0, 0.0, run=1), seeds=(4, 9))
    assert [(run.seed, len(rows)) for run, rows in both.each_run()] == [(4, 5), (9, 2)]
    assert set(both.run(1)["run"]) == {1}
    assert len(both.run(2)) == 0


def test_rows_of_one_moment_keep_their_order() -> None:
    """Published and handled at once is still published first; runs stay together."""
    mixed = np.array([*sent(0, 1.0, run=1), *sent(1, 0.5, run=1), *attempted(0, 1.0, 1.0)], ROW)
    ordered = sorted_rows(mixed)
    assert ordered["run"].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert [KINDS[kind] for kind in ordered["kind"]] == ["started", "handled", "acked"] + ["sent", "published"] * 2
    assert ordered["message"].tolist() == [0, 0, 0, 1, 1, 0, 0]


def test_the_frame_has_names_in_place_of_codes() -> None:
    frame = history(whole(0, 0.0, 1.0), sampled([2.0], service=1), declared=chain()).frame()
    assert frame["kind"].tolist()[:2] == ["sent", "published"]
    assert set(frame["kind"]) == {"sent", "published", "started", "handled", "acked", "sampled"}
    assert frame[frame["kind"] == "sent"]["service"].isna().all()  # it was the load
    assert frame[frame["kind"] == "handled"]["service"].tolist() == ["billing"]
    assert frame[frame["kind"] == "handled"]["event"].tolist() == ["placed"]
    assert frame[frame["kind"] == "sampled"][["service", "value"]].to_numpy().tolist() == [["shipping", 2.0]]
    assert frame[frame["kind"] == "sampled"]["event"].isna().all()
    assert list(frame.columns) == list(ROW.names or ())


def changed(saved: Path, **about: Any) -> None:
    """Write other metadata into a saved history; None takes a field out."""
    table = parquet.read_table(saved)
    known = {**json.loads(table.schema.metadata[b"history"]), **about}
    told = json.dumps({name: value for name, value in known.items() if value is not None})
    parquet.write_table(table.replace_schema_metadata({"history": told}), saved)


def recoded(saved: Path, names: list[str]) -> None:
    """Give the kinds of a saved history other codes, as a version with these kinds would have written it."""
    table = parquet.read_table(saved)
    codes = np.array([names.index(KINDS[kind]) for kind in table["kind"].to_numpy()], np.uint8)
    position = table.column_names.index("kind")
    parquet.write_table(table.set_column(position, "kind", pa.array(codes)), saved)
    changed(saved, kinds=names)


FIRST = [
    *("sent", "published", "started", "handled", "failed", "retried"),
    *("dead", "acked", "lost", "killed", "restarted", "sampled"),
]


def test_kinds_keep_their_codes() -> None:
    """The first twelve are those of files that do not name them; behind them stands what faults note."""
    assert list(KINDS[:12]) == FIRST
    assert [KINDS[KIND[name]] for name in FIRST] == FIRST
    noted = {note for fault in (Kill, Errors) for note in fault.notes}
    assert {"killed", "restarted"} <= noted <= set(KINDS)
    assert len(set(KINDS)) == len(KINDS)


def test_a_file_that_does_not_name_its_kinds(saved: Path) -> None:
    """It was written by the first version."""
    changed(saved, kinds=None)
    assert History.open(saved).rows.tobytes() == SIMULATED.rows.tobytes()


def test_a_file_with_its_kinds_in_another_order(saved: Path) -> None:
    """And with one that has no row."""
    recoded(saved, ["flooded", *reversed(KINDS)])
    assert parquet.read_table(saved)["kind"].to_numpy().tolist() != SIMULATED.rows["kind"].tolist()
    assert History.open(saved).rows.tobytes() == SIMULATED.rows.tobytes()


def test_a_file_with_a_kind_of_a_newer_version(saved: Path) -> None:
    changed(saved, kinds=[name.replace("handled", "flooded") for name in KINDS])
    with pytest.raises(InvalidHistory, match=r"unknown kind 'flooded'; open it with a newer version"):
        History.open(saved)


@pytest.mark.parametrize("kinds", [["sent"], 7, [["sent"]] * 12, "sent"])
def test_a_file_whose_kinds_are_broken(saved: Path, kinds: object) -> None:
    changed(saved, kinds=kinds)
    assert_refused(saved)


def assert_refused(file: Path) -> None:
    """The error names the file and fits on a line."""
    with pytest.raises(InvalidHistory) as refused:
        History.open(file)
    assert refused.value.where == str(file)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) > len(str(file)) + 20


def test_a_missing_file(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nothing.parquet")
    with pytest.raises(InvalidHistory, match="no such file"):
        History.open(tmp_path / "nothing.parquet")


def test_a_directory(tmp_path: Path) -> None:
    assert_refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"run,t_s\n1,2\n", bytes(range(256)) * 10])
def test_a_file_of_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.parquet").write_bytes(content)
    assert_refused(tmp_path / "other.parquet")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_file_cut_short(saved: Path, kept: float) -> None:
    whole_file = saved.read_bytes()
    saved.write_bytes(whole_file[: int(len(whole_file) * kept)])
    assert_refused(saved)


def test_a_table_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    parquet.write_table(pa.table({"run": [1, 2]}), file)
    assert_refused(file)


@pytest.mark.parametrize("field", ["world", "scenario", "server", "runs", "calibration"])
def test_a_history_with_a_part_missing(saved: Path, field: str) -> None:
    changed(saved, **{field: None})
    assert_refused(saved)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("runs", [{"seed": 1}]),
        ("runs", 7),
        ("runs", [{"seed": "x", "repeat": 0, "ended_s": 1.0, "left": {}}] * 2),
        ("runs", [{"seed": 1, "repeat": 0, "ended_s": 1.0, "left": {}}] * 2),
        ("scenario", {"name": "x", "services": {}}),
        ("scenario", "quickstart"),
        ("world", "dreamt"),
        ("environment", [1]),
        ("calibration", 7),
    ],
)
def test_a_history_with_a_broken_part(saved: Path, field: str, value: object) -> None:
    changed(saved, **{field: value})
    assert_refused(saved)


def test_a_column_missing(saved: Path) -> None:
    parquet.write_table(parquet.read_table(saved).drop_columns(["attempt"]), saved)
    assert_refused(saved)


def test_metadata_that_is_no_json(saved: Path) -> None:
    parquet.write_table(parquet.read_table(saved).replace_schema_metadata({"history": "{"}), saved)
    assert_refused(saved)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *((column, value) for column in ("run", "service", "event") for value in (-2, 99, math.nan)),
        ("message", 2**40),
        ("message", -2),
        ("attempt", -1),
        ("t_s", math.nan),
        ("kind", 255),
    ],
)
def test_rows_of_nothing_that_there_is(saved: Path, column: str, value: float) -> None:
    """Or of so high a number that counting up to it would take all memory."""
    table = parquet.read_table(saved)
    place = table.column_names.index(column)
    parquet.write_table(table.set_column(place, column, pa.array([value] * table.num_rows)), saved)
    assert_refused(saved)
