"""`workbench dlq`: what an operator does from a terminal, without the App. It is the same on every server found."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from eventlib.cli.terminal import out
from eventlib.events.envelope import write
from eventlib.testing import Inspector, free_port
from sim.cli.commands import app as workbench
from tests.shop import OrderPlaced

TOP = Path(__file__).parents[2]
GOOD = write(OrderPlaced(number=1), "shop", "c1", None)[1]
GOOD_ID = json.loads(GOOD)["id"]
Dlq = Callable[..., Awaitable[Result]]


@pytest.fixture(scope="session")
def url(server: str) -> str:
    return server


@pytest.fixture
def dlq(url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Dlq:
    """Run `workbench dlq VERB orders billing ...` on this test's server and namespace."""

    def run(columns: int, verb: str, *rest: str) -> Result:
        command = ["dlq", verb, "orders", "billing", *rest, "--url", url, "--namespace", namespace]
        monkeypatch.setattr(out, "_width", columns)  # COLUMNS counted when it was made
        return CliRunner(env={"COLUMNS": str(columns), "REDIS_URL": None}).invoke(workbench, command)

    async def run_beside(*arguments: str, columns: int = 160) -> Result:
        return await asyncio.to_thread(run, columns, *arguments)

    return run_beside


@pytest.fixture
async def ids(inspector: Inspector) -> list[str]:
    """Four dead letters: exhausted, rejected, truncated, and one whose text has control characters for the terminal."""
    fields: list[dict[Any, Any]] = [
        {"reason": "exhausted", "error": "TimeoutError: the bank", "handler": "shop.bill", "raw.event": GOOD},
        {"reason": "rejected", "error": "Reject: negative", "handler": "shop.bill", "raw.event": GOOD},
        {"reason": "undecodable", "error": "DecodeError: not JSON", "raw.event": GOOD[:-5]},
        {
            "reason": "exhausted",
            "error": "E: [red]\x1b[2J\r\n[/]",
            "traceback": "\x1b]0;x\x07",
            "raw.\x1b": b"\xff\x00",
        },
    ]
    return [(await inspector.raw.xadd(inspector.keys.dead_letters, each)).decode() for each in fields]  # type: ignore[union-attr]


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(result: Result, *told: str) -> None:
    """It ends with status 2 and one message that says all of this. The message may be wrapped."""
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    said = " ".join(result.output.replace("│", " ").split())
    assert [part for part in told if part not in said] == [], said


async def test_list(dlq: Dlq, ids: list[str], tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    said = done(await dlq("list", "--json", str(file)))
    assert "4 dead letters, the oldest died" in said
    assert all(id_ in said for id_ in ids) and "order.placed" in said and "TimeoutError: the bank" in said
    listed = json.loads(file.read_text())
    assert [dead["id"] for dead in listed["dead_letters"]] == ids
    assert (listed["size"], listed["after"]) == (4, None)
    assert listed["dead_letters"][0]["raw"]["event"] == GOOD.decode()
    assert listed["dead_letters"][3]["raw"] == {"\x1b": {"base64": "/wA="}}


@pytest.mark.parametrize("columns", [80, 120])
async def test_the_list_fits_the_terminal_and_ids_are_whole(dlq: Dlq, ids: list[str], columns: int) -> None:
    lines = done(await dlq("list", columns=columns)).splitlines()
    assert max(map(len, lines)) <= columns
    assert [id_ for id_ in ids if not any(id_ in line for line in lines)] == []


@pytest.mark.parametrize(("columns", "marks"), [(160, ["edited", "edited, replayed 2x"]), (80, ["e", "e 2x"])])
async def test_the_list_shows_replays_and_edits(
    dlq: Dlq, ids: list[str], inspector: Inspector, columns: int, marks: list[str]
) -> None:
    assert "past" not in done(await dlq("list", columns=columns))
    again: dict[Any, Any] = {"reason": "unsupported_version", "error": "E: again", "replays": "2", "raw.event": GOOD}
    twice = (await inspector.raw.xadd(inspector.keys.dead_letters, again)).decode()  # type: ignore[union-attr]
    done(await dlq("edit", ids[0], "--data", '{"number": 5}'))
    done(await dlq("edit", twice, "--data", '{"number": 5}'))
    lines = done(await dlq("list", columns=columns)).splitlines()
    assert max(map(len, lines)) <= columns
    row_of = {id_: next(line for line in lines if id_ in line) for id_ in (*ids, twice)}
    assert f" exhausted            {marks[0]} " in row_of[ids[0]] and " Timeout" in row_of[ids[0]]
    assert f" unsupported_version  {marks[1]} " in row_of[twice] and " E: again" in row_of[twice]
    assert " e " not in row_of[ids[1]] and "edited" not in row_of[ids[1]]


async def test_pages(dlq: Dlq, ids: list[str]) -> None:
    first = done(await dlq("list", "--limit", "3"))
    assert ids[2] in first and ids[3] not in first and f"--after {ids[2]}" in first
    second = done(await dlq("list", "--limit", "3", "--after", ids[2]))
    assert ids[2] not in second and ids[3] in second and "--after" not in second


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--reason", "rejected"], [1]),
        (["--error", "timeout"], [0]),
        (["--type", "order.placed"], [0, 1]),
        (["--handler", "shop", "--reason", "exhausted"], [0]),
        (["--event-id", GOOD_ID], [0, 1]),
        (["--event-id", GOOD_ID, "--reason", "rejected"], [1]),
        (["--event-id", "another"], []),
        (["--since", "1h"], [0, 1, 2, 3]),
        (["--since", "2026-01-01", "--until", "2026-01-02T03:04:05Z"], []),
        (["--until", "1h"], []),
        (["--older-than", "7d"], []),
    ],
)
async def test_filters(dlq: Dlq, ids: list[str], filters: list[str], found: list[int]) -> None:
    said = done(await dlq("list", *filters))
    assert [n for n, id_ in enumerate(ids) if id_ in said] == found
    assert found or "None of them fits" in said
    one = "1 dead letter fits, of 4" if len(found) == 1 else f"{len(found)} dead letters fit, of 4"
    assert said.startswith("billing on orders: " + ("4 dead letters, the oldest died" if len(found) == 4 else one))


