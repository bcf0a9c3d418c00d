"""What a change of schemas breaks: readers, writers, or nothing. Pure, over two exported documents.

A change breaks *readers* if programs with the old schemas cannot read what programs with the new ones write. It breaks
*writers* if programs with the new schemas cannot read what programs with the old ones wrote, before or while both run.
Readers ignore fields that they do not know. A change that cannot be shown to be harmless counts as breaking: two unions
are compared member by member, unknown keywords count as rules, and a validator whose code changed may refuse anything.
Fields are the same if one side reads the name under which the other one writes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eventlib.events.alternatives import Schema, Side
from eventlib.events.constraints import BOTH, NOTHING, READERS, WRITERS, Breaks
from eventlib.events.shapes import Comparison


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One difference between two registries' events.

    `path` leads to the field inside `data`, empty for the event itself; `[]` are the elements of a list, `.*` the
    values of a mapping and `{}` its keys. `rule` is a name for machines; `breaks` holds "readers" (old programs on new
    events), "writers" (new programs on old events), both or nothing.
    """

    event: str
    path: str
    rule: str
    breaks: Breaks
    detail: str

    def __str__(self) -> str:
        place = f"{self.event} {self.path}".rstrip()
        return f"{place}: {self.detail}; breaks {' and '.join(sorted(self.breaks)) or 'nothing'}"


def schema_changes(old: Schema, new: Schema) -> list[SchemaChange]:
    """All changes from one exported document to another, by event.

    The documents are as `Registry.asyncapi` makes them and `open_export` reads them.
    """
    before, after = _events(old), _events(new)
    changes: list[SchemaChange] = []
    for event in sorted(before.keys() | after.keys()):
        if event not in after:
            changes.append(SchemaChange(event, "", "event_removed", WRITERS, "the event is gone; no program reads it"))
        elif event not in before:
            changes.append(SchemaChange(event, "", "event_added", NOTHING, "the event is new"))
        else:
            changes += _event_changes(event, Side(before[event], old), Side(after[event], new))
    return changes


def _events(document: Schema) -> dict[str, Schema]:
    schemas = document["components"]["schemas"].values()
    return {s["x-event"]["type"]: s for s in schemas if isinstance(s, Mapping) and "x-event" in s}


# The event


def _event_changes(event: str, old: Side, new: Side) -> Iterator[SchemaChange]:
    was, now = old.schema["x-event"], new.schema["x-event"]
    if was["stream"] != now["stream"]:
        detail = f"moved from stream {was['stream']!r} to {now['stream']!r}; old and new programs use different streams"
        yield SchemaChange(event, "", "stream_changed", BOTH, detail)
    yield from _version_changes(event, was, now)
    shape = [SchemaChange(event, *found) for found in dict.fromkeys(Comparison().compare("", old, new))]
    if was["version"] != now["version"]:  # the version tells the shapes apart: no reader takes one for the other
        yield from (SchemaChange(c.event, c.path, c.rule, NOTHING, c.detail) for c in shape)
        return
    yield from shape
    if broken := frozenset(side for change in shape for side in change.breaks):
        version = now["version"]
        detail = f"another shape under version {version}: raise it to {version + 1} and declare upcast({version})"
        yield SchemaChange(event, "", "version_not_raised", broken, detail)


def _version_changes(event: str, was: Schema, now: Schema) -> Iterator[SchemaChange]:
    raised = f"version {was['version']} -> {now['version']}"
    if now["version"] > was["version"]:
        detail = f"{raised}: update readers first; older ones can only put it aside"
        yield SchemaChange(event, "", "version_raised", READERS, detail)
    elif now["version"] < was["version"]:
        detail = f"{raised}: events that were written before are too new now"
        breaks = WRITERS if now["version"] >= was["oldest"] else BOTH
        yield SchemaChange(event, "", "version_lowered", breaks, detail)
    if was["oldest"] < now["oldest"]:
        last = min(was["version"], now["oldest"] - 1)
        versions = f"version {last}" if was["oldest"] == last else f"versions {was['oldest']} to {last}"
        detail = f"{versions} can no longer be read; declare upcast({was['oldest']}) and on"
        yield SchemaChange(event, "", "version_dropped", WRITERS, detail)
    elif now["oldest"] < was["oldest"]:
        yield SchemaChange(event, "", "version_supported", NOTHING, f"now reads from version {now['oldest']} on")
