"""AsyncAPI's own parser accepts the exported document; skipped where Node or npm is missing or cannot install it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlib as ev
from tests.node.program import place
from tests.unit import many_events

HERE = Path(__file__).parent / "asyncapi"
JUDGE_S = 60
Judge = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def judge(installed: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Judge:
    folder = place(installed(HERE), tmp_path_factory.mktemp("asyncapi") / "judge", HERE)

    def ask(document: dict[str, Any]) -> Any:
        (folder / "document.json").write_text(json.dumps(document))
        command = ["node", "judge.mjs", "document.json"]
        said = subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=JUDGE_S)
        return json.loads(said.stdout)

    return ask


def test_the_document_is_valid(judge: Judge) -> None:
    verdict = judge(ev.Registry(many_events).asyncapi())
    assert verdict["problems"] == []
    assert {channel["address"]: set(channel["messages"]) for channel in verdict["channels"]} == {
        "orders": {"order", "order.placed"},
        "trees": {"tree.grown"},
    }


def test_the_parser_refuses_a_broken_document(judge: Judge) -> None:
    document = ev.Registry(many_events).asyncapi()
    document["operations"]["send.orders"]["action"] = "shout"
    assert any("send.orders" in problem for problem in judge(document)["problems"])
