"""Imports what a scenario names of the user's own: an App, a payload function, the classes of its events.

Only processes of a live run do this. Whatever the user's modules do when they are imported, they do it there.
"""

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from eventlib import App, Event
from eventlib.declare.subscriptions import Subscription
from eventlib.errors import InvalidArgument, InvalidDeclaration
from eventlib.events.schema import EventSpec, spec_of
from eventlib.importing import imported
from sim.declare.service import Service
from sim.errors import InvalidScenario


def load(name: str, service: Service, field: str) -> Any:
    """What the field `app` or `payload` of a service names.

    Raises:
        InvalidScenario: it cannot be imported.
    """
    try:
        return imported(getattr(service, field), (service.folder or os.curdir, os.curdir))
    except InvalidArgument as error:
        raise InvalidScenario(f"services.{name}.{field}", error.problem) from None


def app_of(name: str, service: Service) -> tuple[App, float]:
    """The App that a service names, and how many seconds it took to import it.

    Raises:
        InvalidScenario: it cannot be imported, or is no App.
    """
    begun_s = time.perf_counter()
    app = load(name, service, "app")
    if not isinstance(app, App):
        raise InvalidScenario(
            f"services.{name}.app", f"{service.app} is {_kind(app)}, not an App; name an eventlib.App"
        )
    return app, time.perf_counter() - begun_s


def subscription_of(name: str, service: Service, app: App, others: Iterable[str] = ()) -> Subscription:
    """The handler of what a service consumes. `others` are the other event types of the scenario.

    Raises:
        InvalidScenario: the App has no such group or handler, or one that is not modelled.
    """
    group, where = service.group or name, f"services.{name}"
    groups = sorted({one.group for one in app.subscriptions})
    of_group = {spec_of(one.event_class).type: one for one in app.subscriptions if one.group == group}
    if not of_group:
        has = f"it has {', '.join(groups)}" if groups else "it has no handlers"
        raise InvalidScenario(f"{where}.group", f"{service.app} has no group {group!r}; {has}")
    if service.consumes not in of_group:
        raise InvalidScenario(
            f"{where}.consumes",
            f"group {group!r} has no handler of {service.consumes!r}; it handles {', '.join(of_group)}",
        )
    if also := next((event for event in others if event in of_group and event != service.consumes), None):
        problem = f"group {group!r} handles {also!r} too; one group with several event types is not modelled yet"
        raise InvalidScenario(f"{where}.consumes", f"{problem}: take {also!r} out of the scenario, or give it a group")
    found = of_group[service.consumes]
    try:
        ordered = app.settings(group).ordered_by
    except InvalidDeclaration as error:
        raise InvalidScenario(f"{where}.group", str(error)) from None
    if ordered is not None:
        raise InvalidScenario(f"{where}.group", f"{group!r} is ordered by {ordered!r}, which is not modelled yet")
    return found


def known_events() -> dict[str, EventSpec]:
    """The wire names of all event classes that this process has imported, by their types."""
    return {spec.type: spec for event_class in _subclasses(Event) if (spec := event_class.event_spec) is not None}


def _subclasses(event_class: type[Event]) -> Iterator[type[Event]]:
    for found in event_class.__subclasses__():
        yield found
        yield from _subclasses(found)


def _kind(thing: object) -> str:
    return f"a {type(thing).__name__}"
