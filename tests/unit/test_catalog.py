"""The catalog keeps its conventions: complete, described, precise, private by default."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

import eventlib as ev
from eventlib import catalog
from eventlib.catalog import (
    EVENTS,
    STREAMS,
    AlertResolved,
    EmbeddingGenerationCompleted,
    EmbeddingGenerationFailed,
    EmbeddingGenerationRequested,
    FileUploaded,
    NotificationFailed,
    NotificationRequested,
    NotificationSent,
    Part,
    SearchIndexUpdateRequested,
    UserDataExportCompleted,
    UserDeletionCompleted,
)
from eventlib.events.envelope import decode, write
from eventlib.events.schema import spec_of
from tests.catalog_samples import (
    BUSY,
    FILE,
    LATER,
    NOON,
    SAMPLES,
    USER,
    alert_raised,
    deletion_requested,
    embedded,
    embedding_requested,
    export_requested,
    extracted,
    notification_requested,
    uploaded,
)

MODULES = [importlib.import_module(f"{catalog.__name__}.{m.name}") for m in pkgutil.iter_modules(catalog.__path__)]
IRREGULAR_PARTICIPLES = {"sent"}
ANSWERS = re.compile(r"completed|failed|generated|updated|sent|extracted")
of_each_event = pytest.mark.parametrize("event_class", EVENTS, ids=lambda event_class: spec_of(event_class).type)
of_each_sample = pytest.mark.parametrize("event", SAMPLES, ids=lambda event: spec_of(type(event)).type)


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The model and every model that its fields are made of."""
    yield model
    for field in model.model_fields.values():
        for part in parts(field.annotation):
            yield from models(part)


def parts(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from parts(argument)


def fields(event_class: type[ev.Event]) -> list[tuple[str, FieldInfo]]:
    """Every field of an event and of its parts, by its path."""
    return [
        (f"{model.__name__}.{name}", field)
        for model in models(event_class)
        for name, field in model.model_fields.items()
    ]


def marked(event_class: type[ev.Event], mark: str) -> list[str]:
    found = []
    for name, field in fields(event_class):
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get(mark) is True:
            found.append(name)
    return found


def test_the_catalogs_list_of_events_is_complete() -> None:
    declared = {
        value
        for module in MODULES
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ev.Event) and value.event_spec is not None
    }
    assert set(EVENTS) == declared
    assert len(EVENTS) == len(declared) >= 24
    assert {type(event) for event in SAMPLES} == declared, "tests/catalog_samples.py has one of each"


def test_every_event_and_part_can_be_imported_from_the_catalog() -> None:
    used = {model for event_class in EVENTS for model in models(event_class)}
    assert {model.__name__ for model in used} <= set(catalog.__all__)
    assert all(hasattr(catalog, name) for name in catalog.__all__)


def test_no_two_events_share_a_type() -> None:
    assert len({spec_of(event_class).type for event_class in EVENTS}) == len(EVENTS)


def test_every_stream_is_explained_and_used() -> None:
    assert {spec_of(event_class).stream for event_class in EVENTS} == set(STREAMS)
    assert catalog.__doc__ is not None
    assert re.findall(r"^    (\w+) {2,}", catalog.__doc__, re.MULTILINE)[1:] == list(STREAMS)


@of_each_event
def test_the_type_says_what_happened_and_names_the_class(event_class: type[ev.Event]) -> None:
    words = re.split(r"[._]", spec_of(event_class).type)
    assert "".join(word.capitalize() for word in words) == event_class.__name__
    assert 2 <= spec_of(event_class).type.count(".") + 1 <= 3
    assert words[-1].endswith("ed") or words[-1] in IRREGULAR_PARTICIPLES


@of_each_event
def test_an_event_says_when_it_is_published_and_by_whom(event_class: type[ev.Event]) -> None:
    assert event_class.__doc__ is not None
    assert "Published by" in event_class.__doc__


