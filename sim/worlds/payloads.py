"""What the events of the load say, where handlers of the user's own read them."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from eventlib import Event
from eventlib.errors import DataError, InvalidArgument
from eventlib.events.envelope import decode
from eventlib.events.schema import spec_of
from sim.declare.declared import Floats
from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.errors import InvalidScenario
from sim.worlds.importing import app_of, load, subscription_of

Payload = Callable[[int], Event]  # the event with this number
_GOLDEN = (5**0.5 - 1) / 2  # so many parts of a file further on for each seed: the places of seeds lie far apart


def payload_of(
    scenario: Scenario, event: str, seed: int, fields: Mapping[str, Floats] = MappingProxyType({})
) -> Payload | None:
    """Makes events of this type. None where no App handles them. The same number and seed give the same event.

    `fields` of the load are set in each, shape (messages,).

    Raises:
        InvalidScenario: they cannot be made.
    """
    services = [(name, one) for name, one in scenario.services.items() if one.app and one.consumes == event]
    if not services:
        return None
    name, service = next((found for found in services if found[1].payload), services[0])
    event_class = subscription_of(name, service, app_of(name, service)[0]).event_class
    said = fields if event in scenario.offered_load.events else {}
    _check_known(event_class, said)
    made = _payload(scenario, name, service, event_class, seed, said)
    return _saying(made, event_class, said) if said else made


def _payload(
    scenario: Scenario, name: str, service: Service, event_class: type[Event], seed: int, said: Mapping[str, Floats]
) -> Payload:
    if service.recorded_events is not None:
        recorded = _recorded(name, service, event_class)
        first = int(seed * _GOLDEN * len(recorded)) % len(recorded)
        return lambda index: recorded[(first + index) % len(recorded)]
    if service.payload is not None:
        return _generated(name, service, event_class, list(scenario.services).index(name), seed)
    example = _example(name, event_class, said)
    return lambda index: example


def _check_known(event_class: type[Event], fields: Mapping[str, Floats]) -> None:
    if unknown := next((name for name in fields if name not in event_class.model_fields), None):
        known = ", ".join(event_class.model_fields) or "none"
        problem = f"{event_class.__name__} has no field {unknown!r}; there are: {known}"
        raise InvalidScenario(f"load.fields.{unknown}", problem)


def _saying(made: Payload, event_class: type[Event], fields: Mapping[str, Floats]) -> Payload:
    """The same events, each with what the load lets it say."""
    numbers = {name: (_adapter(event_class, name), of_field.tolist()) for name, of_field in fields.items()}

    def make(index: int) -> Event:
        said = {
            name: _taken(event_class, name, of_field[index], adapter) for name, (adapter, of_field) in numbers.items()
        }
        return made(index).model_copy(update=said)

    return make


def _adapter(event_class: type[Event], name: str) -> TypeAdapter[Any]:
    return TypeAdapter(event_class.model_fields[name].rebuild_annotation())


def _taken(event_class: type[Event], name: str, value: float, adapter: TypeAdapter[Any]) -> Any:
    """The value as the event's field takes it. It is refused where the field does not."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        problem = f"{event_class.__name__} does not take {value:g} ({error.errors()[0]['msg']}); whole: true rounds it"
        raise InvalidScenario(f"load.fields.{name}", problem) from None


def _generated(name: str, service: Service, event_class: type[Event], place: int, seed: int) -> Payload:
    where, function = f"services.{name}.payload", load(name, service, "payload")
    if not callable(function):
        raise InvalidScenario(where, f"{service.payload} is no function; name one that takes a number and a generator")

    def make(index: int) -> Event:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1 + place, 5, index)))
        try:
            made = function(index, rng)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's function may raise anything
            said = " ".join(str(error).split())
            raise InvalidScenario(
                where, f"{service.payload} raised {type(error).__name__} for message {index}: {said}; correct it"
            ) from error
        if type(made) is not event_class:
            expected = f"{event_class.__name__}, which group {service.group or name!r} handles"
            raise InvalidScenario(where, f"{service.payload} returned a {type(made).__name__}; return a {expected}")
        return made

    return make


def _recorded(name: str, service: Service, event_class: type[Event]) -> Sequence[Event]:
    """The events of a file: one CloudEvents envelope a line, as it is on the wire."""
    where, file, wanted = f"services.{name}.payload", service.recorded_events, spec_of(event_class).type
    assert file is not None
    try:
        lines = file.read_bytes().splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidScenario(where, f"{file.name} cannot be read ({reason}); name a .jsonl file") from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            envelope = decode(line, {wanted: event_class})
        except DataError as error:
            raise InvalidScenario(where, f"{file.name}, line {number}: {error}; correct or delete it") from None
        if envelope is None:
            raise InvalidScenario(where, f"{file.name}, line {number}: is no {wanted!r}; delete the line")
        found.append(envelope.event)
    if not found:
        raise InvalidScenario(where, f"{file.name} has no events; give one CloudEvents envelope a line")
    return found


def _example(name: str, event_class: type[Event], said: Mapping[str, Floats]) -> Event:
    """An event of the class's own examples and defaults. What the load says of each event need not have any."""
    extra: Any = event_class.model_config.get("json_schema_extra")
    examples = extra.get("examples") if isinstance(extra, dict) else None
    fields = {
        field.alias or key: field.examples[0] for key, field in event_class.model_fields.items() if field.examples
    }
    given = {
        event_class.model_fields[key].alias or key: _taken(event_class, key, of[0], _adapter(event_class, key))
        for key, of in said.items()
        if len(of)
    }
    try:
        return event_class.model_validate((examples[0] if examples else fields) | given)
    except (ValidationError, InvalidArgument, LookupError):
        needs = ", ".join(
            key for key, field in event_class.model_fields.items() if field.is_required() and key not in said
        )
        problem = f"{event_class.__name__} has no defaults or examples for {needs or 'its fields'}"
        mend = "name a function as payload, such as shop:order, or a .jsonl file of recorded events"
        raise InvalidScenario(f"services.{name}.payload", f"{problem}; {mend}") from None
