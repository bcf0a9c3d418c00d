"""docs/wire-format.md describes all that is in the code, and nothing else. tests/contract compares it with Redis."""

import json
import re
from typing import Any, get_args, get_type_hints

import pytest

from eventlib import Settings, catalog
from eventlib.broker import keys
from eventlib.broker.keys import GroupKeys, Keys, ScheduleKeys
from eventlib.broker.scripts import Script
from eventlib.errors import DataError
from eventlib.events.envelope import Envelope, decode, write
from eventlib.events.schema import spec_of
from eventlib.policy import DeadReason
from eventlib.records import EVENT
from tests.catalog_samples import uploaded
from tests.docs import wire

CLASSES = {spec_of(event_class).type: event_class for event_class in catalog.EVENTS}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def attributes() -> dict[str, bool]:
    """Every attribute on the page, and whether the page says that it is needed."""
    return {row[0]: row[1] == "yes" for row in wire.tables("The envelope")[0]}


def full_envelope() -> dict[str, Any]:
    """What the code writes with all optional attributes."""
    given = {"id": "e1", "source": "files", "event": uploaded}
    optional = {
        name: "a=1" if name == "tracestate" else TRACE
        for name in get_type_hints(Envelope)
        if name not in {*given, "time"}
    }
    written: dict[str, Any] = json.loads(write(**given, **optional)[1])  # type: ignore[arg-type]  # by name
    return written


def test_the_keys_are_all_keys_that_the_code_makes() -> None:
    assert set(wire.names("Keys")) == wire.code_keys()


def test_the_keys_have_the_names_that_the_scripts_use() -> None:
    keys_of_code = Keys("NAMESPACE")
    group_keys = keys_of_code.group("STREAM", "GROUP")._asdict()
    queue_keys = keys_of_code.queue("STREAM")._asdict() | keys_of_code.schedule("STREAM", "SCHEDULE")._asdict()
    others = {
        "producer": keys_of_code.producer("STREAM", "PRODUCER"),
        "retention": keys_of_code.retention("STREAM"),
        "probe": keys_of_code.probe("STREAM"),
        "saga": keys_of_code.saga("STREAM", "SAGA_ID"),
        "saga_history": keys_of_code.saga_history("STREAM", "SAGA_ID"),
        "saga_notices": keys_of_code.saga_notices("STREAM"),
        "sagas": keys_of_code.sagas("STREAM", "STATUS"),
    }
    named = {row[3]: row[0] for row in wire.tables("Keys")[0] if row[3]}
    assert named == {name: key for name, key in group_keys.items() if name != "group"} | queue_keys | others


def test_no_other_key_is_named_anywhere() -> None:
    named = set(re.findall(r"NAMESPACE:\{STREAM\}[\w:]*", wire.text()))
    assert named == wire.code_keys()


def test_the_scripts_are_as_their_first_lines_say() -> None:
    assert wire.generated() == wire.reference(), "write it again with `python -m tests.docs.wire`"


def test_no_script_is_named_that_does_not_exist() -> None:
    assert set(re.findall(r"(\w+)\.lua", wire.text())) <= set(wire.FILES)


@pytest.mark.parametrize("script", wire.SCRIPTS, ids=lambda script: script.name)
def test_a_script_takes_the_keys_that_its_first_lines_name(script: Script) -> None:
    named = wire.keys_of(script)
    assert {name for name in named if re.fullmatch(r"\w+", name)} <= {
        *("source", *vars(Keys), *get_type_hints(GroupKeys), *get_type_hints(ScheduleKeys))
    }
    taken = {int(n) for n in re.findall(r"KEYS\[(\d+)", wire.FILES[script.name])}
    assert max(taken, default=0) <= len(named)


def test_every_field_constant_is_explained() -> None:
    constants = {EVENT.decode(), *(value.decode() for value in vars(keys).values() if isinstance(value, bytes))}
    assert constants
    assert constants <= {
        *wire.names("The event stream"),
        *wire.names("The retry stream"),
        *wire.names("The dead-letter queue"),
        *wire.names("The sweep hash"),
    }


def test_the_attributes_are_all_that_are_written() -> None:
    assert set(attributes()) == set(full_envelope())


@pytest.mark.parametrize("name", attributes())
def test_an_attribute_is_needed_where_the_page_says_so(name: str) -> None:
    without = json.dumps({k: v for k, v in full_envelope().items() if k != name}).encode()
    if attributes()[name]:
        with pytest.raises(DataError):
            decode(without, CLASSES)
    else:
        assert decode(without, CLASSES)


@pytest.mark.parametrize("name", [name for name, needed in attributes().items() if not needed])
def test_null_means_missing(name: str) -> None:
    full = full_envelope()
    read = decode(json.dumps({**full, name: None}).encode(), CLASSES)
    assert read
    assert read == decode(json.dumps({k: v for k, v in full.items() if k != name}).encode(), CLASSES)


def test_unknown_attributes_and_fields_are_ignored() -> None:
    written = full_envelope()
    grown = {**written, "shard": 7, "data": {**written["data"], "added_later": {"a": [1]}}}
    assert decode(json.dumps(grown).encode(), CLASSES) == decode(json.dumps(written).encode(), CLASSES)


@pytest.mark.parametrize("example", wire.examples("json"))
def test_every_example_is_read_and_comes_back(example: str) -> None:
    read = decode(example.encode(), CLASSES)
    assert read is not None
    again = decode(write(**{name: value for name, value in read._asdict().items() if name != "time"})[1], CLASSES)
    assert again
    assert again._replace(time=read.time) == read
    assert set(json.loads(example)) <= set(attributes())


def test_an_example_shows_every_attribute() -> None:
    shown = {name for example in wire.examples("json") for name in json.loads(example)}
    assert shown == set(attributes())


def test_the_reasons_are_all_reasons() -> None:
    assert set(wire.names("The dead-letter queue", 1)) == set(get_args(DeadReason))


def test_the_namespace_is_the_librarys_own() -> None:
    assert f"`NAMESPACE` is `{Settings().bus.namespace}`" in wire.text()