@of_each_event
def test_every_field_is_described(event_class: type[ev.Event]) -> None:
    bare = [name for name, field in fields(event_class) if not (field.description or "").endswith(".")]
    assert not bare


@of_each_event
def test_every_part_is_frozen_and_refuses_unknown_fields(event_class: type[ev.Event]) -> None:
    wanted = {"frozen": True, "extra": "forbid", "allow_inf_nan": False}
    for model in models(event_class):
        assert issubclass(model, ev.Event | Part)
        assert wanted.items() <= model.model_config.items(), model


@of_each_event
def test_names_end_in_their_unit(event_class: type[ev.Event]) -> None:
    schema = event_class.model_json_schema()
    every = {
        name: field
        for part in [schema, *schema.get("$defs", {}).values()]
        for name, field in part["properties"].items()
    }
    for name, field in every.items():
        assert ("date-time" in str(field)) == name.endswith("_at"), name
        if re.search("size|length|bytes", name):
            assert name.endswith("_size_bytes") or name == "size_bytes"
        if re.search("duration|wait|timeout", name):
            assert name.endswith("_s")


@of_each_event
def test_times_are_aware(event_class: type[ev.Event]) -> None:
    naive = datetime(2026, 5, 4, 12)
    (sample,) = [event for event in SAMPLES if type(event) is event_class]
    for name in event_class.model_fields:
        if name.endswith("_at"):
            with pytest.raises(ValidationError, match="timezone"):
                event_class.model_validate({**dict(sample), name: naive})


@of_each_event
def test_requests_and_their_answers_share_an_id(event_class: type[ev.Event]) -> None:
    type_, stream = spec_of(event_class).type, spec_of(event_class).stream
    if not type_.endswith("requested"):
        return
    id_ = next(iter(event_class.model_fields))
    assert id_.endswith("_id") and id_ != "user_id"
    subject = type_.rpartition(".")[0]
    answers = [c for c in EVENTS if spec_of(c).type.startswith(subject) and ANSWERS.search(spec_of(c).type)]
    assert answers
    assert all(id_ in answer.model_fields and spec_of(answer).stream == stream for answer in answers)


@of_each_event
def test_an_event_with_personal_data_names_its_user(event_class: type[ev.Event]) -> None:
    subjects = marked(event_class, "data_subject")
    assert subjects == ([f"{event_class.__name__}.user_id"] if "user_id" in event_class.model_fields else [])
    assert subjects or not marked(event_class, "personal")


def test_personal_data_is_marked_and_minimal() -> None:
    personal = {name for event_class in EVENTS for name in marked(event_class, "personal")}
    assert personal == {"FileUploaded.file_name", "Message.title", "Message.body"}
    schema = FileUploaded.model_json_schema()["properties"]
    assert schema["file_name"]["personal"] is True
    assert schema["user_id"]["data_subject"] is True


def test_exports_and_deletions_carry_ids_and_no_data() -> None:
    for event_class in EVENTS:
        if spec_of(event_class).type.startswith(("user.data_export", "user.deletion")):
            assert not marked(event_class, "personal")


def data_of(raw: bytes) -> bytes:
    """The bytes, without any time."""
    return raw.partition(b',"data":')[2]


@of_each_sample
def test_an_event_is_the_same_after_encoding_and_decoding(event: ev.Event) -> None:
    raw = write(event, "here", "c1", None)[1]
    read = decode(raw, {spec_of(type(event)).type: type(event)})
    assert read is not None
    assert read.event == event
    again = write(read.event, "here", "c1", id=read.id)[1]
    assert data_of(again) == data_of(raw)


@of_each_sample
def test_a_reader_ignores_fields_that_a_newer_writer_adds(event: ev.Event) -> None:
    grown = grow(event.model_dump(mode="json"))
    assert type(event).model_validate(grown, extra="ignore") == event
    with pytest.raises(ValidationError, match="added_later"):
        type(event).model_validate(grown)


