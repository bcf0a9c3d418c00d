"""Measuring claims: a crash costs one row, Ctrl-C keeps what is there, and every statement has a row."""

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest
import redis
from typer.testing import CliRunner

import eventlib as ev
from sim.claims import levels, registry, runner
from sim.claims.claim import Claim, claim, counted, holds
from sim.claims.levels import at_least, at_most, core, mean_interval
from sim.claims.registry import all_claims
from sim.claims.runner import NoSuchClaim, chosen, measure
from sim.claims.site import Site
from sim.cli.commands import app
from sim.evidence.claims import THEMES, Finding
from tests.shop import OrderPlaced

NOT_BUILT = {"S41", "S42", *(f"S{number}" for number in range(49, 59) if number != 52)}


def made(
    id_: str, measure: Callable[[Site], object], *, limit_s: float = 30.0, noisy: bool = False, elsewhere: bool = False
) -> Claim:
    async def found(site: Site) -> Finding:
        result = measure(site)
        return result if isinstance(result, Finding) else await result  # type: ignore[misc]

    kind = {"limit_s": limit_s, "noisy": noisy, "elsewhere": elsewhere}
    return claim(id_, f"claim {id_}", theme="bus", how="it is tried", threshold="it works", **kind)(found)  # type: ignore[arg-type]


def crash(_: Site) -> Finding:
    raise ValueError("the instrument\nis broken")


def interrupt(_: Site) -> Finding:
    raise KeyboardInterrupt


async def hang(_: Site) -> Finding:
    await ev.connect(ev.App("never"), "redis://127.0.0.1:1").__aenter__()
    return holds(True, "never")


async def endless(site: Site) -> Finding:
    async with site.connect(ev.App("claims")) as bus:
        await bus.publish(OrderPlaced(number=1))
        async with bus.waiting_for(OrderPlaced, correlation_id="none", timeout_s=60.0):
            pass
    return holds(True, "never")


def good(_: Site) -> Finding:
    logging.getLogger("eventlib").warning("something was retried")
    return counted(30, 20, "things")


def bad(_: Site) -> Finding:
    return holds(False, "it does not")


def test_every_statement_has_a_row_with_a_sentence_and_a_method() -> None:
    claims = all_claims()
    assert sorted(one.number for one in claims) == list(range(1, 59))
    for one in claims:
        assert one.theme in THEMES and one.sentence and one.threshold
        assert not one.how[0].islower() and one.how.endswith("."), one.id


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [
        ("S9", {"S9"}),
        ("s5?", {f"S5{n}" for n in range(9)}),
        ("tasks", {"S11", "S12", "S13", "S14", "S15"}),
        ("dead-letter", {"S9"}),
        ("S1, patterns", {"S1", "S25", "S26", "S27", "S28"}),
    ],
)
def test_claims_are_chosen_by_number_theme_or_words(pattern: str, ids: set[str]) -> None:
    assert {one.id for one in chosen(all_claims(), pattern)} == ids


def test_a_pattern_that_names_no_claim_is_refused() -> None:
    for pattern in ("S77", "s77", "No Such Words"):
        with pytest.raises(NoSuchClaim, match=rf"^--only {pattern}: .*schemas, bus"):  # as it was written
            chosen(all_claims(), f"S9, {pattern}")


def test_what_goes_wrong_costs_one_row(url: str) -> None:
    claims = [made("S1", crash), made("S2", hang), made("S3", endless, limit_s=0.3), made("S4", good), made("S5", bad)]
    found = measure(claims, url)
    assert [row.verdict for row in found.rows] == ["unknown", "unknown", "unknown", "true", "false"]
    told = [row.finding.measured for row in found.rows]
    assert told[0] == "the measurement failed: ValueError: the instrument is broken"
    assert "BrokerUnavailable" in told[1] and told[2] == "the measurement did not end within 0.3 s"
    assert (told[3], found.rows[3].finding.distance) == ("30 things", 1.5)
    assert found.rows[3].finding.evidence == ("log: something was retried",)
    assert found.in_words == "1 of 5 claims are true, 1 false, 3 unknown, 0 not built"
    with redis.Redis.from_url(url) as raw:
        assert not list(raw.scan_iter("claim-*"))  # also of the one that was ended


