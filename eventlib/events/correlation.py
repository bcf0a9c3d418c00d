"""The correlation id, which all events that one request caused share: made, and found in an envelope's bytes.

A program that waits for one event looks at every entry of a stream. So the id is found without reading the envelope.
"""

from uuid import UUID

from pydantic_core import from_json
from uuid_utils import uuid7

_KEY = b',"correlationid":"'
_VERSION_WITH_TIME = 7


def new_correlation_id() -> str:
    """A new correlation id, a UUID version 7: it sorts by time.

    A program that must find its reply after it was killed makes the id first, and stores it before it publishes.
    """
    return str(uuid7())


def made_at_ms(correlation_id: str) -> int | None:
    """When a correlation id was made, in milliseconds since 1970 by its maker's clock. None if it does not say."""
    try:
        number = UUID(correlation_id)
    except ValueError:
        return None
    return number.int >> 80 if number.version == _VERSION_WITH_TIME else None


def correlation_id_of(raw: bytes) -> str | None:
    """The correlation id that an envelope says it has. None if it has none, or if it is no JSON object.

    An envelope that eventlib wrote has the id before its data, so the first one found counts. In another order of
    attributes, or where JSON escapes are used, the whole envelope is read: `data` may have a field of this name too.
    """
    at = raw.find(_KEY)
    if at >= 0 and raw.find(b'"data"', 0, at) < 0:
        begin = at + len(_KEY)
        text = raw[begin : raw.find(b'"', begin)]
        if b"\\" not in text:
            return text.decode(errors="replace")
    elif b'"correlationid"' not in raw and b"\\u" not in raw:
        return None
    try:
        found = from_json(raw)
    except ValueError:
        return None
    named = found.get("correlationid") if isinstance(found, dict) else None
    return named if isinstance(named, str) else None
