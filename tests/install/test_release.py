"""The check before a release finds what is not ready. `make release-check` runs the whole of it."""

from pathlib import Path

import pytest

from tests.install import release
from tests.install.release import NotReady, main, run, tried


def test_a_command_that_fails_is_shown_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"(?s)ended with 3.*it is broken"):
        run(["sh", "-c", "echo it is broken; exit 3"], tmp_path)
    assert run(["sh", "-c", "echo done; exit 3"], tmp_path, statuses=(0, 3)) == "done\n"


def programs(folder: Path, version: str) -> Path:
    """An installation whose programs say a version, and do nothing."""
    folder.mkdir()
    for name, said in (("python", f"{version} {version}"), ("workbench", f"event-workbench {version}")):
        (folder / name).write_text(f"#!/bin/sh\necho {said}\n")
        (folder / name).chmod(0o755)
    return folder


def test_another_version_is_not_ready(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"what is installed .*9\.9\.9"):
        next(tried(programs(tmp_path / "bin", "9.9.9"), tmp_path / "work"))


def test_a_program_that_prints_something_else_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sim

    steps = tried(programs(tmp_path / "bin", sim.__version__), tmp_path / "work")
    assert next(steps) == f"its version is {sim.__version__}"
    with pytest.raises(NotReady, match="README's first program"):
        next(steps)


def test_a_python_that_does_not_start_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "python3.77"
    shim.write_text("#!/bin/sh\necho 'python3.77: command not found' >&2; exit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert not release.starts("python3.77") and not release.starts("python3.78")
    shim.write_text("#!/bin/sh\necho Python 3.77.0\n")
    assert release.starts("python3.77")


def test_without_any_python_it_is_not_ready(capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing is built for none."""
    assert main(["python2.1"]) == 1
    said = capsys.readouterr().err
    assert "of python2.1 none starts" in said and "building" not in said
