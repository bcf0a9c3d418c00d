"""The payload: one typed file event. It has a number, so that a handler can say which event it got."""

from eventlib.catalog import FileUploaded
from eventlib.events.envelope import write
from sim.claims.loads import file_uploaded

__all__ = ["FileUploaded", "body", "event", "events", "number"]


def event(index: int) -> FileUploaded:
    """The event with that number."""
    return file_uploaded(index)


def events(count: int) -> list[FileUploaded]:
    """The first `count` events."""
    return [file_uploaded(index) for index in range(count)]


def number(event: FileUploaded) -> int:
    """The number of the event."""
    return event.size_bytes


def body(event: FileUploaded) -> bytes:
    """The event's bytes on eventlib's wire, envelope included."""
    return write(event, "bench")[1]
