"""W3C trace context, as envelopes carry it: checked when it is read, refused when it is given, continued by a child.

Source: W3C Recommendation "Trace Context", 23 November 2021, sections 3.2 and 3.3.
"""

import re
import secrets

from eventlib.errors import InvalidArgument, shown

_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-.*)?",
    re.ASCII,
)
_KEY = r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_TRACESTATE_MEMBER = re.compile(f"{_KEY}={_VALUE}")
_TRACESTATE_MEMBERS_MAX = 32


def checked_trace(traceparent: object, tracestate: object) -> tuple[str | None, str | None]:
    """Both as received, or None for what is malformed. Without its parent, a state means nothing and is dropped."""
    if not _is_traceparent(traceparent):
        return None, None
    return traceparent, tracestate if _is_tracestate(tracestate) else None  # type: ignore[return-value]  # text


def refuse_bad_trace(traceparent: str | None, tracestate: str | None) -> None:
    """Check what a caller gave.

    Raises:
        InvalidArgument: the recommendation does not allow it.
    """
    if not _is_traceparent(traceparent):
        raise InvalidArgument(
            f"traceparent={shown(traceparent)}",
            "is no W3C trace context; give '00-<32 hex>-<16 hex>-<2 hex>', lower-case",
        )
    if tracestate is not None and not _is_tracestate(tracestate):
        raise InvalidArgument(f"tracestate={shown(tracestate)}", "is no W3C trace state; give 'vendor=value,...'")


def _is_traceparent(text: object) -> bool:
    found = _TRACEPARENT.fullmatch(text) if isinstance(text, str) else None
    return found is not None and (found["version"] != "00" or found["more"] is None)


def _is_tracestate(text: object) -> bool:
    if not isinstance(text, str):
        return False
    members = [member for part in text.split(",") if (member := part.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    return 0 < len(members) == len(keys) <= _TRACESTATE_MEMBERS_MAX and all(
        _TRACESTATE_MEMBER.fullmatch(member) for member in members
    )


def child_of(traceparent: str) -> str:
    """The same trace, in version 00, with a new parent id for this publishing."""
    version, trace, _, flags = traceparent[:55].split("-")
    flags_00 = flags if version == "00" else f"{int(flags, 16) & 1:02x}"  # a later version's "sampled" means the same
    return f"00-{trace}-{secrets.token_hex(8)}-{flags_00}"
