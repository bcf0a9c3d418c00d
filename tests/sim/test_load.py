"""Loads arrive when they should, service times are as declared, and a trace is read to the row or refused by it."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from sim.declare.loads.constant import ConstantLoad
from sim.declare.loads.trace import TraceLoad
from sim.declare.scenario import Scenario
from sim.declare.service_times.exponential import ExponentialTime
from sim.declare.service_times.lognormal import LognormalTime
from sim.declare.service_times.tokens import TokenTime
from sim.declare.traces import read_trace
from sim.errors import InvalidTrace
from sim.worlds.simulated import simulate
from tests.model.small import constant, poisson, rows_of, scenario, service, steady

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
ROWS = [
    "2023-11-16 18:15:46.6805900,374,44\n",
    "2023-11-16 18:15:46.6805901,396,109\n",
    "2023-11-16 18:15:48.1805900,879,55\n",
    "2023-11-16 18:16:46.6805900,91,16\n",
]
TRACE = HEADER + "".join(ROWS)
AT_S = [0.0, 1e-7, 1.5, 60.0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A good trace of four rows within a minute."""
    file = tmp_path / "trace.csv"
    file.write_text(TRACE)
    return file


def replay(file: Path, **fields: object) -> TraceLoad:
    return TraceLoad.model_validate({"kind": "trace", "event": "asked", "file": file} | fields)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# Recorded traces


