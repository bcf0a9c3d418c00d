"""The client has one method for each event of the catalog, and it takes what the event takes."""

import inspect

import pytest
from pydantic import ValidationError

from eventlib.catalog import EVENTS
from eventlib.client.catalog_methods import CatalogMethods
from eventlib.events.schema import Event, spec_of
from tests import catalog_samples

SAMPLES = [value for value in vars(catalog_samples).values() if isinstance(value, Event)]


class Published(CatalogMethods):
    """Keeps what would be published."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def publish(self, event: Event) -> str:
        self.events.append(event)
        return "the id"


def method_of(event_class: type[Event]) -> str:
    return f"publish_{spec_of(event_class).type.replace('.', '_')}"


def test_there_is_a_method_for_each_event_and_no_other() -> None:
    methods = [name for name in vars(CatalogMethods) if name.startswith("publish_")]
    assert methods == [method_of(event_class) for event_class in EVENTS]


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
async def test_each_method_publishes_its_event(event: Event) -> None:
    published = Published()
    fields = {name: getattr(event, name) for name in type(event).model_fields}
    assert await getattr(published, method_of(type(event)))(**fields) == "the id"
    assert published.events == [event] and type(published.events[0]) is type(event)


@pytest.mark.parametrize("event_class", EVENTS, ids=lambda event_class: event_class.__name__)
def test_each_method_is_described(event_class: type[Event]) -> None:
    method = getattr(CatalogMethods, method_of(event_class))
    assert event_class.__name__ in method.__doc__
    assert list(inspect.signature(method).parameters) == ["self", *inspect.signature(event_class).parameters]


async def test_a_wrong_value_is_refused_and_nothing_is_published() -> None:
    published = Published()
    with pytest.raises(ValidationError, match="task_id"):
        await published.publish_task_queued(task_id="", name="thumbnails")
    assert published.events == []
