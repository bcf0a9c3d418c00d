"""Send each kind of load in both worlds, to one small service, and say how far the model is off."""

import sys
from pathlib import Path
from typing import Any

from campaigns.both_worlds import campaign
from campaigns.faults import ONE_FAULT
from sim.declare.scenario import Scenario
from sim.declare.varying import with_fields

_TRACE = Path(__file__).parents[1] / "data" / "sample" / "llm-trace-sample.csv"
_STEADY = {"kind": "poisson", "rate_per_s": 100}
LOADS: dict[str, dict[str, Any]] = {
    "constant": {"rate_per_s": 100},
    "poisson": {"rate_per_s": 100},
    "ramp": {"from_rate_per_s": 40, "to_rate_per_s": 200},
    "step": {"rates": [{"at_s": at_s, "rate_per_s": rate} for at_s, rate in ((0, 60), (2, 180), (4, 80))]},
    "spike": {"rate_per_s": 80, "peak_rate_per_s": 400, "at_s": 2, "for_s": 1},
    "stages": {"stages": [_STEADY | {"duration_s": 3}, _STEADY | {"kind": "constant", "duration_s": 3}]},
    "bursty": {"states": [{"rate_per_s": 60, "mean_s": 2}, {"rate_per_s": 240, "mean_s": 0.5}]},
    "diurnal": {"mean_rate_per_s": 100, "amplitude": 0.8, "period_s": 3},
    "batching": {"of": _STEADY | {"duration_s": 6}, "size": 20, "wait_s": 0.1},
    "closed": {"clients": 20, "think_s": 0.1},
    "schedule": {"every_s": 1.0, "per_slot": 50, "for_s": 12, "time_scale": 0.5},
    "trace": {"file": str(_TRACE), "from_s": 180, "for_s": 180, "time_scale": 1 / 30},
}
_NO_DURATION = ("stages", "batching", "schedule", "trace")  # they last as long as their parts
_VARIANTS: dict[str, dict[str, Any]] = {
    "a mix of types": _STEADY | {"event": {"order.placed": 3, "order.changed": 1}},
    "bodies of 2 kB": _STEADY | {"size_bytes": {"kind": "lognormal", "mean_bytes": 2000, "cv": 1}},
}


def with_each_load() -> dict[str, Scenario]:
    """The service of one-fault.yaml under each kind of load, about as busy, by the kind or what is special."""
    declared = {kind: {"kind": kind} | fields for kind, fields in LOADS.items()} | _VARIANTS
    return {name: _under(name, load) for name, load in declared.items()}


def _under(name: str, load: dict[str, Any]) -> Scenario:
    length = {} if name in _NO_DURATION else {"duration_s": 6}
    scenario = Scenario.load(ONE_FAULT)
    fields: dict[str, Any] = {"name": name, "load": {"event": "order.placed"} | length | load}
    if load["kind"] == "closed":
        fields |= {"callers": {"reply": "order.answered"}, "services.billing.emits": ["order.answered"]}
    return with_fields(scenario, fields)


def main() -> None:
    """Run the campaign. The exit status is 1 if a promise was broken."""
    results = campaign("loads", __doc__, "--only spike --only bursty", with_each_load())
    sys.exit(1 if any(one.broken for one in results) else 0)


if __name__ == "__main__":
    main()
