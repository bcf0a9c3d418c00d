"""docs/security.md and docs/settings.md: their tables are those of the code, and what they show works."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import eventlib as ev
from docs.write_tables import PAGES, with_tables
from sim.cli.commands import app as workbench
from tests.repository import TOP

PAGE = {name: (TOP / "docs" / name).read_text(encoding="utf-8") for name in PAGES}


@pytest.mark.parametrize("name", PAGES)
def test_the_tables_are_those_of_the_code(name: str) -> None:
    """After a change: python -m docs.write_tables"""
    assert with_tables(PAGE[name]) == PAGE[name]
    assert PAGE[name].count("\n| --- |") == PAGE[name].count("<!-- table: ") > 0


def test_the_commands_of_the_page_print_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("s3cr3t")
    for line in re.findall(r"^workbench (acl .*)$", PAGE["security.md"], re.MULTILINE):
        result = CliRunner().invoke(workbench, shlex.split(line.replace("shop.main:app", "tests.own_app:app")))
        assert result.exit_code == 0 and result.output.startswith("ACL SETUSER ")


def test_the_file_of_the_page_is_read(tmp_path: Path) -> None:
    [text] = re.findall(r"^```toml\n(.*?)^```", PAGE["settings.md"], re.DOTALL | re.MULTILINE)
    file = tmp_path / "eventlib.toml"
    file.write_text(text)
    settings = ev.load_settings(file)
    assert (settings.outage.wait_s, settings.health.port) == (60.0, 8080)
    assert settings.redis.address() == (
        "rediss://shop@redis.internal:6379/0?ssl_ca_certs=%2Fetc%2Fssl%2Fredis-ca.pem&password_file=%2Frun%2Fsecrets%2Fredis"
    )


def test_the_error_of_the_page_is_the_one_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTLIB_OUTAGE_POLCY", "fail")
    result = CliRunner().invoke(workbench, ["settings"])
    assert result.exit_code == 2 and result.output.strip() in PAGE["settings.md"]
