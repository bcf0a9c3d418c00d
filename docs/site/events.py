"""The events of the catalog, as their classes declare them."""

import inspect
from itertools import groupby

from docs.site.api import plain
from docs.site.markdown import heading, table
from eventlib.catalog import EVENTS
from eventlib.events.schema import Event, spec_of


def catalog() -> str:
    """A section for each stream, and in it each event with its fields."""
    parts = list[str]()
    for stream, events in groupby(sorted(EVENTS, key=_stream), key=_stream):
        parts.append(heading(2, f"Stream `{stream}`"))
        for event in sorted(events, key=lambda event: spec_of(event).type):
            spec = spec_of(event)
            parts += [
                heading(3, f"`{spec.type}`"),
                f"`{event.__name__}`, version {spec.version}. {plain(event.__doc__)}\n",
            ]
            parts.append(
                table(
                    ["field", "type", "default"],
                    (
                        [
                            f"`{name}`",
                            f"`{inspect.formatannotation(field.annotation).replace('eventlib.catalog.', '')}`",
                            "needed" if field.is_required() else f"`{field.default!r}`",
                        ]
                        for name, field in event.model_fields.items()
                    ),
                )
            )
    return "\n".join(parts)


def _stream(event: type[Event]) -> str:
    return spec_of(event).stream
