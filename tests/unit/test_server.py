"""Which server program is chosen: the first that can serve. One that cannot is passed over with a reason."""

import logging
import os
from pathlib import Path

import pytest

import eventlib as ev
from eventlib.testing import binaries, find_binaries

SAYS = {
    "6.2": "Redis server v=6.2.14 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=0",
    "KeyDB": "KeyDB server v=6.3.4 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=0",
    "nothing": "",
    "something else": "redis-server, the horse",
}


def program(directory: Path, name: str, says: str, then: str = "exit 0") -> Path:
    """A program of this name that answers `--version`."""
    directory.mkdir(exist_ok=True)
    binary = directory / name
    binary.write_text(f"#!/bin/sh\necho '{says}'\n{then}\n")
    binary.chmod(0o755)
    return binary


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose two subfolders are all of PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'first'}{os.pathsep}{tmp_path / 'second'}")
    return tmp_path


@pytest.mark.parametrize("says", SAYS.values(), ids=SAYS)
def test_a_server_on_path_that_is_too_old_is_skipped_with_a_reason(
    path: Path, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    old = program(path / "first", "redis-server", says)
    assert old not in find_binaries()
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert str(old) in warning and ("6." in warning or "version" in warning)


@pytest.mark.parametrize("says", ["Redis server v=7.0.15 sha=0", "Redis server v=10.0.0 sha=0"])
def test_a_server_on_path_that_is_new_enough_comes_first(path: Path, says: str) -> None:
    new = program(path / "first", "redis-server", says)
    valkey = program(path / "second", "valkey-server", "Valkey server v=9.1.2 sha=0")
    assert find_binaries()[:2] == [new, valkey]


def test_a_file_that_is_no_program_or_never_answers_is_skipped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_ANSWER_S", 0.2)
    broken = program(path / "first", "redis-server", "")
    broken.write_bytes(b"\x7fELF no more")
    silent = program(path / "second", "valkey-server", "", then="while :; do :; done")
    assert not {broken, silent} & set(find_binaries())


def test_if_no_server_is_usable_the_error_says_why(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_packaged", lambda module, function: None)
    old = program(path / "first", "redis-server", SAYS["6.2"])
    with pytest.raises(ev.NoServer) as caught, ev.private_server():
        pass
    told = ("REDIS_URL", "pip install 'event-workbench[server]'", str(old), "6.2", "7.0")
    assert all(part in str(caught.value) for part in told)


def test_a_private_server_uses_the_first_usable_program(path: Path) -> None:
    program(path / "first", "redis-server", SAYS["6.2"])
    found = find_binaries()
    if not found:
        pytest.skip("no server comes in a package here")
    with ev.private_server() as running:
        assert running.binary == found[0]
