"""What a user or another program wrote is text wherever it is shown: no markup, no format, no escape sequence."""

import io
import json
import os
import re
import tempfile
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

import eventlib as ev
from eventlib.cli.terminal import err, one_line, out, print_table, printable
from eventlib.errors import NoServer
from eventlib.testing import private_server
from sim.declare.scenario import Scenario
from sim.evidence.metrics import summaries
from sim.show.console import print_checks, print_metrics, steps
from sim.show.svg import element
from tests.sim.handmade import desk, history, whole

NASTY = [
    "orders [/eu]",
    "[bold red]orders[/]",
    "[link=https://x.example]orders[/link]",
    ":smile: :warning:",
    "$x_1$ 100 % %s %(name)s {} {0.__class__} {{ x }}",
    "back\\slash \\[red] ends with \\",
    "https://x.example/?a=b&c=<d>",
    "日本語 עברית العربية ไทย देवनागरी 🙂",
    "_hidden",
    "True 1.5 None 'quoted' \"twice\" # no comment",
    "../../etc/passwd",
    "x" * 300,
    "語" * 300,
]
PRINTABLE = st.characters(exclude_categories=["C", "Z"]).filter(str.isprintable)
NAMES = st.sampled_from(NASTY) | st.text(PRINTABLE | st.just(" "), min_size=1, max_size=300)
ANYTHING = st.text(max_size=300)
FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> "Shown":
    monkeypatch.delenv("COLUMNS", raising=False)
    shown = Shown()
    for console in (out, err):
        monkeypatch.setattr(console, "_file", shown.taken)  # the setter of `file` could not be undone
    return shown


class Shown:
    """What both consoles have been given since it was asked for last."""

    def __init__(self) -> None:
        self.taken = io.StringIO()

    def take(self) -> str:
        text = self.taken.getvalue()
        self.taken.seek(0)
        self.taken.truncate()
        return text


@FEW
@given(name=NAMES)
def test_a_name_is_printed_as_it_is(shown: Shown, name: str) -> None:
    out.tell(name, (name, "bold red"))
    assert shown.take() == f"{name}{name}\n"
    out.print(name, soft_wrap=True)
    assert shown.take() == f"{name}\n"


@FEW
@given(name=NAMES)
def test_a_name_in_a_table_is_there_whole(shown: Shown, name: str) -> None:
    print_table({name: ["1", "2"], "other": [name, "x"]}, folded=())
    _, header, _, row, *_ = shown.take().split("\n")
    assert header.strip().startswith(name.strip()) and name.strip() in row
    assert cell_len(header) == cell_len(row)


@FEW
@given(name=NAMES)
def test_a_folded_name_is_there_in_parts(shown: Shown, name: str) -> None:
    name = name.replace(" ", "_")
    print_table({"name": [name], "number": ["1234567.89"]}, folded=["name"], numbers=["number"])
    rows = shown.take().split("\n")[3:]
    assert "".join(row.replace("1234567.89", "").strip() for row in rows) == name
    assert "1234567.89" in rows[0]


@FEW
@given(name=NAMES)
@example("100 % of it")
def test_a_step_of_any_name_shows_its_progress(shown: Shown, name: str) -> None:
    with steps() as advance:
        advance(name, 0.5)
        advance(f"{name} again", 0.25)
    said = shown.take()
    assert said.count("100 %") >= 2
    assert name[:20].rstrip() in said or cell_len(name[:20]) > 20


@FEW
@given(name=NAMES)
def test_a_scenario_of_any_name_is_loaded_and_shown(shown: Shown, tmp_path: Path, name: str) -> None:
    file = tmp_path / "scenario.yaml"
    declared = desk().model_dump(mode="json", by_alias=True) | {"name": name}
    file.write_text(json.dumps(declared, ensure_ascii=False), encoding="utf-8")
    scenario = Scenario.load(file)
    assert scenario.name == name
    past = history(whole(0, 0.1, 0.2), declared=scenario)
    print_metrics(past, summaries(past))
    assert shown.take().startswith(f"{name}, live, runs: 1\n")


@FEW
@given(text=ANYTHING)
@example("\x1b[2J\x07\r\u202e\u2066\ud800\x9b")
def test_nothing_that_is_shown_steers_the_terminal(shown: Shown, text: str) -> None:
    out.tell(text)
    print_table({"name": [text]}, folded=["name"])
    print_checks([])
    said = shown.take()
    assert all(character.isprintable() or character in "\n\t" for character in said)
    assert one_line(text).isprintable()
    assert printable(printable(text)) == printable(text)


def test_what_cannot_be_printed_is_escaped() -> None:
    assert one_line("a\x1b[2J\n\u202e\ud800\U000e0001") == "a\\x1b[2J\\x0a\\u202e\\ud800\\U000e0001"


@FEW
@given(name=NAMES)
@example('id="a" href="#b" url(#c)')
@example("font 'DejaVu Sans'")
def test_text_in_a_figure_is_not_rewritten(name: str) -> None:
    text = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")  # as matplotlib does
    svg = element(f'<svg id="a"><text id="b" style="fill:url(#c)">{text}</text></svg>', name="own", label=name)
    assert re.findall(r">([^<]*)</text>", svg) == [text]
    assert 'id="own-b"' in svg and "url(#own-c)" in svg


@pytest.mark.parametrize("name", ["a b", "100%25", "what?now#then", "me@there:1", "[x]{y}", "日本語", "it's $HOME"])
async def test_a_private_server_works_in_a_directory_of_any_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix=name, dir="/tmp") as directory:  # pytest's own is too long for a socket
        monkeypatch.setattr(tempfile, "tempdir", directory)
        with private_server() as server:
            assert unquote(server.url) == f"unix://{server.directory}/redis.sock"
            async with ev.connect(ev.App("shop"), server.url) as bus:
                assert str(bus.server)


@pytest.mark.parametrize(("name", "problem"), [("\udcff", "no UTF-8"), ("語" * 40, "too long")])
def test_a_private_server_refuses_a_directory_that_no_url_can_name(
    monkeypatch: pytest.MonkeyPatch, name: str, problem: str
) -> None:
    with tempfile.TemporaryDirectory(prefix=name, dir="/tmp") as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        with pytest.raises(NoServer, match=problem), private_server():
            pass
        assert not os.listdir(directory)
