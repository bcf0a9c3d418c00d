"""explore(): what can be moved, what comes of it, and what a notebook without widgets shows."""

import sys
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest

import sim
from sim.declare.faults.kill import Kill
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario
from sim.show import explore as exploring
from sim.show.explore import MESSAGES_MAX
from sim.show.panels import Panels
from tests.model.small import constant, poisson, scenario, service

KILL = Kill(kind="kill", service="desk", consumer=0, at_s=0.5, back_after_s=0.2)
SMALL = scenario(poisson(40.0, 1.0), KILL, desk=service(service_time=constant(0.04), consumers=2, lease_s=0.2))


def test_what_is_moved_is_simulated_at_once() -> None:
    explorer = sim.explore(SMALL)
    fields = [control.field for control in explorer.controls]
    assert fields == ["load.rate_per_s", "services.desk.consumers", "services.desk.error_rate", "faults"]
    slow, fast = (explorer.moved(**{"services.desk.consumers": n}) for n in (1, 4))
    assert sim.measure(slow)["lag_s_p50"][0] > sim.measure(fast)["lag_s_p50"][0]
    assert explorer.moved(faults=0).scenario.faults == ()
    assert explorer.picture(**{"load.rate_per_s": 60.0}).startswith(b"\x89PNG")
    with pytest.raises(InvalidScenario, match="there is no field 'consumer'"):
        explorer.moved(**{"services.desk.consumer": 1})


def test_of_a_long_load_the_beginning_is_simulated() -> None:
    explorer = sim.explore(scenario(poisson(500.0, 100.0), desk=service(0.001)))
    assert len(explorer.moved().frame().query("kind == 'sent'")) < 1.1 * MESSAGES_MAX
    assert "the first 5 s of it" in explorer.shortened


def test_without_widgets_a_table_says_what_half_and_double_do() -> None:
    explorer = sim.explore(SMALL)
    header, rows = explorer.table()
    assert header[0] == "with" and [row[0] for row in rows][:2] == ["as it is", "load.rate_per_s = 20"]
    assert "services.desk.consumers = 4" in repr(explorer) and "no faults" in explorer._repr_html_()
    assert explorer._repr_mimebundle_()["text/html"] == explorer._repr_html_()


class _Widget:
    """Stands in for a widget: it keeps what it is given, and tells those who observe it."""

    def __init__(self, *children: Any, **traits: Any) -> None:
        self.children, self.traits = children, traits
        self.observers: list[Any] = []
        self.value = traits.get("value")

    def observe(self, observer: Any, name: str) -> None:
        self.observers.append(observer)

    def move(self, value: float) -> None:
        self.value = value
        for observer in self.observers:
            observer({"new": value})


def test_a_slider_redraws_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("ipywidgets")
    for name in ("HBox", "VBox", "Image", "Label", "Checkbox", "IntSlider", "FloatSlider"):
        setattr(module, name, _Widget)
    monkeypatch.setitem(sys.modules, "ipywidgets", module)
    [controls, image] = sim.explore(SMALL).widgets().children[0]
    [consumers] = [one for one in controls.children[0] if one.traits.get("description") == "desk.consumers"]
    before = image.value
    assert before.startswith(b"\x89PNG") and (consumers.traits["min"], consumers.traits["max"]) == (1, 8)
    consumers.move(1)
    assert image.value != before
    monkeypatch.setattr(exploring.Explorer, "picture", _refuses)
    consumers.move(2)
    assert controls.children[0][-1].value == "too few"


def test_a_picture_shows_nothing_of_the_one_before() -> None:
    """Its panels are made once. A calm run after an overloaded one looks like the same run drawn first."""
    overloaded, calm = {"services.desk.consumers": 1, "load.rate_per_s": 80.0}, {"services.desk.consumers": 4}
    explorer = sim.explore(SMALL)
    assert explorer.picture(**overloaded) != explorer.picture(**calm)
    assert explorer.picture(**calm) == sim.explore(SMALL).picture(**calm)


def _refuses(_: object, **values: float) -> bytes:
    raise InvalidScenario("small", "too few")


def test_the_names_of_many_services_stand_below_each_other() -> None:
    names = [f"step_{number}" for number in range(9)]
    services = {name: service(0.001) for name in names}
    history = sim.simulate(Scenario(name="many", load=poisson(40.0, 1.0), services=services), [0])
    panels = Panels(names)
    panels.png(history, dict.fromkeys(names, 0.5), "nine", "")
    boxes = [label.get_window_extent() for label in panels._figure.axes[2].get_yticklabels()]
    assert len(boxes) == 9 and not any(one.overlaps(other) for one, other in pairwise(boxes))


def test_a_file_is_no_scenario() -> None:
    with pytest.raises(InvalidScenario, match=r"'my\.yaml' is no scenario; give sim\.Scenario\.load"):
        sim.explore("my.yaml")  # type: ignore[arg-type]
