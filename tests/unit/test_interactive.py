"""A cell that is run again declares again: it replaces what it declared, and says so. A program is refused."""

import builtins
import logging
from typing import Any

import pytest

import eventlib as ev

CELL = """
class OrderPlaced(ev.Event, type="order.placed", version=1, stream="orders"):
    number: int

app.group("billing", concurrency={concurrency})
app.stream("orders", retention=ev.Retention(keep_entries={concurrency}))

@app.subscribe(OrderPlaced, group="billing", timeout_s={concurrency})
async def {name}(event: OrderPlaced, delivery: ev.Delivery) -> None:
    pass

@app.subscribe_batch(OrderPlaced, group="stock", size={concurrency})
async def count(batch: ev.Batch[OrderPlaced]) -> None:
    pass
"""


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    return {"__name__": "__main__", "ev": ev, "app": ev.App("shop")}


def run(cell: str, namespace: dict[str, Any], concurrency: int = 1, name: str = "charge") -> ev.App:
    exec(cell.format(concurrency=concurrency, name=name), namespace)
    app: ev.App = namespace["app"]
    return app


def test_a_cell_that_runs_again_replaces(notebook: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    run(CELL, notebook)
    assert not caplog.records
    app = run(CELL, notebook, concurrency=2)
    charge, count = app.subscriptions
    assert (charge.handler, charge.timeout_s, count.batch) == (notebook["charge"], 2, 2)
    assert charge.event_class is notebook["OrderPlaced"]
    assert app.settings("billing").concurrency == 2 and app.streams["orders"].keep_entries == 2
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "group 'billing': the handler of 'order.placed' is replaced by its new definition" in told
    assert len(told) == 4


def test_a_second_handler_is_refused_in_a_notebook_too(notebook: dict[str, Any]) -> None:
    run(CELL, notebook)
    with pytest.raises(ev.DuplicateHandler):
        run(CELL, notebook, name="another")


def test_a_module_that_declares_twice_is_refused_in_a_notebook_too(notebook: dict[str, Any]) -> None:
    notebook["__name__"] = "shop"
    run(CELL, notebook)
    with pytest.raises(ev.DuplicateHandler):
        run(CELL, notebook)


def test_a_program_that_declares_twice_is_refused(notebook: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(builtins, "__IPYTHON__")
    run(CELL, notebook)
    with pytest.raises(ev.InvalidDeclaration, match="set each group once"):
        run(CELL, notebook)
