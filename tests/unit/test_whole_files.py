"""A file is written whole or not at all, and what it replaces stays until then."""

import os
import threading
from pathlib import Path

import pytest

from eventlib.whole_files import check_writable, whole_file, write_whole


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_was_there_stays_where_the_new_is_not_written_to_its_end(tmp_path: Path, error: BaseException) -> None:
    file = tmp_path / "result.json"
    file.write_text("old")

    def write() -> None:
        with whole_file(file) as opened:
            opened.write(b"half of the n")
            opened.flush()
            raise error

    with pytest.raises(type(error)) as found:
        write()
    assert getattr(found.value, "filename", str(file)) == str(file)
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_nothing_is_left_of_a_new_file_that_is_not_written_to_its_end(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "result.json"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link_and_rights_stay_as_they_are(tmp_path: Path) -> None:
    file, link = tmp_path / "result.json", tmp_path / "link.json"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    write_whole(link, "new")
    assert link.is_symlink() and file.read_text() == "new" and file.stat().st_mode & 0o777 == 0o640


def test_a_new_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_whole(tmp_path / "result.json", "new")
    assert (tmp_path / "result.json").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_whole(pipe, "new")
    reader.join(10.0)
    assert read == ["new"] and pipe.is_fifo()


def test_a_directory_that_takes_no_other_file_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only for root are such directories writable all the same."""
    file = tmp_path / "result.json"
    file.write_text("old")

    def refused(*_: object) -> tuple[Path, int]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("eventlib.whole_files._beside", refused)
    write_whole(file, "new")
    assert file.read_text() == "new"
    with pytest.raises(PermissionError):
        write_whole(tmp_path / "other.json", "new")


def test_a_trial_takes_nothing_from_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commands may write one file: what one has written is not deleted by the other, which only tries."""
    file = tmp_path / "result.json"
    close = os.close

    def write_meanwhile(number: int) -> None:
        close(number)
        file.write_text("theirs")

    monkeypatch.setattr(os, "close", write_meanwhile)
    check_writable(file)
    monkeypatch.undo()
    assert file.read_text() == "theirs" and list(tmp_path.iterdir()) == [file]