def test_a_trace_is_read_to_a_tenth_of_a_microsecond(file: Path) -> None:
    trace = read_trace(file)
    assert trace.at_s.tolist() == pytest.approx(AT_S, abs=1e-12)
    assert trace.numbers["work"].tolist() == [44, 109, 55, 16]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + TRACE.encode(),
        TRACE.replace("\n", "\r\n").encode(),
        TRACE.rstrip("\n").encode(),
        TRACE.replace(",374,", ',"374",').encode(),
        TRACE.replace("6805900", "680590").encode(),
    ],
    ids=["byte order mark", "CRLF", "no newline at the end", "quotes", "microseconds"],
)
def test_programs_write_the_same_trace_differently(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    trace = read_trace(file)
    assert trace.at_s.tolist() == pytest.approx(AT_S, abs=1e-12)
    assert trace.numbers["work"].tolist() == [44, 109, 55, 16]


def test_a_file_that_changed_is_read_again(file: Path) -> None:
    assert len(read_trace(file).at_s) == 4
    file.write_text(HEADER + ROWS[0])
    assert len(read_trace(file).at_s) == 1


def refusal(file: Path) -> InvalidTrace:
    """How a file is refused: on one line, naming the file."""
    with pytest.raises(InvalidTrace) as refused:
        read_trace(file)
    assert refused.value.where.startswith(str(file))
    assert "\n" not in str(refused.value)
    return refused.value


@pytest.mark.parametrize(
    "broken",
    [
        "2023-11-16 18:15:47,374\n",
        "2023-11-16 18:15:47,374,44,1\n",
        "\n",
        "2023-11-16 18:15:47,374,\n",
        "2023-11-16 18:15:47,374,-44\n",
        "2023-11-16 18:15:47,-374,44\n",
        "2023-11-16 18:15:47,374,many\n",
        "2023-11-16 25:15:47,374,44\n",
        "2023-13-16 18:15:47,374,44\n",
        "yesterday,374,44\n",
        '"2023-11-16\n18:15:47",374,44\n',
        "2023-11-16 18:15:47\x00,374,44\n",
        "2023-11-16 18:15:47,374," + "9" * 400 + "\n",
        "2023-11-16 18:15:47,374," + "9" * 5000 + "\n",
    ],
    ids=lambda broken: repr(broken[:40]),
)
def test_a_broken_row_is_refused_by_its_line(file: Path, broken: str) -> None:
    file.write_text(HEADER + ROWS[0] + broken + ROWS[3])
    refused = refusal(file)
    assert refused.where.removeprefix(str(file)) in (", line 3", ", line 4" if broken.startswith('"') else "")
    assert "mend or delete" in refused.problem


@pytest.mark.parametrize("timestamp", ["", "NaT", "now", "today", "2600-01-01 00:00:00", "1600-01-01 00:00:00"])
def test_a_timestamp_that_is_no_moment(file: Path, timestamp: str) -> None:
    """NumPy would take these: as nothing, as this very day, or as a moment centuries away that wrapped around."""
    file.write_text(HEADER + f"{timestamp},374,44\n" + ROWS[3])
    assert refusal(file).where == f"{file}, line 2"


@pytest.mark.parametrize("zone", ["Z", "+00:00", "+02:00"])
def test_a_timestamp_with_a_time_zone(file: Path, zone: str) -> None:
    """It is either read or refused, but never read with only a warning."""
    file.write_text(HEADER + ROWS[0].replace(",374", f"{zone},374"))
    with suppress(InvalidTrace):
        assert len(read_trace(file).at_s) == 1


@pytest.mark.parametrize(
    "content",
    ["timestamp,context,generated\n" + ROWS[0], HEADER.replace(",", ":") + ROWS[0], "TIMESTAMP\n"],
)
def test_wrong_columns(file: Path, content: str) -> None:
    file.write_text(content)
    refused = refusal(file)
    assert refused.where == f"{file}, line 1"
    assert "expected ['TIMESTAMP', 'ContextTokens', 'GeneratedTokens']" in refused.problem


def test_a_trace_without_a_header(file: Path) -> None:
    """Its first row would be taken for names, and be lost."""
    file.write_text("".join(ROWS))
    assert "has values and no column names (2023-11-16 18:15:46.6805900, 374, 44)" in refusal(file).problem


def test_a_trace_without_rows(file: Path) -> None:
    file.write_text(HEADER)
    assert refusal(file).problem == "has no rows"


def test_a_missing_trace(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.csv").problem == "no such trace; correct its name"


def test_a_directory_in_place_of_a_trace(tmp_path: Path) -> None:
    refusal(tmp_path)


@pytest.mark.parametrize(
    "content", [TRACE.encode("utf-16"), b"\x80" * 300, HEADER.encode() + b"x" * 200_000 + b",1,2\n"]
)
def test_a_file_that_is_no_text(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert "not a CSV file in UTF-8" in refusal(file).problem


def test_a_row_in_another_encoding_is_refused_by_its_line(file: Path) -> None:
    file.write_bytes(HEADER.encode() + ROWS[0].encode() + "2023-11-16 18:15:47,374,44é\n".encode("latin-1"))
    assert refusal(file).where == f"{file}, line 3"


# Replaying


def test_a_window_of_a_trace(file: Path) -> None:
    """From `from_s` on and before its end; times count from `from_s`."""
    load = replay(file, from_s=1.0, for_s=59.0)
    assert load.arrivals_s(rng()).tolist() == pytest.approx([0.5])
    assert load.rows().numbers["work"].tolist() == [55]
    assert load.duration_s == 59.0
    assert replay(file, from_s=1.5).arrivals_s(rng()).tolist() == pytest.approx([0.0, 58.5])
    assert replay(file, from_s=1.5).duration_s == pytest.approx(58.5)


@pytest.mark.parametrize("window", [{"from_s": 61.0}, {"from_s": 2.0, "for_s": 10.0}])
def test_a_window_without_rows(file: Path, window: dict[str, float]) -> None:
    with pytest.raises(InvalidTrace, match=r"no row from .* it ends at 60 s"):
        replay(file, **window).arrivals_s(rng())


def asking(file: Path, time_scale: float) -> Scenario:
    desk = service(consumes="asked", concurrency=10).model_copy(
        update={"service_time": TokenTime(kind="tokens", base_s=0.5, per_token_s=0.1), "emits": ("told", "told")}
    )
    again = service(consumes="told").model_copy(update={"service_time": desk.service_time})
    return scenario(replay(file, time_scale=time_scale), desk=desk, again=again)


def test_time_scale_scales_arrivals_and_work_alike(file: Path) -> None:
    """So the replay is as busy as the recording was."""
    real, quick = asking(file, 1.0), asking(file, 0.04)
    assert real.plan(0).arrivals_s.tolist() == pytest.approx(AT_S)
    assert quick.plan(0).arrivals_s.tolist() == pytest.approx([0.04 * at_s for at_s in AT_S])
    work_s = [0.5 + 0.1 * tokens for tokens in (44, 109, 55, 16)]
    assert real.plan(0).service_s["desk"].tolist() == pytest.approx(work_s)
    assert quick.plan(0).service_s["desk"].tolist() == pytest.approx([0.04 * one for one in work_s])
    assert quick.offered_load.duration_s == pytest.approx(0.04 * 60)


def test_all_messages_of_one_row_have_the_work_of_that_row(file: Path) -> None:
    plan = asking(file, 1.0).plan(0)
    assert plan.service_s["again"].tolist() == pytest.approx(np.repeat(plan.service_s["desk"], 2).tolist())


def test_the_replayed_arrivals_are_sent(file: Path) -> None:
    history = simulate(asking(file, 0.5), [0])
    sent = rows_of(history, "sent")
    assert sent[sent["service"] == -1]["t_s"].tolist() == pytest.approx([at_s / 2 for at_s in AT_S])


def trace_scenario(directory: Path, **load: str) -> Path:
    declared = {
        "name": "traced",
        "load": {"kind": "trace", "event": "asked", "file": "trace.csv"} | load,
        "services": {"desk": {"consumes": "asked", "service_time": {"kind": "tokens", "base_s": 0, "per_token_s": 1}}},
    }
    file = directory / "traced.yaml"
    file.write_text(yaml.safe_dump(declared))
    return file


def test_a_trace_is_found_beside_its_scenario(file: Path) -> None:
    assert len(Scenario.load(trace_scenario(file.parent)).plan(0).arrivals_s) == 4


def test_a_sample_replaces_a_missing_file_if_that_is_asked_for(file: Path, tmp_path: Path) -> None:
    """A file that exists is never replaced."""
    declared = trace_scenario(tmp_path, file="missing.csv", sample="trace.csv")
    assert len(Scenario.load(declared, sample_if_missing=True).plan(0).arrivals_s) == 4
    with pytest.raises(InvalidTrace, match=r"missing\.csv: no such trace; data/README.md .* --sample-if-missing"):
        Scenario.load(declared).plan(0)
    (tmp_path / "missing.csv").write_text(HEADER + ROWS[0])
    assert len(Scenario.load(declared, sample_if_missing=True).plan(0).arrivals_s) == 1


# Drawn loads and times


@pytest.mark.parametrize(
    ("rate_per_s", "duration_s", "expected"),
    [
        (10.0, 1.0, 10),
        (3.0, 1.0, 3),
        (0.3, 10.0, 3),
        (1 / 3, 3.0, 1),
        (10.0, 0.05, 0),
        (2.5, 1.0, 2),
        (0.29, 100.0, 29),
    ],
)
def test_a_constant_load(rate_per_s: float, duration_s: float, expected: int) -> None:
    load: ConstantLoad = steady(rate_per_s, duration_s)
    arrivals_s = load.arrivals_s(rng())
    assert arrivals_s.tolist() == pytest.approx([i / rate_per_s for i in range(expected)])


def test_a_poisson_load() -> None:
    """Gaps are exponential and counts as spread as their mean; each p-value below 0.001 once in 1,000 seeds."""
    arrivals_s = poisson(100.0, 50.0).arrivals_s(rng())
    assert np.all(np.diff(arrivals_s) >= 0)
    assert arrivals_s[0] >= 0 and arrivals_s[-1] < 50.0
    assert stats.kstest(np.diff(arrivals_s), stats.expon(scale=0.01).cdf).pvalue > 0.001
    counts = np.histogram(arrivals_s, 500, (0, 50))[0]
    assert stats.chi2(499).sf(499 * counts.var(ddof=1) / counts.mean()) > 0.001


def test_service_times_have_the_declared_moments() -> None:
    """Within four standard errors of 200,000 draws."""
    load = poisson(1.0, 1.0)
    lognormal = LognormalTime(kind="lognormal", mean_s=0.02, cv=0.5).draw(200_000, rng(), load)
    assert lognormal.mean() == pytest.approx(0.02, rel=4 * 0.5 / 200_000**0.5)
    assert lognormal.std() / lognormal.mean() == pytest.approx(0.5, rel=0.02)
    exponential = ExponentialTime(kind="exponential", mean_s=0.02).draw(200_000, rng(), load)
    assert exponential.mean() == pytest.approx(0.02, rel=4 / 200_000**0.5)
    assert stats.kstest(exponential[:5000], stats.expon(scale=0.02).cdf).pvalue > 0.001
    assert set(constant(0.02).draw(3, rng(), load)) == {0.02}