async def test_a_page_of_a_filtered_list_is_headed_by_the_count_of_all_that_fit(
    dlq: Dlq, ids: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "list.json"
    said = done(await dlq("list", "--event-id", GOOD_ID, "--limit", "1", "--json", str(file)))
    assert said.startswith("billing on orders: 2 dead letters fit, of 4\n") and f"--after {ids[0]}" in said
    listed = json.loads(file.read_text())
    assert (listed["size"], listed["fitting"], len(listed["dead_letters"])) == (4, 2, 1)


async def test_replaying_what_is_gone_fails_and_says_so(dlq: Dlq, ids: list[str]) -> None:
    assert "2 dead letters would be replayed" in done(await dlq("replay", "--event-id", GOOD_ID))
    assert "2 dead letters replayed" in done(await dlq("replay", "--event-id", GOOD_ID, "--yes"))
    for arguments in (
        ["--event-id", GOOD_ID, "--yes"],
        ["--event-id", GOOD_ID],
        ["--id", ids[0], "--yes"],
        ["--id", ids[0]],
    ):
        again = await dlq("replay", *arguments)
        assert again.exit_code == 1 and again.stdout.startswith("0 dead letters ")
        assert arguments[1] in again.stderr and "was replayed or purged, or never was" in again.stderr
    purged = await dlq("purge", "--id", ids[0], "--yes")
    assert purged.exit_code == 0 and f"{ids[0]} is gone" in purged.stderr


async def test_show_escapes_control_characters(dlq: Dlq, ids: list[str]) -> None:
    said = done(await dlq("show", ids[0]))
    assert all(part in said for part in ("exhausted", "TimeoutError: the bank", "shop.bill", "c1", GOOD.decode()))
    said = done(await dlq("show", ids[3])) + done(await dlq("list"))
    assert "\x1b" not in said and "\x07" not in said and "\r" not in said
    assert "[red]\\x1b[2J\\x0d" in said


async def test_an_edited_event_that_died_again_is_not_shown_as_published(dlq: Dlq, inspector: Inspector) -> None:
    again: dict[Any, Any] = {"reason": "exhausted", "edited": "1790000000000", "raw.event": GOOD, "raw.other": b"x"}
    id_ = (await inspector.raw.xadd(inspector.keys.dead_letters, again)).decode()  # type: ignore[union-attr]
    said = done(await dlq("show", id_))
    assert "field event when it died" in said and "field other when it died" in said and "published" not in said


async def test_a_dead_letter_stays_for_one_reason(dlq: Dlq, ids: list[str]) -> None:
    stays = await dlq("replay", "--id", ids[0], "--keep-attempts")
    assert "used up (0); replay it without keeping them" in stays.stderr and "edit it first" not in stays.stderr


async def test_count(dlq: Dlq, ids: list[str], tmp_path: Path) -> None:
    done(await dlq("count", "--json", str(tmp_path / "count.json")))
    counted = json.loads((tmp_path / "count.json").read_text())
    assert (counted["all"], counted["by_reason"]) == (len(ids), {"exhausted": 2, "rejected": 1, "undecodable": 1})


async def test_edit_and_replay(dlq: Dlq, ids: list[str], inspector: Inspector, tmp_path: Path) -> None:
    stays = await dlq("replay", "--id", ids[0], "--id", ids[2])
    assert stays.exit_code == 1 and f"{ids[2]} stays: not JSON" in stays.stderr and "edit it first" in stays.stderr
    whole = tmp_path / "event.json"
    whole.write_bytes(GOOD)
    done(await dlq("edit", ids[2], "--event-file", str(whole)))
    assert '"number":5' in done(await dlq("edit", ids[0], "--data", '{"number": 5}'))
    (tmp_path / "data.json").write_text('{"number": 6}')
    done(await dlq("edit", ids[0], "--data-file", str(tmp_path / "data.json")))
    which = [part for id_ in ids[:3] for part in ("--id", id_)]
    assert "3 dead letters would be replayed; --yes does it" in done(await dlq("replay", *which))
    assert await inspector.events(retried=True) == []
    assert "3 dead letters replayed" in done(await dlq("replay", *which, "--yes"))
    again = await dlq("replay", *which, "--yes", "--json", str(tmp_path / "again.json"))
    assert again.exit_code == 1 and "0 dead letters replayed" in again.stdout and f"{ids[0]} is gone" in again.stderr
    assert json.loads((tmp_path / "again.json").read_text())["gone"] == ids[:3]
    events = [fields[b"event"] for fields in await inspector.events(retried=True)]
    assert events == [GOOD.replace(b'"number":1', b'"number":6'), GOOD, GOOD]


async def test_purge(dlq: Dlq, ids: list[str], inspector: Inspector) -> None:
    assert "1 dead letter would be purged" in done(await dlq("purge", "--reason", "rejected"))
    assert "0 dead letters purged" in done(await dlq("purge", "--older-than", "1h", "--yes"))
    assert await inspector.raw.xlen(inspector.keys.dead_letters) == 4
    assert "1 dead letter purged" in done(await dlq("purge", "--reason", "rejected", "--yes"))
    limited = done(await dlq("purge", "--limit", "2", "--yes"))
    assert "2 dead letters purged" in limited and "More of them fit" in limited
    assert await inspector.raw.xlen(inspector.keys.dead_letters) == 1


@pytest.mark.one_server
async def test_bad_input_is_reported_in_one_message(dlq: Dlq, ids: list[str], tmp_path: Path) -> None:
    refused(await dlq("list", "--json", str(tmp_path)), "cannot be written", "name a file")
    refused(await dlq("show", "7-7"), "no dead letter 7-7", "replayed or purged")
    refused(await dlq("show", "last"), "'last' is not an id")
    refused(await dlq("list", "--after", "x"), "'x' is not an id")
    refused(await dlq("list", "--reason", "tired"), "'tired' is none of rejected, exhausted")
    refused(await dlq("list", "--older-than", "7"), "'7' is no age", "7d")
    refused(await dlq("list", "--since", "noon"), "'noon' is no moment", "2h")
    refused(await dlq("edit", ids[0]), "one of --data, --data-file and --event-file")
    refused(await dlq("edit", ids[0], "--data", "{"), "--data is not JSON")
    refused(await dlq("edit", ids[0], "--data", "[1]"), "must be a JSON object")
    refused(await dlq("edit", ids[0], "--data", '{"a": NaN}'), "no JSON form")
    refused(await dlq("edit", ids[2], "--data", "{}"), "give the whole event")
    refused(await dlq("edit", ids[0], "--event-file", str(tmp_path / "none")), "none", "No such file")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    refused(await dlq("edit", ids[0], "--data-file", str(binary)), "is not JSON")
    refused(await dlq("edit", ids[0], "--event-file", str(binary)), "not JSON")
    assert done(await dlq("edit", ids[0], "--event-file", str(binary), "--force"))


@pytest.mark.one_server
def test_without_a_url_no_server_is_started_or_guessed(
    url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(workbench, ["dlq", *arguments])

    refused(run("list", "orders", "billing"), "pass --url or set REDIS_URL")
    away = f"redis://127.0.0.1:{free_port()}/0"
    refused(run("list", "orders", "billing", "--url", away), "is it running")
    here = ("--url", url, "--namespace", namespace)
    refused(run("purge", "orders", "billing", "--yes", *here), "no group 'billing' on stream 'orders'")
    refused(run("list", "{orders}", "billing", *here), "not a valid name")


@pytest.mark.parametrize("verb", ["list", "show", "count", "edit", "replay", "purge"])
def test_every_verb_shows_an_example(verb: str) -> None:
    said = CliRunner().invoke(workbench, ["dlq", verb, "--help"])
    assert said.exit_code == 0 and f"Example: workbench dlq {verb} orders billing" in said.stdout


async def test_an_empty_queue_is_no_error(dlq: Dlq, inspector: Inspector) -> None:
    await inspector.create()
    assert "0 dead letters" in done(await dlq("list"))
    assert "0 dead letters would be replayed" in done(await dlq("replay"))
