"""A registry is what was put into it, refuses two classes of one type, and exports what others can read."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import eventlib as ev
from eventlib.events.envelope import decode, write
from tests import shop
from tests.unit import many_events
from tests.unit.many_events import Address, Order, OrderPlaced, TreeGrown

EVENTS = ev.Registry(many_events)
MADE = [
    Order(),
    OrderPlaced(orderId="A1", home=Address(city="Bern"), at=datetime(2026, 1, 2, tzinfo=UTC)),
    TreeGrown(name="a", children=[TreeGrown(name="b")]),
]


def test_a_registry_holds_what_was_put_into_it() -> None:
    assert dict(EVENTS) == {"order": Order, "order.placed": OrderPlaced, "tree.grown": TreeGrown}
    assert set(ev.Registry(shop, TreeGrown)) == {"order.placed", "order.shipped", "stock.counted", "tree.grown"}
    assert "order.placed" in repr(EVENTS)


def test_the_same_class_twice_is_one() -> None:
    assert len(ev.Registry(many_events, Order, many_events)) == 3


def test_two_classes_of_one_type_are_refused() -> None:
    with pytest.raises(ev.InvalidDeclaration) as caught:
        ev.Registry(shop, many_events)
    assert "many_events.OrderPlaced" in str(caught.value) and "shop.OrderPlaced" in str(caught.value)


def test_a_class_without_a_type_is_refused() -> None:
    with pytest.raises(ev.UnknownEventType):
        ev.Registry(ev.Event)


def test_a_module_without_events_adds_none() -> None:
    assert dict(ev.Registry(json)) == {}


def test_all_modules_of_a_package_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "shop_events"
    (package / "inner").mkdir(parents=True)
    event = "import eventlib as ev\nclass {0}(ev.Event, type='a.{0}', stream='a'): pass\n"
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text(event.format("one"))
    (package / "inner" / "__init__.py").write_text(event.format("two"))
    (package / "__main__.py").write_text("raise SystemExit('it must not be run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert set(ev.Registry(_imported("shop_events"))) == {"a.one", "a.two"}


def _imported(name: str) -> ModuleType:
    __import__(name)
    return sys.modules[name]


def test_decode_uses_the_classes_of_a_registry() -> None:
    for event in MADE:
        envelope = decode(write(event, "shop")[1], EVENTS)
        assert envelope is not None and envelope.event == event


# JSON Schema


@pytest.mark.parametrize("event", MADE, ids=lambda event: type(event).__name__)
def test_written_events_are_valid_by_their_schemas(event: ev.Event) -> None:
    raw = json.loads(write(event, "shop", "c1", "e0")[1])
    Draft202012Validator(ev.envelope_schema(type(event))).validate(raw)
    Draft202012Validator(ev.json_schema(type(event))).validate(raw["data"])


def test_the_schema_allows_the_fields_that_readers_ignore() -> None:
    data = {"orderId": "A1", "home": {"city": "Bern", "zip": "3000"}, "at": "2026-01-02T03:04:05Z", "gift": True}
    schema = Draft202012Validator(ev.json_schema(OrderPlaced))
    assert schema.is_valid(data)
    assert not schema.is_valid(data | {"home": {}})
    assert not schema.is_valid(data | {"orderId": "1"})


def test_a_field_can_have_the_name_of_a_schema_keyword() -> None:
    schema = Draft202012Validator(ev.json_schema(Order))
    assert schema.is_valid({"it": {"additionalProperties": 1}}) and not schema.is_valid(
        {"it": {"additionalProperties": "many"}}
    )


def test_the_schemas_contain_type_and_version() -> None:
    data, envelope = ev.json_schema(OrderPlaced), ev.envelope_schema(OrderPlaced)
    assert data["$schema"] == envelope["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert data["$id"] == "urn:eventlib:order.placed:3:data"
    assert envelope["$id"] == "urn:eventlib:order.placed:3:envelope"
    assert data["x-event"] == {"type": "order.placed", "version": 3, "stream": "orders", "oldest": 2}
    assert envelope["properties"]["type"] == {"const": "order.placed"}
    assert envelope["properties"]["eventversion"]["const"] == 3
    assert data["properties"]["home"]["description"] == "Where it goes"


@pytest.mark.parametrize("change", [{"type": "order.lost"}, {"eventversion": 2}, {"id": ""}, {"time": 7}, {"data": {}}])
def test_an_envelope_of_another_type_is_not_valid(change: dict[str, Any]) -> None:
    raw = json.loads(write(MADE[1], "shop")[1])
    assert not Draft202012Validator(ev.envelope_schema(OrderPlaced)).is_valid(raw | change)


def test_the_schemas_are_json_schema_2020_12(tmp_path: Path) -> None:
    files = [file for file in EVENTS.save(tmp_path) if file.name != "asyncapi.json"]
    assert len(files) == 6
    command = [sys.executable, "-m", "check_jsonschema", "--check-metaschema", *map(str, files)]
    verdict = subprocess.run(command, capture_output=True, text=True, check=False)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


# The export


def test_an_export_is_the_same_after_saving_and_opening(tmp_path: Path) -> None:
    EVENTS.save(tmp_path / "new" / "folder", title="Shop")
    for path in (tmp_path / "new" / "folder", tmp_path / "new" / "folder" / "asyncapi.json"):
        assert ev.open_export(path) == json.loads(json.dumps(EVENTS.asyncapi(title="Shop")))
    assert ev.schema_changes(ev.open_export(tmp_path / "new" / "folder"), EVENTS.asyncapi()) == []


def test_the_export_does_not_depend_on_order(tmp_path: Path) -> None:
    assert ev.Registry(TreeGrown, Order).asyncapi() == ev.Registry(Order, TreeGrown).asyncapi()


def test_the_document_has_a_channel_for_each_stream() -> None:
    document = EVENTS.asyncapi(title="Shop", version="2.0.0")
    assert document["info"] == {"title": "Shop", "version": "2.0.0"}
    assert {name: set(channel["messages"]) for name, channel in document["channels"].items()} == {
        "orders": {"order", "order.placed"},
        "trees": {"tree.grown"},
    }
    assert set(document["operations"]) == {"send.orders", "receive.orders", "send.trees", "receive.trees"}
    assert document["components"]["messages"]["order"]["summary"] == "An order."
    assert not dangling(document, document)


def dangling(part: Any, document: dict[str, Any]) -> list[Any]:
    """The references that lead nowhere."""
    if isinstance(part, list):
        return [found for inner in part for found in dangling(inner, document)]
    if not isinstance(part, dict):
        return []
    target: Any = document
    for name in part.get("$ref", "#").split("/")[1:]:
        target = target.get(name, {}) if isinstance(target, dict) else {}
    return [part.get("$ref")] * (not target) + [found for inner in part.values() for found in dangling(inner, document)]


NO_EXPORT: dict[str, bytes] = {
    "no JSON": b"hello",
    "not UTF-8": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "another document": b'{"openapi": "3.1.0"}',
    "schemas that are none": b'{"asyncapi": "3.0.0", "components": {"schemas": []}}',
    "an event without a version": b'{"asyncapi": "3.0.0", "components": {"schemas": {"a": {"x-event": {}}}}}',
}


@pytest.mark.parametrize("content", NO_EXPORT.values(), ids=NO_EXPORT)
def test_a_file_that_is_no_export_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "asyncapi.json").write_bytes(content)
    with pytest.raises(ev.InvalidArgument, match=r"asyncapi\.json"):
        ev.open_export(tmp_path)


def test_a_missing_export_is_named(tmp_path: Path) -> None:
    with pytest.raises(ev.InvalidArgument, match="cannot be read"):
        ev.open_export(tmp_path)
