"""A trace of any origin is read to the same rows, or refused by its place with the mend."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet
from typer.testing import CliRunner

from sim.cli.commands import app
from sim.declare.loads.batching import BatchingLoad
from sim.declare.loads.trace import TraceLoad
from sim.declare.scenario import Scenario
from sim.declare.service_times.linear import LinearTime
from sim.declare.traces import Trace, TraceFormat, read_trace
from sim.errors import InvalidScenario, InvalidTrace
from tests.model.small import scenario, service

COLUMNS = (("at", "ts"), ("work", "size"))
AT_S = [0.0, 0.25, 1.5]
SIZES = [10.0, 2.5, 300.0]
BEGAN_S = datetime(2026, 1, 31, 23, 59, 59, 500_000, UTC).timestamp()


def csv(*rows: str, header: str = "id,ts,size") -> bytes:
    return "\n".join((header, *rows, "")).encode()


ISO = csv(
    "a,2026-01-31T23:59:59.5Z,10",
    "b,2026-01-31T23:59:59.750Z,2.5",
    "c,2026-02-01T00:00:01.000Z,300",
)
SAME: dict[str, bytes] = {
    "ISO 8601": ISO,
    "no zone is UTC": ISO.replace(b"Z", b"").replace(b"T", b" "),
    "a zone": csv(
        "a,2026-02-01T01:29:59.5+01:30,10", "b,2026-01-31T16:59:59.75-07,2.5", "c,2026-02-01T02:00:01+0200,300"
    ),
    "epoch seconds": csv(f"a,{BEGAN_S},10", f"b,{BEGAN_S + 0.25},2.5", f"c,{BEGAN_S + 1.5},300"),
    "epoch milliseconds": csv(*(f"a,{int((BEGAN_S + at) * 1e3)},{of}" for at, of in zip(AT_S, SIZES, strict=True))),
    "epoch microseconds": csv(*(f"a,{int((BEGAN_S + at) * 1e6)},{of}" for at, of in zip(AT_S, SIZES, strict=True))),
    "epoch nanoseconds": csv(
        *(f"a,{int((BEGAN_S + at) * 1e3)}000000,{of}" for at, of in zip(AT_S, SIZES, strict=True))
    ),
    "semicolons": ISO.replace(b",", b";"),
    "tabs": ISO.replace(b",", b"\t"),
    "bars": ISO.replace(b",", b"|"),
    "CRLF": ISO.replace(b"\n", b"\r\n"),
    "a byte order mark": b"\xef\xbb\xbf" + ISO,
    "space around": ISO.replace(b",", b" , "),
    "quotes": ISO.replace(b"a,", b'"a, or\nb",'),
    "gzip": gzip.compress(ISO),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "calls.csv"


def read(file: Path, content: bytes, **form: Any) -> Trace:
    file.write_bytes(content)
    return read_trace(file, TraceFormat(**{"columns": COLUMNS} | form))


@pytest.mark.parametrize("name", SAME)
def test_programs_write_the_same_trace_differently(file: Path, name: str) -> None:
    trace = read(file, SAME[name])
    assert trace.at_s.tolist() == pytest.approx(AT_S, abs=1e-6)
    assert trace.numbers["work"].tolist() == SIZES
    assert trace.began_s == pytest.approx(BEGAN_S, abs=1e-6)
    assert trace.unsorted == 0


def table(**columns: Any) -> pa.Table:
    return pa.table({"size": SIZES, "id": ["a", "b", "c"]} | columns)


MOMENTS = [datetime.fromtimestamp(BEGAN_S + at_s, UTC) for at_s in AT_S]


@pytest.mark.parametrize(
    "at",
    [
        pa.array(MOMENTS, pa.timestamp("us", "UTC")),
        pa.array(MOMENTS, pa.timestamp("ms", "Europe/Berlin")),
        pa.array([moment.replace(tzinfo=None) for moment in MOMENTS], pa.timestamp("ns")),
        pa.array([int(moment.timestamp() * 1e3) for moment in MOMENTS]),
        pa.array([moment.timestamp() for moment in MOMENTS]),
        pa.array([moment.isoformat() for moment in MOMENTS]),
    ],
    ids=lambda at: str(at.type),
)
@pytest.mark.parametrize("packed", [False, True])
def test_parquet_is_read_like_csv(file: Path, at: pa.Array, packed: bool) -> None:
    parquet.write_table(table(ts=at), file)
    trace = read(file, gzip.compress(file.read_bytes()) if packed else file.read_bytes())
    assert trace.at_s.tolist() == pytest.approx(AT_S, abs=1e-6)
    assert trace.numbers["work"].tolist() == SIZES
    assert trace.began_s == pytest.approx(BEGAN_S, abs=1e-6)


def test_seconds_of_any_moment_and_a_unit_that_is_named(file: Path) -> None:
    """Times need not be of a calendar. Where their size does not tell the unit, it is named."""
    assert read(file, csv("a,0,1", "b,0.5,1", "c,2,1")).at_s.tolist() == [0.0, 0.5, 2.0]
    assert read(file, csv("a,0,1", "b,500,1", "c,2000,1"), unit="ms").at_s.tolist() == [0.0, 0.5, 2.0]


def test_a_delimiter_that_is_named(file: Path) -> None:
    trace = read(file, csv("a#1#7", "b#2#8", header="id#ts#size"), delimiter="#")
    assert trace.numbers["work"].tolist() == [7.0, 8.0]


def test_rows_out_of_order_are_sorted_and_it_is_said(file: Path) -> None:
    """Each with what was recorded beside it; rows of one moment keep their order."""
    trace = read(file, csv("a,3,30", "b,1,10", "c,2,20", "d,1,11", "e,4,40"))
    assert trace.at_s.tolist() == [0.0, 0.0, 1.0, 2.0, 3.0]
    assert trace.numbers["work"].tolist() == [10.0, 11.0, 20.0, 30.0, 40.0]
    assert trace.unsorted == 3
    assert replay(file).notes() == ("3 rows of calls.csv were recorded after a later one, and were put in order",)
    read(file, ISO)
    assert replay(file).notes() == ()


def test_a_run_says_that_rows_were_sorted(file: Path) -> None:
    file.write_bytes(csv("a,3,30", "b,1,10", "c,2,20"))
    declared = yaml.safe_dump(
        {
            "name": "calls",
            "load": {"kind": "trace", "event": "asked", "file": "calls.csv", "columns": dict(COLUMNS)},
            "services": {
                "desk": {"consumes": "asked", "service_time": {"kind": "linear", "base_s": 0.1, "per_unit_s": 0}}
            },
        }
    )
    file.with_name("calls.yaml").write_text(declared)
    result = CliRunner().invoke(app, ["simulate", str(file.with_name("calls.yaml")), "--seeds", "3"])
    assert result.exit_code == 0, result.output
    assert "Note: 2 rows of calls.csv were recorded after a later one, and were put in order." in result.stdout


# What the work is


def replay(file: Path, **fields: Any) -> TraceLoad:
    columns = {"columns": dict(COLUMNS)}
    return TraceLoad.model_validate({"kind": "trace", "event": "asked", "file": file} | columns | fields)


def test_a_linear_service_time_follows_a_column(file: Path) -> None:
    """In recorded time, as the arrivals are."""
    file.write_bytes(ISO)
    time = LinearTime(kind="linear", base_s=1.0, per_unit_s=0.1)
    plan = scenario(
        replay(file, time_scale=0.5),
        desk=service(consumes="asked", emits=("told", "told")).model_copy(update={"service_time": time}),
        again=service(consumes="told").model_copy(update={"service_time": time}),
    ).plan(0)
    assert plan.service_s["desk"].tolist() == pytest.approx([0.5 * (1 + 0.1 * size) for size in SIZES])
    assert plan.service_s["again"].tolist() == pytest.approx(np.repeat(plan.service_s["desk"], 2).tolist())
    assert time.in_words() == "1 s and 100 ms x work, of recorded time"


def test_a_window_and_batches_keep_each_row_its_work(file: Path) -> None:
    file.write_bytes(ISO)
    window = replay(file, from_s=0.1)
    batched = BatchingLoad.model_validate(
        {"kind": "batching", "event": "asked", "of": window.model_dump(), "size": 2, "wait_s": 9}
    )
    time = LinearTime(kind="linear", base_s=0.0, per_unit_s=1.0)
    desk = service(consumes="asked").model_copy(update={"service_time": time})
    for load in (window, batched):
        assert scenario(load, desk=desk).plan(0).service_s["desk"].tolist() == SIZES[1:]


@pytest.mark.parametrize(
    ("fields", "column", "said"),
    [
        ({}, "size", "column: the load's trace has no 'size'; there are: work (load.columns names them)"),
        ({"columns": {}}, "size", "there are: context, work"),
        ({"columns": {"at": "ts"}}, "work", "kind 'linear' needs a load of kind 'trace'"),
        ({"columns": {"work": "size"}}, "work", "load.columns: none has the times; name it, such as at: ts"),
        ({"delimiter": ";;"}, "work", "load.delimiter: String should have at most 1 character"),
        ({"unit": "h"}, "work", "load.unit: Input should be 's', 'ms', 'us' or 'ns', not 'h'"),
    ],
)
def test_a_declaration_that_does_not_fit(file: Path, fields: dict[str, Any], column: str, said: str) -> None:
    load = {"kind": "trace", "event": "asked", "file": "calls.csv", "columns": dict(COLUMNS)} | fields
    time = {"kind": "linear", "base_s": 0, "per_unit_s": 1, "column": column}
    declared = {"name": "calls", "load": load, "services": {"desk": {"consumes": "asked", "service_time": time}}}
    file.with_suffix(".yaml").write_text(yaml.safe_dump(declared))
    with pytest.raises(InvalidScenario) as refused:
        Scenario.load(file.with_suffix(".yaml"))
    assert said in refused.value.problem


# What cannot be read


def refusal(file: Path, content: bytes, **form: Any) -> str:
    """How a file is refused: on one line, without the file's directory."""
    with pytest.raises(InvalidTrace) as refused:
        read(file, content, **form)
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(f"{file.parent}/")