def test_ctrl_c_keeps_what_was_measured(url: str) -> None:
    found = measure([made("S1", good), made("S2", interrupt), made("S3", good)], url)
    assert ([row.id for row in found.rows], found.partial, found.total) == (["S1"], True, 3)
    assert found.in_words.endswith("2 were not measured")


def test_programs_run_beside_what_waits_and_never_beside_a_speed(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Each of the two waits for the other one, so they are measured at once; the speed is measured when both ended."""
    monkeypatch.setattr(runner, "_CORES", 2)
    met, ended = threading.Barrier(2, timeout=20.0), list[str]()

    def meets(name: str) -> Callable[[Site], Finding]:
        def measured(_: Site) -> Finding:
            met.wait()
            ended.append(name)
            return holds(True, name)

        return measured

    def alone(_: Site) -> Finding:
        return holds(len(ended) == 2, f"after {len(ended)}")

    claims = [made("S1", alone, noisy=True), made("S2", meets("here")), made("S3", meets("there"), elsewhere=True)]
    found = measure(claims, url)
    assert [(row.id, row.verdict) for row in found.rows] == [("S1", "true"), ("S2", "true"), ("S3", "true")]


def test_ctrl_c_counts_no_program_that_it_may_have_reached(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(runner, "_CORES", 2)
    begun = threading.Event()

    def struck(_: Site) -> Finding:
        begun.set()
        return holds(False, "it was interrupted")

    def strike(_: Site) -> Finding:
        begun.wait(20.0)
        raise KeyboardInterrupt

    claims = [made("S1", good), made("S2", struck, elsewhere=True), made("S3", strike)]
    found = measure(claims, url)
    assert ([row.id for row in found.rows], found.partial) == (["S1"], True)


def test_an_error_begins_no_other_program(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The first program ends after the error, and the second one is never begun."""
    monkeypatch.setattr(runner, "_CORES", 2)
    measured, begun, ending = list[str](), threading.Event(), threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(False, cancel_futures=cancel_futures)
            ending.set()
            super().shutdown(wait)

    def program(name: str) -> Callable[[Site], Finding]:
        def measure(_: Site) -> Finding:
            measured.append(name)
            begun.set()
            ending.wait(20.0)
            return holds(True, name)

        return measure

    def fail(*_: object) -> None:
        begun.wait(20.0)
        raise BrokenPipeError

    monkeypatch.setattr(runner, "ThreadPoolExecutor", Pool)
    programs = [made(name, program(name), elsewhere=True) for name in ("S1", "S2")]
    with pytest.raises(BrokenPipeError):
        measure([*programs, made("S3", good)], url, progress=fail)
    assert measured == ["S1"]


def run(monkeypatch: pytest.MonkeyPatch, url: str, *claims: Claim, options: tuple[str, ...] = ()) -> tuple[int, str]:
    monkeypatch.setattr(registry, "all_claims", lambda: claims)
    done = CliRunner().invoke(app, ["claims", "--url", url, *options])
    return done.exit_code, done.output


def test_the_command_tells_and_writes_the_rows(monkeypatch: pytest.MonkeyPatch, url: str, tmp_path: Path) -> None:
    files = {name: tmp_path / f"claims.{name}" for name in ("json", "junit", "markdown")}
    options = tuple(part for name, file in files.items() for part in (f"--{name}", str(file)))
    status, told = run(monkeypatch, url, made("S1", good), made("S2", bad), made("S3", crash), options=options)
    assert status == 1
    assert "false   S2 claim S2: it does not" in told and "30 things (1.5 times the threshold)" in told
    written = json.loads(files["json"].read_text())
    assert written["verdicts"] == {"true": 1, "false": 1, "unknown": 1, "not built": 0}
    assert [one["how"] for one in written["claims"]] == ["it is tried"] * 3
    suite = ElementTree.parse(files["junit"]).getroot()
    assert [suite.get(name) for name in ("tests", "failures", "errors")] == ["3", "1", "0"]
    assert "| S2 | ❌ false | claim S2 | it does not | it is tried |" in files["markdown"].read_text()


@pytest.mark.parametrize(("last", "status"), [(good, 0), (crash, 0), (bad, 1), (interrupt, 130)])
def test_the_exit_status_says_what_was_found(
    monkeypatch: pytest.MonkeyPatch, url: str, last: Callable[[Site], Finding], status: int
) -> None:
    found, told = run(monkeypatch, url, made("S1", good), made("S2", last))
    assert found == status
    assert ("1 were not measured" in told) == (status == 130)


def test_what_is_not_built_is_neither_true_nor_false(url: str) -> None:
    found = measure([one for one in all_claims() if one.id in NOT_BUILT], url)
    assert {row.id for row in found.of("not built")} == NOT_BUILT
    assert found.in_words == "0 of 11 claims are true, 0 false, 0 unknown, 11 not built"


FAST, SLOW, MIXED = [60.0, 61.0, 62.0], [40.0, 41.0, 42.0], [40.0, 50.0, 60.0]


@pytest.mark.parametrize(
    ("values", "limit", "share", "verdict"),
    [
        (FAST, 100.0, 1.0, "true"),
        (FAST, 100.0, 0.5, "true"),  # other programs had the processor, and it was fast enough all the same
        (SLOW, 100.0, 1.0, "false"),
        (SLOW, 100.0, 0.5, "unknown"),  # it might be faster without them
        (SLOW, 45.0, 1.0, "unknown"),  # no library could do it on this machine
        (MIXED, 100.0, 1.0, "unknown"),
        ([60.0], 100.0, 1.0, "unknown"),  # one measurement has no interval
    ],
)
def test_a_speed_is_judged_by_its_interval_and_the_machine(
    values: list[float], limit: float, share: float, verdict: str
) -> None:
    found = at_least(50.0, values, "/s", limit=limit, limit_of="a bare loop", share=share)
    assert found.verdict == verdict
    assert "the limit here, a bare loop" in found.measured


@pytest.mark.parametrize("values", [FAST, SLOW])
def test_a_ratio_of_speeds_cannot_be_told_beside_other_programs(values: list[float]) -> None:
    """They may have slowed down what stands below the line."""
    told = at_least(50.0, values, "times", limit=100.0, limit_of="a bare loop", share=0.5, ratio=True)
    assert told.verdict == "unknown" and "only 50% of a core" in told.measured


async def test_the_share_of_a_core_is_that_of_the_time_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was quiet before and afterwards. Meanwhile this thread waited three times as long as it ran."""
    monkeypatch.setattr(levels, "quiet_share", quiet)
    times = iter([(1.0, 1.0), (2.0, 4.0)])
    monkeypatch.setattr(levels, "_ran_and_waited_s", lambda: next(times))
    async with core() as had:
        pass
    assert had.share == 0.25


async def quiet() -> float:
    return 1.0


async def test_a_system_that_does_not_tell_is_asked_before_and_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "quiet_share", quiet)
    monkeypatch.setattr(levels, "_SCHEDULED", Path("/none"))
    async with core() as had:
        pass
    assert had.share == 1.0


@pytest.mark.parametrize(
    ("values", "limit", "verdict"),
    [(SLOW, 10.0, "true"), (FAST, 10.0, "false"), (FAST, 55.0, "unknown"), (MIXED, 10.0, "unknown")],
)
def test_a_time_is_judged_the_other_way_round(values: list[float], limit: float, verdict: str) -> None:
    assert at_most(50.0, values, "ms", limit=limit, limit_of="a round trip", share=1.0).verdict == verdict


def test_the_interval_is_that_of_students_t() -> None:
    """Source: NIST/SEMATECH e-Handbook, 1.3.5.2: mean plus or minus t(0.975, n - 1) s / sqrt(n); t of 2 is 4.3027."""
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2.0, 2.0 - 4.302653 / 3**0.5, 2.0 + 4.302653 / 3**0.5), abs=1e-5)
