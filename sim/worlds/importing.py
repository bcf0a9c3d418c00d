"""Imports what a scenario names of the user's own: an App, a payload function, the classes of its events.

Only processes of a live run do this. Whatever the user's modules do when they are imported, they do it there.
"""

import importlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from eventlib import App, Event
from eventlib.declare.subscriptions import Subscription
from eventlib.errors import InvalidDeclaration
from eventlib.events.schema import EventSpec, spec_of
from sim.declare.own_handlers import import_path
from sim.declare.service import Service
from sim.errors import InvalidScenario


def load(name: str, service: Service, field: str) -> Any:
    """What the field `app` or `payload` of a service names.

    Raises:
        InvalidScenario: it cannot be imported.
    """
    where, text = f"services.{name}.{field}", getattr(service, field)
    module_name, attributes = import_path(text)
    _look_beside(service)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None:  # raised by hand, as optional imports do
            problem = f"importing {module_name} raises {type(error).__name__}: {error}{_line_of(error)}; correct it"
            raise InvalidScenario(where, problem) from None
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise InvalidScenario(
                where, f"{module_name} needs {error.name}, which is not installed; install it"
            ) from None
        problem = f"there is no module {error.name!r} in {', '.join(_folders(service))} or among what is installed"
        raise InvalidScenario(where, f"{problem}; correct the name") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may do anything, also exit
        what = "ends the program" if isinstance(error, SystemExit) else f"raises {type(error).__name__}: {error}"
        raise InvalidScenario(where, f"importing {module_name} {what}{_line_of(error)}; correct it") from None
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            raise InvalidScenario(where, f"{module_name} has no {attribute!r}; correct the name after the colon")
        found = getattr(found, attribute)
    return found


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
    if found.batch is not None:
        raise InvalidScenario(f"{where}.group", f"{group!r} handles batches, which are not modelled yet; use subscribe")
    try:
        settings = app.settings(group)
        ordered = settings.ordered_by
    except InvalidDeclaration as error:
        raise InvalidScenario(f"{where}.group", str(error)) from None
    if ordered is not None:
        raise InvalidScenario(f"{where}.group", f"{group!r} is ordered by {ordered!r}, which is not modelled yet")
    if settings.circuit_breaker is not None:
        raise InvalidScenario(f"{where}.group", f"{group!r} has a circuit breaker, which is not modelled yet")
    return found


def known_events() -> dict[str, EventSpec]:
    """The wire names of all event classes that this process has imported, by their types."""
    return {spec.type: spec for event_class in _subclasses(Event) if (spec := event_class.event_spec) is not None}


def _subclasses(event_class: type[Event]) -> Iterator[type[Event]]:
    for found in event_class.__subclasses__():
        yield found
        yield from _subclasses(found)


def _folders(service: Service) -> list[str]:
    return list(dict.fromkeys(os.path.abspath(place) for place in (service.folder or os.curdir, os.curdir)))


def _look_beside(service: Service) -> None:
    """Look in the service's folder and in the current one first, as a program that is started there does."""
    folders = _folders(service)
    sys.path[:] = [*folders, *(place for place in sys.path if place not in folders)]


def _line_of(error: BaseException) -> str:
    """Where the user's own code raised it."""
    trace, line = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<"):
            line = f" ({os.path.basename(file)}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return line


def _kind(thing: object) -> str:
    return f"a {type(thing).__name__}"
