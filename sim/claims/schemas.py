"""Claims about events: their types, validation, constructors, correlation and versions."""

import asyncio
import inspect
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_type_hints

from pydantic import ValidationError

import eventlib as ev
from eventlib.catalog import EVENTS, FileUploaded, NotificationRequested, NotificationSent
from eventlib.events.envelope import decode, write
from eventlib.events.schema import Event, spec_of
from sim.claims.claim import claim, counted, holds
from sim.claims.samples import sample
from sim.claims.site import Site, drains, happens
from sim.evidence.claims import Finding

_NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
_WRONG = {"no such": ["type"]}  # no field of the catalog takes it


@claim(
    "S1",
    "20 or more typed event types",
    theme="schemas",
    how="An event of every class of the catalog is made, written as it goes to Redis and read back as its own class; "
    "the types that come back equal are counted.",
    threshold="20 event types or more",
)
async def event_types(site: Site) -> Finding:
    found = set[str]()
    for each in EVENTS:
        event = sample(each)
        read = decode(write(event, "claims")[1], {spec_of(each).type: each})
        if read is not None and type(read.event) is each and read.event == event:
            found.add(spec_of(each).type)
    return counted(len(found), 20, "event types", evidence=(f"types: {', '.join(sorted(found))}",))


@claim(
    "S2",
    "Every event schema is validated",
    theme="schemas",
    how="In a valid event of every type each field in turn is left out, given a value of a wrong type, and joined by "
    "an unknown field; and an entry with wrong data is put into a stream, for a handler to refuse.",
    threshold="every wrong value is refused, and a wrong entry becomes a dead letter without a call of its handler",
)
async def validation(site: Site) -> Finding:
    wrong = [(each, data) for each in EVENTS for data in _wrong_data(each)]
    accepted = [each.__name__ for each, data in wrong if not _refused(each, data)]
    handled, reason = await _read_wrong(site)
    reader = "refused where it is read" if not handled and reason == "undecodable" else f"read: {reason}, {handled}"
    text = (
        f"{len(wrong) - len(accepted):,} of {len(wrong):,} wrong events of {len(EVENTS)} types refused; a wrong entry"
    )
    evidence = tuple(f"accepted: {name}" for name in dict.fromkeys(accepted))
    held = not accepted and not handled and reason == "undecodable"
    return holds(held, f"{text} {reader}", evidence=evidence, tried=len(wrong), accepted=len(accepted))


def _wrong_data(event_class: type[Event]) -> Iterator[dict[str, Any]]:
    data = json.loads(sample(event_class).model_dump_json())
    yield data | {"unknown_field": 1}
    for name, field in event_class.model_fields.items():
        yield data | {name: _WRONG}
        if field.is_required():
            yield {key: value for key, value in data.items() if key != name}


def _refused(event_class: type[Event], data: dict[str, Any]) -> bool:
    try:
        event_class(**data)
    except ValidationError:
        return True
    return False


async def _read_wrong(site: Site) -> tuple[list[object], str]:
    """Put an entry whose data are wrong into a stream. Returns what a handler was given, and why the entry is dead."""
    app, handled = ev.App("claims"), list[object]()

    @app.subscribe(FileUploaded, group="readers")
    async def take(event: FileUploaded, _: ev.Delivery) -> None:
        handled.append(event)

    document = json.loads(write(sample(FileUploaded), "claims")[1])
    document["data"]["size_bytes"] = "many"
    async with site.inspector("files", "readers") as inspector:
        await inspector.add(event=json.dumps(document))
    async with site.connect(app) as bus, bus.running():
        dead = bus.dead_letters("files", "readers")
        await happens(lambda: _any(dead), 3.0)
        found = await dead.find()
    return handled, found[0].reason if found else "not given up"


async def _any(dead: ev.DeadLetters) -> bool:
    return await dead.size() > 0


@claim(
    "S3",
    "Typed factories make the events",
    theme="schemas",
    how="Each event class is looked at as a constructor: every parameter is a field with a type; then "
    "the answer to a notification is made from its request, by the factory for that.",
    threshold="every event type has a constructor whose parameters are its fields, each with a type",
)
async def factories(site: Site) -> Finding:
    typed = [each.__name__ for each in EVENTS if _is_typed(each)]
    makers = [
        f"{each.__name__}.{name}"
        for each in EVENTS
        for name in ("answering", "after", "of")
        if isinstance(inspect.getattr_static(each, name, None), classmethod)
    ]
    requested = NotificationRequested.model_validate(dict(sample(NotificationRequested)))
    sent = NotificationSent.answering(requested, channel="email", sent_at=_NOON)
    follows = (sent.notification_id, sent.user_id) == (requested.notification_id, requested.user_id)
    text = f"{len(typed)} of {len(EVENTS)} types have a typed constructor; {len(makers)} factories make an event from "
    text += "the one it follows"
    return holds(len(typed) == len(EVENTS) and follows, text, evidence=tuple(makers), typed=len(typed))


