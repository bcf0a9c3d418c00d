"""explore(): sliders for a scenario beside what becomes of its lag, its backlog and its handlers."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eventlib.interactive import in_ipython
from sim.calibration import Calibration
from sim.declare.scenario import Scenario
from sim.declare.varying import with_fields
from sim.errors import InvalidScenario
from sim.evidence.capacity import overloads
from sim.evidence.history import History
from sim.evidence.metrics import Metrics, measure
from sim.show.panels import Panels
from sim.tables import html_table
from sim.wording import at_least, digits, quantity
from sim.worlds.simulated import simulate
from sim.worlds.simulated.world import refuse_unlearned

MESSAGES_MAX = 2_500  # what is simulated and drawn within 0.3 s; of a longer load, the beginning is
_FAULTS = "faults"


@dataclass(frozen=True, slots=True)
class Control:
    """A slider: the field that it moves, and from where to where. Without a step it switches `faults` on and off."""

    field: str
    value: float
    low: float
    high: float
    step: float


def explore(scenario: Scenario, *, seed: int = 0, calibration: Calibration | None = None) -> "Explorer":
    """Sliders for the load, consumers, error rates and faults of a scenario, as the last value of a notebook's cell.

    What is moved is simulated at once, with one seed, and drawn. Where ipywidgets is missing, a table shows what comes
    of half and double the load and the consumers.

    Raises:
        InvalidScenario: own handlers are not learned, or it is no scenario.
    """
    if not isinstance(scenario, Scenario):
        raise InvalidScenario("explore", f"{scenario!r} is no scenario; give sim.Scenario.load(file)")
    refuse_unlearned(scenario)
    return Explorer(scenario, seed, calibration)


class Explorer:
    """A scenario whose fields are moved. `controls` are the fields; `moved` simulates other values of them."""

    def __init__(self, scenario: Scenario, seed: int, calibration: Calibration | None) -> None:
        self.scenario = scenario
        self.controls = list(_controls(scenario))
        self._seed, self._calibration = seed, calibration
        self._short, self.shortened = _shortened(scenario)
        self._panels: Panels | None = None

    def moved(self, **values: float) -> History:
        """The scenario simulated with these values, by field: `moved(**{"services.billing.consumers": 3})`.

        Raises:
            InvalidScenario: there is no such field, or a value that it cannot have.
        """
        given: Mapping[str, Any] = values
        changes = {field: value for field, value in given.items() if field != _FAULTS}
        if not given.get(_FAULTS, True):
            changes[_FAULTS] = ()
        whole = {control.field: control.step == 1 for control in self.controls}
        changes = {field: int(value) if whole.get(field) else value for field, value in changes.items()}
        return simulate(with_fields(self._short, changes), [self._seed], calibration=self._calibration)

    def picture(self, **values: float) -> bytes:
        """What comes of these values, as a PNG: lag and backlog over time, and how busy each service is."""
        history = self.moved(**values)
        found = measure(history)
        told, over = _told(history, found), next(overloads(history), None)
        title = f"{history.scenario.name}{self.shortened}: lag p50 {told[0]}, p99 {told[1]}"
        warning = _brief(over.in_words()) if over else ""
        if self._panels is None:
            self._panels = Panels(history.services)
        return self._panels.png(history, _busy(history, found), title, warning)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """What comes of the scenario as it is, and of half and double of each field that can be moved."""
        header = ("with", "lag p50", "lag p99", "backlog, most", "busiest service")
        histories = {name: self.moved(**values) for name, values in self._variants()}
        return header, [(name, *_told(history, measure(history))) for name, history in histories.items()]

    def _variants(self) -> Iterator[tuple[str, dict[str, float]]]:
        yield "as it is", {}
        for control in self.controls:
            if control.field == _FAULTS:
                yield "no faults", {_FAULTS: 0.0}
                continue
            for factor in (0.5, 2.0):
                value = control.value * factor
                value = max(1.0, round(value)) if control.step == 1 else value
                if value != control.value and control.low <= value <= control.high:
                    yield f"{control.field} = {value:g}", {control.field: value}

    def __repr__(self) -> str:
        header, rows = self.table()
        return "\n".join("  ".join(f"{cell:<28}" for cell in row).rstrip() for row in (header, *rows))

    def _repr_html_(self) -> str:
        return html_table(f"{self.scenario.name}, seed {self._seed}{self.shortened}", *self.table())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """What a notebook shows: the sliders, or the table where there are no widgets."""
        if in_ipython() and importlib.util.find_spec("ipywidgets"):
            bundle: dict[str, Any] = self.widgets()._repr_mimebundle_()
            return bundle
        return {"text/html": self._repr_html_()}

    def widgets(self) -> Any:
        """The sliders and the picture, as one widget.

        Raises:
            ImportError: ipywidgets is not installed.
        """
        import ipywidgets

        sliders = {control.field: _slider(ipywidgets, control) for control in self.controls}
        image, note = ipywidgets.Image(format="png"), ipywidgets.Label()

        def redraw(_: object = None) -> None:
            try:
                image.value = self.picture(**{field: slider.value for field, slider in sliders.items()})
                note.value = ""
            except InvalidScenario as error:
                note.value = "; ".join(error.problems)

        for slider in sliders.values():
            slider.observe(redraw, "value")
        redraw()
        return ipywidgets.HBox([ipywidgets.VBox([*sliders.values(), note]), image])


def _slider(ipywidgets: Any, control: Control) -> Any:
    about = {"description": control.field.removeprefix("services."), "style": {"description_width": "initial"}}
    if control.field == _FAULTS:
        return ipywidgets.Checkbox(value=True, **about)
    kind: Callable[..., Any] = ipywidgets.IntSlider if control.step == 1 else ipywidgets.FloatSlider
    whole: Callable[[float], float] = int if control.step == 1 else float
    limits = {name: whole(getattr(control, name)) for name in ("value", "step")}
    return kind(min=whole(control.low), max=whole(control.high), continuous_update=False, **limits, **about)


def _controls(scenario: Scenario) -> Iterator[Control]:
    load = scenario.offered_load.model_dump()
    for name, value in load.items():
        if name.endswith("rate_per_s") and isinstance(value, int | float) and value > 0:
            yield Control(f"load.{name}", value, value / 10, value * 4, value / 10)
    for name, service in scenario.services.items():
        most = min(100, max(8, 4 * service.consumers_most))
        field, low = ("consumers", 1) if service.autoscale is None else ("autoscale.max", service.consumers_first)
        yield Control(f"services.{name}.{field}", service.consumers_most, low, most, 1)
        if service.app is None and service.saga is None:
            yield Control(f"services.{name}.error_rate", service.error_rate, 0.0, 0.9, 0.01)
    if scenario.faults:
        yield Control(_FAULTS, 1, 0, 1, 0)


def _shortened(scenario: Scenario) -> tuple[Scenario, str]:
    """The beginning of a scenario that sends more than can be simulated at once, and what to say about that."""
    load = scenario.offered_load
    events = load.expected_events() * sum(scenario.flow.means[one.consumes] for one in scenario.services.values())
    if events <= MESSAGES_MAX or "duration_s" not in type(load).model_fields:
        return scenario, ""
    length_s = load.duration_s * MESSAGES_MAX / events
    sooner = tuple(fault for fault in scenario.faults if fault.at_s < length_s)
    changes: dict[str, Any] = {"load.duration_s": length_s, "faults": sooner}
    if scenario.warm_up_s >= length_s:
        changes["warm_up_s"] = 0.0
    return with_fields(scenario, changes), f", the first {quantity(length_s, 's')} of it"


def _told(history: History, found: Metrics) -> tuple[str, str, str, str]:
    """Lag, backlog and utilisation of the run, as texts."""
    busy = _busy(history, found)
    shares = {name: float(values[0]) for name, values in found.unhandled.items()}
    p50, p99 = (
        at_least(quantity(float(found[name][0]), "s"), shares.get(name, 0.0)) for name in ("lag_s_p50", "lag_s_p99")
    )
    busiest = max(busy, key=lambda name: busy[name])
    most = max(float(values[0]) for name, values in found.items() if name.endswith("backlog_max"))
    return p50, p99, f"{most:,.0f} messages", f"{busiest}, {digits(100 * busy[busiest])} %"


def _busy(history: History, found: Metrics) -> dict[str, float]:
    many = len(history.services) > 1
    return {name: float(found[f"{name}.utilisation" if many else "utilisation"][0]) for name in history.services}


def _brief(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}..."
