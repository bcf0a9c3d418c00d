"""A bounded file that keeps batches during an outage, in order, for as long as the outage lasts.

    header   two slots of 512 bytes, written in turn, so that a crash leaves one of them whole; the later one counts
    frames   CRC-32 and length of what follows, then a line of JSON (stream, first number, lengths, unique ids), bodies

A frame is on disk (fdatasync) before `append` returns. So a frame that was cut off by a crash was never acknowledged,
and is dropped. `position` says up to where the server has the frames. After a crash it may lag behind. That does no
harm: the numbers in the frames make a repeat harmless.
"""

import json
import logging
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from eventlib.errors import SpoolFull, SpoolUnusable
from eventlib.records import NumberedBatch, Unique

log = logging.getLogger("eventlib")

_FORMAT = "eventlib spool 1"
_SLOT = 512
_START = 2 * _SLOT
_FRAME = struct.Struct("<II")  # CRC-32 of the length and the rest, length of the rest
_LENGTH = struct.Struct("<I")
_EPOCH = 2**33  # numbers that one run of a program may use; 2**20 runs fit into the integers that Lua can count
_EPOCHS = 2**20


@dataclass(frozen=True, slots=True)
class _Header:
    namespace: str
    producer: str  # the name under which the frames were numbered
    epoch: int  # how often the file was opened; each time, numbers begin above those of the time before
    position: int  # the start of the first frame that the server may not have
    written: int  # how often a header was written: the later of the two slots has the higher number
    format: str = _FORMAT


class SpoolFile:
    """The open file. No other bus or process can open it until `close`."""

    def __init__(self, path: Path, size_bytes_max: int, namespace: str) -> None:
        """Open or create the file, and drop what a crash cut off.

        Raises:
            SpoolUnusable: another process has it, it is no spool or is damaged, or the disk refuses.
        """
        self.path = path
        self.size_bytes_max = size_bytes_max
        self._using = threading.Lock()  # a thread may still write when the bus closes
        self._tail_unclean = False  # whether a failed write may have left something after the last frame
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error, "cannot be opened; name a file in a directory that exists") from error
        try:
            self._lock()
            self._header = self._open_header(namespace)
            self._end = self._find_end()
            self._write_header(epoch=self._header.epoch + 1, position=min(self._header.position, self._end))
            os.fdatasync(self._file)
            _sync_directory(path.parent)
        except BaseException as error:
            os.close(self._file)
            if isinstance(error, OSError):
                raise self._unusable(error, "cannot be read or written") from error
            raise

    @property
    def producer(self) -> str:
        return self._header.producer

    @property
    def first_number(self) -> int:
        """The first number to use. All frames from before the file was opened have lower numbers."""
        return self._header.epoch * _EPOCH + 1

    @property
    def empty(self) -> bool:
        """Whether the server has all frames."""
        return self._header.position == self._end

    @property
    def size_bytes(self) -> int:
        return self._end - _START

    def append(self, batch: NumberedBatch) -> None:
        """Keep a batch. It is on disk when this returns.

        Raises:
            SpoolFull: the file would be larger than it may be. Nothing of the batch is kept.
            SpoolUnusable: the disk refuses. Nothing of the batch is kept.
        """
        frame = _frame_of(batch)
        self.rewind()
        if self.size_bytes + len(frame) > self.size_bytes_max:
            problem = f"Redis does not answer and the spool holds {self.size_bytes:,} of {self.size_bytes_max:,} bytes"
            raise SpoolFull(str(self.path), problem)
        with self._using:
            try:
                if self._tail_unclean:
                    os.ftruncate(self._file, self._end)
                self._tail_unclean = True
                _write_all(self._file, frame, self._end)
                os.fdatasync(self._file)
            except OSError as error:
                raise self._unusable(error, "cannot be written") from error
            self._tail_unclean = False
            self._end += len(frame)

    def read(self, count: int, size_bytes: int) -> tuple[list[NumberedBatch], int]:
        """The next batches, and the position behind them. At least one batch, if there is any.

        About `count` batches of `size_bytes` bytes together.

        Raises:
            SpoolUnusable: it is damaged, or the disk refuses.
        """
        try:
            return self._read(count, size_bytes)
        except OSError as error:
            raise self._unusable(error, "cannot be read") from error

    def _read(self, count: int, size_bytes: int) -> tuple[list[NumberedBatch], int]:
        batches: list[NumberedBatch] = []
        at = self._header.position
        while at < self._end and len(batches) < count and at - self._header.position < size_bytes:
            payload = self._payload(at, self._end)
            if payload is None:
                raise SpoolUnusable(str(self.path), f"is damaged at byte {at}")
            batches.append(_batch_of(payload))
            at += _FRAME.size + len(payload)
        return batches, at

    def advance(self, position: int) -> None:
        """Note that the server has all before `position`. Where that is the end, the file is emptied.

        Raises:
            SpoolUnusable: the disk refuses the note. Until the next one, only this object has it.
        """
        with self._using:
            self._header = replace(self._header, position=position)
            if position < self._end:
                self._try(self._write_header)
        self.rewind()

    def rewind(self) -> None:
        """Begin the file anew if the server has all of it.

        Raises:
            SpoolUnusable: the disk refuses.
        """
        with self._using:
            if self._header.position == self._end > _START:
                self._try(self._empty_file)

    def _empty_file(self) -> None:
        # The header first: a crash in between leads to a repeat, and a repeat is harmless.
        self._write_header(position=_START)
        os.ftruncate(self._file, _START)
        self._end = _START

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            raise self._unusable(error, "cannot be written") from error

    def close(self) -> None:
        """Let others open the file. What it holds stays on disk."""
        with self._using:
            os.close(self._file)
            self._file = -1  # no system call takes this for another file

    def _unusable(self, error: OSError, problem: str) -> SpoolUnusable:
        return SpoolUnusable(str(self.path), f"{problem}: {error.strerror}")

    def _lock(self) -> None:
        import fcntl  # not at the top: Windows has none, and can use everything but the spool

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            problem = "is in use by another bus or process; give each its own path"
            raise SpoolUnusable(str(self.path), problem) from error

    def _open_header(self, namespace: str) -> _Header:
        slots = [slot for at in (0, _SLOT) if (slot := _slot_of(os.pread(self._file, _SLOT, at)))]
        if not slots:
            # The second slot is the first that is ever written. A file that was cut off then has an empty first one.
            if os.fstat(self._file).st_size > _START or any(os.pread(self._file, _SLOT, 0)):
                raise SpoolUnusable(str(self.path), "is no spool, or its header is damaged; name another path")
            return _Header(namespace, secrets.token_hex(8), 0, _START, 0)
        slot = max(slots, key=lambda slot: int(slot["written"]))
        if slot["format"] != _FORMAT:
            raise SpoolUnusable(str(self.path), f"has format {slot['format']!r}; this program knows {_FORMAT!r}")
        header = _Header(**slot)
        if header.namespace != namespace:
            raise SpoolUnusable(str(self.path), f"holds events of namespace {header.namespace!r}, not {namespace!r}")
        if header.epoch >= _EPOCHS:
            raise SpoolUnusable(str(self.path), "was opened too often; start a new file once this one is empty")
        return header

    def _write_header(self, **changes: Any) -> None:
        header = replace(self._header, written=self._header.written + 1, **changes)
        text = json.dumps(asdict(header)).encode()
        slot = _FRAME.pack(zlib.crc32(text), len(text)) + text
        if len(slot) > _SLOT:
            raise SpoolUnusable(str(self.path), "the namespace is too long for a spool")
        _write_all(self._file, slot.ljust(_SLOT, b"\0"), header.written % 2 * _SLOT)
        self._header = header

    def _find_end(self) -> int:
        """Where the last whole frame ends. What a crash left half-written after it is cut off."""
        size = os.fstat(self._file).st_size
        at = max(_START, min(self._header.position, size))
        while at < size and (payload := self._payload(at, size)) is not None:
            at += _FRAME.size + len(payload)
        if at < size:
            self._cut_off(at, size)
        return at

    def _cut_off(self, at: int, size: int) -> None:
        head = os.pread(self._file, _FRAME.size, at)
        length = _FRAME.unpack(head)[1] if len(head) == _FRAME.size else 0
        if at + _FRAME.size + length < size and any(_read_all(self._file, size - at, at)):
            # Frames are written one at a time, so a crash leaves nothing after a frame that it cut off.
            raise SpoolUnusable(str(self.path), f"is damaged at byte {at}; keep a copy and ask why before you cut it")
        log.warning("%s: dropped %d bytes that a crash cut off; they were never acknowledged", self.path, size - at)
        os.ftruncate(self._file, at)

    def _payload(self, at: int, end: int) -> bytes | None:
        """What the frame at this place holds. None: there is no whole frame that ends by `end`."""
        head = os.pread(self._file, _FRAME.size, at)
        if len(head) < _FRAME.size:
            return None
        crc, length = _FRAME.unpack(head)
        payload = _read_all(self._file, length, at + _FRAME.size) if length <= end - at else b""
        whole = len(payload) == length > 0 and zlib.crc32(payload, zlib.crc32(_LENGTH.pack(length))) == crc
        return payload if whole else None


