"""workbench monitor: on a pseudo-terminal, through a restart of Redis, and as a document."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from rich.console import Console
from typer.testing import CliRunner

import eventlib as ev
from eventlib.broker.surveying import GroupSurvey, StreamSurvey, Survey, Surveyor
from eventlib.cli.monitor.keyboard import keys_in
from eventlib.cli.monitor.screen import State, draw, sparkline
from eventlib.cli.monitor.session import Session
from eventlib.operate.judging import judge
from eventlib.operate.trends import Row, Trends
from eventlib.testing import PrivateServer, private_server
from eventlib.testing.waiting import eventually
from eventlib.thresholds import Thresholds
from sim.cli.commands import app as workbench
from tests.repository import TOP
from tests.shop import OrderPlaced, orders
from tests.terminal import on_terminal

COLOURS = re.compile(r"\x1b\[[0-9;]*\b(3[0-7]|4[0-7]|9[0-7])m")


@pytest.fixture
def server() -> Iterator[PrivateServer]:
    """One with a stream of another library, and an order of which group billing made a dead letter."""
    with private_server(port=0) as running:
        with redis.Redis.from_url(running.url) as admin:
            admin.xadd("logs", {"line": 1})
            admin.xgroup_create("logs", "indexing", "0")
            admin.xadd("alone", {"line": 1})
        asyncio.run(publish_what_is_refused(running.url))
        yield running


async def publish_what_is_refused(url: str) -> None:
    app = ev.App("shop")

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        raise ev.Reject("no such customer")

    async with ev.connect(app, url) as bus, bus.running():
        await bus.publish_many(orders(7))
        await bus.drained("orders", "billing")


def monitor(url: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "workbench", "monitor", url, "--every", "0.2", *options]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(TOP), "TERM": "xterm", "PYTHONUTF8": "1", **more}


def line(screen: list[str], *words: str) -> str:
    """The first line that has all of these words; empty if there is none."""
    return next((each for each in screen if all(word in each for word in words)), "")


def fits(screen: list[str], columns: int, lines: int) -> bool:
    return len(screen) <= lines and all(len(each) <= columns for each in screen)


def test_keys_look_into_a_group_and_a_dead_letter_and_replay_it(server: PrivateServer) -> None:
    with on_terminal(monitor(server.url), environment(NO_COLOR="1")) as terminal:
        screen = terminal.wait_for(lambda seen: line(seen, "orders", "billing") and len(seen) >= 24)
        assert fits(screen, 80, 24)
        assert line(screen, ">logs", "indexing") and line(screen, "alone", "(none)")
        assert line(screen, "GroupWithoutReaders: logs indexing") and line(screen, "DeadLetters")
        assert line(screen, "orders", "billing").split()[-1] == "1"  # a dead letter
        terminal.press("\x1b[B")
        terminal.wait_for(lambda seen: line(seen, ">orders", "billing"))
        terminal.press("d")
        screen = terminal.wait_for(lambda seen: line(seen, "order.placed", "rejected", "no such customer"))
        terminal.press("\r")
        screen = terminal.wait_for(lambda seen: line(seen, "replay", "possible") and line(seen, '"number":7'))
        assert fits(screen, 80, 24)
        terminal.press("r")
        terminal.wait_for(lambda seen: "y/n" in seen[-1])
        terminal.press("y")
        terminal.wait_for(lambda seen: "was given back to billing" in seen[-1])
        terminal.press("\x1b")
        terminal.wait_for(lambda seen: line(seen, "orders", "billing").split()[2:3] == ["1"])  # it waits again
        terminal.press("\r")
        terminal.wait_for(lambda seen: line(seen, "consumers of billing on orders"))
        terminal.press("q")
        assert terminal.ended() == 0
        assert not COLOURS.search(terminal.sent) and "monitor/" not in terminal.sent  # no traceback of its own
        assert "\x1b[?1049l" in terminal.sent[-40:]  # the screen is given back


def test_p_pauses_a_group_and_lets_it_go_on(server: PrivateServer) -> None:
    def pauses() -> list[ev.GroupPause]:
        async def ask() -> list[ev.GroupPause]:
            async with ev.connect(ev.App("shop"), server.url) as bus:
                return await bus.pauses("billing", stream="orders")

        return asyncio.run(ask())

    with on_terminal(monitor(server.url, "--set", "paused_s=0"), environment(NO_COLOR="1")) as terminal:
        terminal.wait_for(lambda seen: line(seen, "orders", "billing") and len(seen) >= 24)
        terminal.press("j")
        terminal.wait_for(lambda seen: line(seen, ">orders", "billing") or line(seen, ">", "orders", "billing"))
        terminal.press("p")
        terminal.wait_for(lambda seen: "orders billing: Pause it" in seen[-1])
        terminal.press("n")
        terminal.wait_for(lambda seen: "q quit" in seen[-1])
        terminal.press("py")
        terminal.wait_for(lambda seen: line(seen, "orders", "billing", "rest") and line(seen, "GroupPaused"))
        assert pauses()[0].paused and pauses()[0].records[0].reason == "workbench monitor"
        terminal.press("p")
        terminal.wait_for(lambda seen: "orders billing: Let it go on? y/n" in seen[-1])
        terminal.press("y")
        terminal.wait_for(lambda seen: not line(seen, "GroupPaused") and line(seen, "orders", "billing", "0/"))
        assert not pauses()[0].paused
        terminal.press("kp")  # a group of another library
        terminal.press("y")
        terminal.wait_for(lambda seen: "another library" in seen[-1])
        terminal.press("q")
        assert terminal.ended() == 0


def test_it_survives_a_restart_of_redis_and_follows_the_size_until_ctrl_c(server: PrivateServer) -> None:
    with on_terminal(monitor(server.url), environment(), 100, 30) as terminal:
        screen = terminal.wait_for(lambda seen: line(seen, "logs", "indexing"))
        assert fits(screen, 100, 30) and COLOURS.search(terminal.sent)
        server.stop()
        screen = terminal.wait_for(lambda seen: line(seen, "No answer for ", "does not answer"))
        assert line(screen, "logs", "indexing")  # what was seen last stays
        terminal.resize(120, 40)
        screen = terminal.wait_for(lambda seen: len(seen) == 40)
        assert fits(screen, 120, 40)
        server.start()
        terminal.wait_for(lambda seen: not line(seen, "No answer") and line(seen, ">logs", "indexing"))
        terminal.press("d")
        terminal.wait_for(lambda seen: "another library" in seen[-1])  # whose dead letters are not known
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.ended() == 130 and "Traceback" not in terminal.sent


def test_a_dumb_terminal_gets_one_look(server: PrivateServer) -> None:
    with on_terminal(monitor(server.url), environment(TERM="dumb")) as terminal:
        assert terminal.ended() == 0 and "indexing" in terminal.sent and "\x1b" not in terminal.sent


def once(*options: str) -> tuple[int, dict[str, Any], str]:
    done = CliRunner().invoke(workbench, ["monitor", *options])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, json.loads(done.stdout) if "-" in options else {}, done.stdout + done.stderr


def test_once_prints_and_json_tells_the_same(server: PrivateServer, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, told = once(server.url, "--once")
    assert status == 0 and line(told.splitlines(), " logs" if " logs" in told else "!logs", "indexing")
    monkeypatch.setenv("COLUMNS", "20")  # nothing is cut: the terminal breaks the lines
    _, _, narrow = once(server.url, "--once")
    assert line(narrow.splitlines(), "logs", "indexing") and re.search("GroupWithoutReaders: logs.*reads\n", narrow)
    status, document, _ = once(server.url, "--json", "-", "--set", "dead_letters=1")
    assert status == 0
    groups = {(group["name"], group["group"]): group for group in document["groups"]}
    assert set(groups) == {("alone", ""), ("logs", "indexing"), ("orders", "billing")}
    assert groups["logs", "indexing"]["waiting"] == 1 and groups["orders", "billing"]["dead_letters"] == 1
    assert [alert["name"] for alert in document["alerts"]] == ["GroupWithoutReaders"]  # one dead letter is allowed
    assert document["memory"]["eviction_policy"] == "noeviction" and document["streams"] >= 3


def test_no_server_and_bad_input_are_one_line() -> None:
    status, _, told = once("redis://127.0.0.1:1", "--once")
    assert status == 2 and told.startswith("error: ") and told.count("\n") == 1
    status, _, told = once("redis://127.0.0.1:1", "--set", "oldest_age_s")
    assert status == 2 and told == "error: --set oldest_age_s: is no NAME=VALUE, such as oldest_age_s=30\n"


# Pure: what is drawn, and what is made of several looks


def survey(lag: int, added: int, name: str = "orders", groups: int = 1) -> Survey:
    group = [GroupSurvey(f"g{n}", lag, 0, 1.0 if lag else None, None, 1, 0, 0) for n in range(groups)]
    return Survey((StreamSurvey(name, added, added, None, tuple(group)),))


def test_rates_and_growth_come_from_several_looks() -> None:
    trends = Trends(Thresholds(growth_over_s=60.0, growth_per_s=2.0))
    views = [trends.note(at_s, survey(lag=int(3 * at_s) + 100, added=int(10 * at_s))) for at_s in range(0, 80, 2)]
    assert views[0].rows[0].added_per_s is None
    last = views[-1].rows[0]
    assert (last.added_per_s, last.handled_per_s, last.lags[-2:]) == (10.0, 7.0, (328, 334))
    growing = [bool({"BacklogGrows"} & {finding.name for finding in view.findings}) for view in views]
    assert growing.index(True) == 30 and all(growing[30:])  # after a minute, and not before
    anew = trends.note(80.0, survey(lag=0, added=1))  # the stream was deleted and began anew
    assert anew.rows[0].added_per_s is None and not anew.findings


def test_growth_is_seen_for_as_long_as_it_goes_on_however_the_looks_fall() -> None:
    trends = Trends(Thresholds(growth_over_s=200.0, growth_per_s=2.0, oldest_age_s=1e9))
    for number in range(250):
        at_s = number * 2.0 + 0.011 * (number % 7)  # a look is never made exactly in time
        view = trends.note(at_s, survey(lag=int(3 * at_s) + 100, added=int(10 * at_s)))
        assert bool(view.findings) == (at_s >= 200.0), at_s


def test_unread_entries_of_a_trimmed_stream_are_near_loss_unless_eventlib_trims_it() -> None:
    def alerts(name: str, trimmed: int) -> set[str]:
        [stream] = survey(lag=9, added=10, name=name).streams
        seen = Survey((replace(stream, added=10 + trimmed),))
        return {finding.name for finding in Trends(Thresholds()).note(0.0, seen).findings}

    assert alerts("orders", trimmed=5) == {"UnreadNearLoss"}
    assert alerts("orders", trimmed=0) == alerts("ev:{orders}:events", trimmed=5) == set()


def test_what_comes_again_is_counted_with_its_stream() -> None:
    [stream] = survey(lag=2, added=10, name="ev:{orders}:events").streams
    old = replace(stream.groups[0], lag_entries=3, oldest_unread_s=500.0, group="g0")
    retry = StreamSurvey("ev:{orders}:group:g0:retry", 3, 3, None, (old,))
    dead = StreamSurvey("ev:{orders}:group:g0:dlq", 4, 4, None, ())
    view = Trends(Thresholds()).note(0.0, Survey((dead, stream, retry)))
    [row] = view.rows
    assert (row.name, row.group, row.waiting, row.dead_letters) == ("orders", "g0", 5, 4)
    assert set(row.alerts) == {"EventsWaitTooLong", "DeadLetters"}
    assert {finding.where for finding in view.findings} == {"orders g0"}


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (60, 10), (200, 60), (40, 8)])
@pytest.mark.parametrize("page", ["groups", "group", "letters", "letter"])
def test_every_page_fits(columns: int, lines: int, page: str) -> None:
    hostile = "na\x1b[31mme\n" + "x" * 300
    view = Trends(Thresholds(oldest_age_s=0.5)).note(0.0, survey(5, 9, hostile, groups=150))
    dead = ev.DeadLetter(
        "1-0", "1-0", "rejected", "a\nb" * 99, "t\n" * 99, 1, "h", "c", None, 0, {b"event": b"{}" * 999}
    )
    state = State(
        "redis://host", view, page=page, chosen=149, letters=(dead,) * 99, problem="gone\x1b[2J", silent_s=9.0
    )
    console = Console(width=columns, height=lines, force_terminal=False, color_system=None)
    with console.capture() as captured:
        console.print(draw(state, columns, lines), end="")
    screen = captured.get().split("\n")
    assert fits(screen, columns, lines) and "\x1b" not in captured.get()
    if page == "groups":
        assert line(screen, ">na", "g99")  # the last of them by name is chosen, so it is in sight


def test_sparklines_and_keys() -> None:
    assert sparkline((0, 5, 10), 8, unicode=True) == "▁▅█" and sparkline((0, 5, 10), 2, unicode=False) == "=@"
    assert sparkline((0, 0), 8, unicode=False) == "__" and sparkline((), 8, unicode=True) == ""
    assert list(keys_in("\x1b[A\x1b[Bjq\r\x1b")) == ["up", "down", "down", "q", "enter", "escape"]


# What is asked for by keys


class Looker(Surveyor):
    """Sees what it is told to see, an error too."""

    def __init__(self, *seen: Survey | Exception) -> None:
        self.where, self.seen = "here", list(seen)

    async def survey(self) -> Survey:
        seen = self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]
        if isinstance(seen, Exception):
            raise seen
        return seen


async def test_a_defect_ends_the_monitor_and_leaves_no_screen_that_stands_still() -> None:
    session = Session("", Looker(survey(1, 1), KeyError("length")), Trends(Thresholds()), 0.1, lambda: None)
    with pytest.raises(KeyError, match="length"):
        async with asyncio.timeout(30.0):
            await session.run(asyncio.Queue())


async def test_a_letter_is_replayed_to_its_own_group_though_that_is_seen_no_more() -> None:
    dead = ev.DeadLetter("1-0", "0-1", "rejected", "no", "", 1, "bill", "c", None, 0, {})
    replayed: list[str] = []

    class Queue:
        def __init__(self, group: str) -> None:
            self.group = group

        async def find(self, count: int) -> list[ev.DeadLetter]:
            return [dead]

        async def replay(self, selection: ev.Selection) -> ev.Outcome:
            replayed.append(self.group)
            return ev.Outcome(["1-0"])

    class Sitting(Session):
        async def _queue(self, row: Row) -> Any:
            return Queue(row.group)

    looker = Looker(survey(1, 1, groups=2))
    session, keys = Sitting("", looker, Trends(Thresholds()), 0.1, lambda: None), asyncio.Queue[str]()
    session.state.chosen = 1
    running = asyncio.create_task(session.run(keys))
    await eventually(lambda: session.state.row)
    keys.put_nowait("d")
    await eventually(lambda: session.state.page == "letters")
    looker.seen = [survey(1, 1)]  # group g1 is gone, and the row that is chosen is that of another
    await eventually(lambda: session.state.row is not None and session.state.row.group == "g0")
    for key in "ryq":
        keys.put_nowait(key)
    await running
    assert replayed == ["g1"]


def test_a_paused_group_is_no_group_without_readers_and_is_told_once() -> None:
    """Its stream of retries has the same consumers."""
    idle = GroupSurvey("billing", 3, 0, 500.0, None, 0, 2, 0)
    for paused_s, told in (
        (None, ["GroupWithoutReaders"] * 2),
        (599.0, ["EventsWaitTooLong"] * 2),  # on purpose, and not for long
        (600.0, ["EventsWaitTooLong", "EventsWaitTooLong", "GroupPaused"]),
    ):
        groups = (replace(idle, paused_s=paused_s),)
        keys = ("ev:{orders}:events", "ev:{orders}:group:billing:retry")
        seen = Survey(tuple(StreamSurvey(key, 3, 3, None, groups) for key in keys))
        assert sorted(finding.name for finding in judge(seen, Thresholds())) == told
