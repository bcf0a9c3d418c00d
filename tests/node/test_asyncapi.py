"""AsyncAPI's own parser accepts the exported document; skipped where Node or npm is missing or cannot install it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlib as ev
from tests.unit import many_events

HERE = Path(__file__).parent / "asyncapi"
INSTALL_S, JUDGE_S = 180, 60
Judge = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are needed to judge AsyncAPI documents")
    folder = tmp_path_factory.mktemp("asyncapi")
    for name in ("package.json", "judge.mjs"):
        shutil.copy(HERE / name, folder)
    install = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    try:
        subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=INSTALL_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm could not install the parser: {type(error).__name__}")

    def ask(document: dict[str, Any]) -> Any:
        (folder / "document.json").write_text(json.dumps(document))
        command = [node, "judge.mjs", "document.json"]
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


def test_the_judge_finds_a_fault(judge: Judge) -> None:
    document = ev.Registry(many_events).asyncapi()
    document["operations"]["send.orders"]["action"] = "shout"
    assert any("send.orders" in problem for problem in judge(document)["problems"])