def _frame_of(batch: NumberedBatch) -> bytes:
    meta = [batch.stream, batch.first, [len(body) for body in batch.bodies], batch.uniques]
    payload = b"".join((json.dumps(meta).encode(), b"\n", *batch.bodies))
    crc = zlib.crc32(payload, zlib.crc32(_LENGTH.pack(len(payload))))
    return _FRAME.pack(crc, len(payload)) + payload


def _batch_of(payload: bytes) -> NumberedBatch:
    line, _, rest = payload.partition(b"\n")
    stream, first, lengths, uniques = json.loads(line)
    bodies, at = [], 0
    for length in lengths:
        bodies.append(rest[at : at + length])
        at += length
    return NumberedBatch(stream, first, bodies, [Unique(*unique) for unique in uniques])


def _slot_of(slot: bytes) -> dict[str, Any] | None:
    if len(slot) < _FRAME.size:
        return None
    crc, length = _FRAME.unpack_from(slot)
    text = slot[_FRAME.size : _FRAME.size + length]
    return dict(json.loads(text)) if text and zlib.crc32(text) == crc else None


def _read_all(file: int, size: int, at: int) -> bytes:
    parts = []
    while size > 0 and (part := os.pread(file, size, at)):
        parts.append(part)
        size, at = size - len(part), at + len(part)
    return b"".join(parts)


def _write_all(file: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, at)
        rest, at = rest[written:], at + written


def _sync_directory(directory: Path) -> None:
    """Make the name of a new file survive a crash of the machine."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
