"""What travels: one typed file event, numbered, so that whoever handles it can say which one it was."""

from eventlib.catalog import FileUploaded
from eventlib.events.envelope import write
from sim.infer.validate import file_uploaded

__all__ = ["FileUploaded", "body", "event", "events", "number"]


def event(index: int) -> FileUploaded:
    """The event of that number."""
    return file_uploaded(index)


def events(count: int) -> list[FileUploaded]:
    """The first `count` events."""
    return [file_uploaded(index) for index in range(count)]


def number(event: FileUploaded) -> int:
    """Which one it is."""
    return event.size_bytes


def body(event: FileUploaded) -> bytes:
    """Its bytes on our wire, envelope included."""
    return write(event, "bench")[1]
