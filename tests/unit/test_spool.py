"""The file of a spool: a crash loses no acknowledged batch, only one whose append was not finished."""

import itertools
import os
from pathlib import Path

import pytest

import eventlib as ev
from eventlib.publish.spool import SpoolFile
from eventlib.records import NumberedBatch, Unique

SIZE_BYTES_MAX = 1_000_000


def opened(path: Path, size_bytes_max: int = SIZE_BYTES_MAX, namespace: str = "ev") -> SpoolFile:
    return SpoolFile(path, size_bytes_max, namespace)


def batch(first: int, *bodies: bytes) -> NumberedBatch:
    return NumberedBatch("orders", first, list(bodies), [])


def held(file: SpoolFile) -> list[NumberedBatch]:
    return file.read(1000, SIZE_BYTES_MAX)[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_batches_are_read_as_they_were_appended(path: Path) -> None:
    kept = [batch(1, b"a", b"", b"\n\0\xff"), NumberedBatch("stock", 7, [b"b"], [Unique(0, "e1", 60.0)])]
    file = opened(path)
    for one in kept:
        file.append(one)
    assert held(file) == kept
    file.close()
    again = opened(path)
    assert held(again) == kept
    again.close()


def test_each_opening_has_the_same_producer_and_higher_numbers_than_the_one_before(path: Path) -> None:
    seen = []
    for _ in range(3):
        file = opened(path)
        seen.append((file.producer, file.first_number))
        file.close()
    assert len({producer for producer, _ in seen}) == 1
    assert [b - a for (_, a), (_, b) in itertools.pairwise(seen)] == [2**33, 2**33]


def test_replayed_batches_are_not_read_again_and_the_file_is_emptied_after_the_last(path: Path) -> None:
    file = opened(path)
    for number in range(1, 4):
        file.append(batch(number, b"x" * 100))
    first, position = file.read(1, SIZE_BYTES_MAX)
    file.advance(position)
    file.close()
    file = opened(path)
    assert [one.first for one in first + held(file)] == [1, 2, 3]
    file.advance(file.read(9, SIZE_BYTES_MAX)[1])
    assert file.empty and file.size_bytes == 0 and path.stat().st_size == 1024
    file.close()


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_frame_that_a_crash_cut_off_is_dropped_and_those_before_it_stay(path: Path, cut: int) -> None:
    file = opened(path)
    file.append(batch(1, b"whole"))
    whole = path.stat().st_size
    file.append(batch(2, b"cut off" * 10))
    file.close()
    os.truncate(path, max(whole, path.stat().st_size - cut))
    again = opened(path)
    assert held(again) == [batch(1, b"whole")]
    again.append(batch(3, b"next"))
    again.close()
    last = opened(path)
    assert [one.first for one in held(last)] == [1, 3]
    last.close()


def test_zeros_at_the_end_are_cut_off_too(path: Path) -> None:
    """Some file systems leave zeros where nothing was written yet when the machine lost its power."""
    file = opened(path)
    file.append(batch(1, b"whole"))
    file.close()
    os.truncate(path, path.stat().st_size + 5000)
    again = opened(path)
    assert held(again) == [batch(1, b"whole")]
    again.close()


def test_damage_before_the_last_frame_does_not_come_from_a_crash_and_is_refused(path: Path) -> None:
    file = opened(path)
    file.append(batch(1, b"first"))
    file.append(batch(2, b"second"))
    file.close()
    before = bytearray(path.read_bytes())
    before[before.index(b"first")] ^= 1
    path.write_bytes(before)
    with pytest.raises(ev.SpoolUnusable, match="damaged"):
        opened(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("slot", [0, 512])
def test_one_damaged_header_slot_does_no_harm(path: Path, slot: int) -> None:
    for number in (1, 2):
        file = opened(path)
        file.append(batch(number, b"x"))
        file.close()
    content = bytearray(path.read_bytes())
    content[slot + 100] ^= 1
    path.write_bytes(content)
    file = opened(path)
    assert [one.first for one in held(file)] == [1, 2]
    file.close()


@pytest.mark.parametrize("content", [b"my letters", b"x" * 5000])
def test_a_file_that_is_no_spool_is_refused_and_not_changed(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ev.SpoolUnusable, match="no spool"):
        opened(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("size", [0, 512, 600, 1000])
def test_a_crash_while_it_was_created_leaves_a_usable_file(path: Path, size: int) -> None:
    opened(path).close()
    os.truncate(path, size)
    file = opened(path)
    file.append(batch(1, b"x"))
    file.close()


def test_a_second_opening_is_refused(path: Path) -> None:
    file = opened(path)
    with pytest.raises(ev.SpoolUnusable, match="in use"):
        opened(path)
    file.close()
    opened(path).close()


def test_another_namespace_is_refused(path: Path) -> None:
    opened(path).close()
    with pytest.raises(ev.SpoolUnusable, match="namespace 'ev'"):
        opened(path, namespace="other")


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ev.SpoolUnusable, match="cannot be opened; name a file in a directory that exists: No such"):
        opened(tmp_path / "missing" / "spool")


def test_a_full_spool_keeps_nothing_of_what_it_refuses(path: Path) -> None:
    file = opened(path, size_bytes_max=300)
    file.append(batch(1, b"x" * 100))
    with pytest.raises(ev.SpoolFull):
        file.append(batch(2, b"x" * 200))
    file.append(batch(3, b"y"))
    assert [one.first for one in held(file)] == [1, 3]
    file.close()
    smaller = opened(path, size_bytes_max=10)
    assert len(held(smaller)) == 2  # a smaller limit drops nothing that is there
    smaller.close()


def test_a_disk_error_raises_and_what_it_left_in_the_file_does_no_harm(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = opened(path)
    file.append(batch(1, b"x"))
    pwrite = os.pwrite

    def half(fd: int, data: memoryview, at: int) -> int:
        pwrite(fd, data[: len(data) // 2], at)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", half)
        with pytest.raises(ev.SpoolUnusable, match="No space"):
            file.append(batch(2, b"much longer than the next" * 10))
    file.append(batch(3, b"y"))
    file.close()
    again = opened(path)
    assert [one.first for one in held(again)] == [1, 3]
    again.close()