PACKED = gzip.compress(ISO)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            csv("a,2026-01-01 00:00:00"),
            "calls.csv, line 2: 'a,2026-01-01 00:00:00' is no row of this trace (2 fields, whe",
        ),
        (csv("a,1,1", "b,two,1"), "calls.csv, line 3: 'b,two,1' is no row of this trace (the time is neither"),
        (
            csv("a,1,1", "b,2026-01-01T00:00:00,1"),
            "line 3: 'b,2026-01-01T00:00:00,1' is no row of this trace (the time is",
        ),
        (
            csv("a,2026-01-01T00:00:00Z,1", "b,2026-01-01T00:00:00,1"),
            "(the time is a time without a zone, and the first one is a time with a zone); mend or delete it",
        ),
        (
            csv("a,1767225600,1", "b,1767225601000,1"),
            "times of several units are mixed, such as 1.76723e+09 and 1.76723e",
        ),
        (csv("a,1,many"), "line 2: 'a,1,many' is no row of this trace ('many' is no number); mend or delete it"),
        (csv("a,1,"), "line 2: 'a,1,' is no row of this trace (a number is missing); mend or delete it"),
        (csv("a,1,-2"), "line 2: 'a,1,-2' is no row of this trace (-2 is not from 0 to 1e+15); mend or delete it"),
        (
            csv("a,2026-02-30T00:00:00,1"),
            "line 2: 'a,2026-02-30T00:00:00,1' is no row of this trace (day is out of range",
        ),
        (csv("a,1", header="id,when"), "calls.csv, line 1: has no column 'ts'; there are: id, when"),
        (csv("a,1,1", header="id,ts,ts"), "calls.csv, line 1: has several columns 'ts'; there are: id, ts, ts"),
        (csv(), "calls.csv: has no rows"),
        (PACKED[:-12], "calls.csv: is a broken gzip file"),
        (PACKED[:40] + b"\x00\x00" + PACKED[42:], "calls.csv: is a broken gzip file"),
        (b"PAR1 and nothing else", "calls.csv: is no Parquet file that can be read"),
    ],
    ids=lambda of: of[:24] if isinstance(of, str) else "",
)
def test_a_file_that_cannot_be_read(file: Path, content: bytes, said: str) -> None:
    assert said in refusal(file, content)