def _is_typed(event_class: type[Event]) -> bool:
    hints = get_type_hints(event_class)
    parameters = inspect.signature(event_class).parameters
    return parameters.keys() == event_class.model_fields.keys() and all(
        hints[name] is not Any and parameter.kind is parameter.KEYWORD_ONLY for name, parameter in parameters.items()
    )


class _Asked(ev.Event, type="claims.asked", version=1, stream="asked"):
    number: int


class _Worked(ev.Event, type="claims.worked", version=1, stream="worked"):
    number: int


class _Told(ev.Event, type="claims.told", version=1, stream="told"):
    number: int


@claim(
    "S4",
    "Correlation ids tie together what belongs together",
    theme="schemas",
    how="20 events, each with a correlation id of its own, pass three services at once; each service publishes the "
    "next event without naming the id, and the last one notes which id came with which event.",
    threshold="all 20 ids arrive at the third service, each with its own event",
)
async def correlation(site: Site) -> Finding:
    app, arrived = ev.App("claims"), dict[int, str | None]()

    @app.subscribe(_Asked, group="first")
    async def first(event: _Asked, delivery: ev.Delivery) -> None:
        await asyncio.sleep(0.002 * (event.number % 3))  # so that they overtake each other
        await delivery.bus.publish(_Worked(number=event.number))

    @app.subscribe(_Worked, group="second")
    async def second(event: _Worked, delivery: ev.Delivery) -> None:
        await delivery.bus.publish(_Told(number=event.number))

    @app.subscribe(_Told, group="third")
    async def third(event: _Told, delivery: ev.Delivery) -> None:
        arrived[event.number] = delivery.correlation_id

    ids = [f"claim-{number}" for number in range(20)]
    async with site.connect(app) as bus, bus.running():
        await asyncio.gather(*(bus.publish(_Asked(number=n), correlation_id=id_) for n, id_ in enumerate(ids)))
        await happens(lambda: len(arrived) == len(ids))
    kept = sum(arrived.get(number) == id_ for number, id_ in enumerate(ids))
    return holds(kept == len(ids), f"{kept} of {len(ids)} ids kept over three services", kept=kept)


class _OldOrder(ev.Event, type="claims.order", version=1, stream="orders"):
    total: str


def _in_cents(data: dict[str, Any]) -> dict[str, Any]:
    return {"total_cents": round(float(data["total"]) * 100)}


class _Order(ev.Event, type="claims.order", version=2, stream="orders"):
    total_cents: int

    @ev.upcast(1, example={"total": "42.00"})
    def _from_1(data: dict[str, Any]) -> dict[str, Any]:
        return _in_cents(data)


class _NewOrder(ev.Event, type="claims.order", version=3, stream="orders"):
    total_cents: int
    currency: str

    @ev.upcast(1, example={"total": "42.00"})
    def _from_1(data: dict[str, Any]) -> dict[str, Any]:
        return _in_cents(data)

    @ev.upcast(2, example={"total_cents": 4200})
    def _from_2(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"currency": "EUR"}


@claim(
    "S5",
    "Event versions are managed, so that schemas can change",
    theme="schemas",
    how="Events of version 1, 2 and 3 are in the stream. A service that knows version 2, and the way from 1 to 2, "
    "reads them; then one that knows version 3 joins its group.",
    threshold="the first one handles versions 1 and 2 as version 2 and leaves the newer one alone; the second one "
    "handles that",
)
async def versions(site: Site) -> Finding:
    handled = dict[str, list[int]]()

    def app_of(order: type[Event]) -> ev.App:
        app = ev.App("claims")

        @app.subscribe(order, group="billing")
        async def bill(event: Any, _: ev.Delivery) -> None:
            handled.setdefault(order.__name__, []).append(event.total_cents)

        return app

    written = (_OldOrder(total="42.00"), _Order(total_cents=900), _NewOrder(total_cents=5, currency="USD"))
    async with site.inspector("orders", "billing") as inspector:
        for event in written:
            await inspector.add(event=write(event, "claims")[1])
    async with site.connect(app_of(_Order)) as old, site.connect(app_of(_NewOrder)) as new:
        async with old.running():
            await happens(lambda: len(handled.get("_Order", [])) >= 2)
            left = (await old.backlog("orders", "billing")).total
        async with new.running():
            await drains(new, "orders", ["billing"], 5.0)
        dead = [each.reason for each in await new.dead_letters("orders", "billing").find()]
    known, newer = (sorted(handled.get(name, [])) for name in ("_Order", "_NewOrder"))
    text = f"handled as version 2: {known} of [900, 4200], {left} left alone; by the newer service: {newer} of [5]; "
    held = known == [900, 4200] and newer == [5] and not dead
    return holds(held, f"{text}given up: {', '.join(dead) or 'nothing'}")
