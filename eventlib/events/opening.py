"""Opens what came from a stream. Each fault of an entry becomes an error of the entry, and never ends the program."""

from eventlib.errors import DataError, DecodeError
from eventlib.events.envelope import Decoder, Envelope


def opened(decoder: Decoder, event: bytes | None) -> Envelope | None:
    """The envelope of an entry's event, or None if it is of another type.

    Raises:
        DecodeError, UnsupportedVersion: it cannot be read.
    """
    if event is None:
        raise DecodeError("the entry has no field 'event'")
    try:
        return decoder.decode(event)
    except (DataError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a validator exits or cancels: the event is bad, and the program goes on
        raise DecodeError(f"{type(error).__name__} while reading it: {error}") from error