def test_a_parquet_column_that_does_not_fit(file: Path) -> None:
    def written(**columns: Any) -> bytes:
        parquet.write_table(table(**columns), file)
        return file.read_bytes()

    assert "calls.csv, column ts: a time is missing" in refusal(file, written(ts=[1.0, None, 2.0]))
    assert "calls.csv, column ts: a value is missing, or is neither" in refusal(file, written(ts=["a", "b", "c"]))
    assert "calls.csv, column size: a number is missing" in refusal(file, written(ts=[1, 2, 3], size=[1.0, None, 2.0]))
    assert "has no column 'ts'; there are: size, id" in refusal(file, written())
    assert "is Parquet, which has no delimiter" in refusal(file, written(ts=[1, 2, 3]), delimiter=";")


def test_a_million_rows_are_read_and_too_many_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one they would take many seconds; here they are columns."""
    at_ms = 1_767_225_600_000 + np.arange(1_000_000)
    file.write_bytes(b"ts,size\n" + b"\n".join(b"%d,%d" % (one, one % 7) for one in at_ms.tolist()))
    assert replay(file).arrivals_s(np.random.default_rng(0)).size == 1_000_000
    monkeypatch.setattr("sim.declare.loads.trace.ROWS_MAX", 1000)
    with pytest.raises(InvalidTrace, match=r"1,000,000 rows would be replayed, over 1,000; replay a part, by from_s"):
        replay(file).rows()
    assert replay(file, for_s=0.5).rows().at_s.size == 500