def grow(value: Any) -> Any:
    """The same JSON with one more field in every object."""
    if isinstance(value, dict):
        return {**{name: grow(part) for name, part in value.items()}, "added_later": 1}
    return [grow(part) for part in value] if isinstance(value, list) else value


@of_each_event
def test_a_json_schema_can_be_made(event_class: type[ev.Event]) -> None:
    for schema in (event_class.model_json_schema(), event_class.model_json_schema(mode="serialization")):
        assert schema["additionalProperties"] is False
        assert schema["description"] == inspect.cleandoc(event_class.__doc__ or "")
        assert all(field["description"] for field in schema["properties"].values())


def test_a_file_event_is_as_large_on_the_wire_as_the_reference_systems() -> None:
    assert 400 <= len(write(uploaded, "files", None, None)[1]) <= 700


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_bytes": -1},
        {"size_bytes": 1.5},
        {"sha256": "9F86"},
        {"media_type": "pdf"},
        {"file_id": "someone@example.org"},
        {"file_id": ""},
        {"file_name": ""},
        {"storage_key": "x" * 513},
        {"user_id": None},
    ],
    ids=str,
)
def test_an_impossible_value_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        FileUploaded.model_validate({**dict(uploaded), **wrong})


@pytest.mark.parametrize("channels", [(), ("email", "email"), ("fax",)])
def test_channels_are_known_and_named_once(channels: tuple[Any, ...]) -> None:
    with pytest.raises(ValidationError, match="channels"):
        NotificationRequested.model_validate({**dict(notification_requested), "channels": channels})


# What makes an event from the one that it follows


def test_an_embedding_is_asked_for_after_the_text() -> None:
    made = EmbeddingGenerationRequested.after(extracted, generation_id="g1", model="minilm-l6-v2", priority="high")
    assert made == embedding_requested


def test_an_embedding_request_is_answered() -> None:
    made = EmbeddingGenerationCompleted.answering(
        embedding_requested, vectors_key="vectors/g1", chunk_count=41, dimension_count=384, duration_s=1.75
    )
    assert made == embedded


def test_an_embedding_request_is_given_up() -> None:
    made = EmbeddingGenerationFailed.answering(embedding_requested, failure=BUSY, done_chunk_count=3)
    assert made in SAMPLES


def test_indexing_is_asked_for_after_the_embedding() -> None:
    made = SearchIndexUpdateRequested.after(embedded, update_id="u1", priority="low")
    assert made in SAMPLES
    assert made.source == FILE


def test_a_notification_is_answered_for_a_channel_that_was_asked_for() -> None:
    assert NotificationSent.answering(notification_requested, channel="email", sent_at=LATER) in SAMPLES
    assert NotificationFailed.answering(notification_requested, channel="push", attempts=3, failure=BUSY) in SAMPLES
    with pytest.raises(ValueError, match="'sms'"):
        NotificationSent.answering(notification_requested, channel="sms", sent_at=LATER)
    with pytest.raises(ValueError, match="'sms'"):
        NotificationFailed.answering(notification_requested, channel="sms", attempts=1, failure=BUSY)


def test_an_export_is_answered_for_its_user() -> None:
    made = UserDataExportCompleted.answering(
        export_requested,
        archive_key="exports/x1",
        archive_size_bytes=5_242_880,
        archive_sha256="0" * 64,
        expires_at=LATER,
    )
    assert made in SAMPLES
    assert made.user_id == USER


def test_a_deletion_is_answered_for_its_user() -> None:
    made = UserDeletionCompleted.answering(deletion_requested, deleted_record_count=1204, completed_at=LATER)
    assert made in SAMPLES


def test_an_alert_is_resolved_after_the_time_that_it_was_raised() -> None:
    assert AlertResolved.of(alert_raised, resolved_at=LATER) in SAMPLES
    with pytest.raises(ValidationError, match="duration_s"):
        AlertResolved.of(alert_raised, resolved_at=NOON - timedelta(seconds=1))
