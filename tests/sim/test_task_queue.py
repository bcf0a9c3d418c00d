"""A service's task queue: what may be declared, how what may not is refused, and what a seed draws for it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from eventlib.policy import Retry
from sim.declare.scenario import Scenario
from sim.declare.task_queue import PriorityShares, TaskQueue
from sim.errors import InvalidScenario
from tests.model.small import exponential, poisson, scenario, service

MAIL = """
name: mail
load: {kind: poisson, event: mail.requested, rate_per_s: 200, duration_s: 2}
services:
  mailer:
    consumes: mail.requested
    service_time: {kind: exponential, mean_s: 0.02}
    queue:
      priorities: {critical: 0.05, high: 0.15, normal: 0.5, low: 0.3}
      weights: {critical: 9, low: 2}
      tenants: {acme: 0.98, tiny: 0.02}
      fair: false
      limit: 3
      limit_per_tenant: 1
      rate: {starts: 100, per_s: 2.0}
"""


def declared(**queue: Any) -> dict[str, Any]:
    whole: dict[str, Any] = yaml.safe_load(MAIL)
    whole["services"]["mailer"]["queue"] = queue
    return whole


def test_a_queue_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "mail.yaml").write_text(MAIL)
    queue = Scenario.load(tmp_path / "mail.yaml").services["mailer"].queue
    assert queue is not None
    assert queue.priorities.in_order() == [0.05, 0.15, 0.5, 0.3]
    assert queue.weights.in_order() == [9, 4, 2, 2]
    assert (queue.tenants, queue.fair) == ({"acme": 0.98, "tiny": 0.02}, False)
    assert queue.in_words() == (
        "5 % critical, 15 % high, 50 % normal, 30 % low; turns 9:4:2:2; 98 % acme, 2 % tiny; not fair by tenant"
        "; at most 3 at once; at most 1 at once of a tenant; at most 100 starts in 2 s"
    )


@pytest.mark.parametrize(
    ("queue", "said"),
    [
        ({"priorities": {"high": 0.5}}, "mailer.queue.priorities: the shares add up to 0.5; make them add up to 1"),
        ({"priorities": {"urgent": 1}}, "priorities.urgent: unknown field; there are: critical, high, norm"),
        ({"priorities": {"high": 1.5}}, "priorities.high: Input should be less than or equal to 1, not 1.5"),
        ({"weights": {"low": 0}}, "mailer.queue.weights.low: Input should be greater than or equal to 1, not 0"),
        ({"weights": {"low": 0.5}}, "mailer.queue.weights.low: Input should be a valid integer"),
        ({"tenants": {"acme": 0.5}}, "mailer.queue: tenants: the shares add up to 0.5; make them add up to 1"),
        ({"tenants": {"acme": 2, "tiny": -1}}, "mailer.queue: tenants.acme: 2 is no share; give a number from 0 to 1"),
        ({"tenants": {"low": 1}}, "mailer.queue: tenants.low: is the name of a priority"),
        ({"tenants": {"mailer": 1}}, "mailer.queue.tenants: 'mailer' is the name of a service"),
        ({"tenants": {"a b": 1}}, "mailer.queue.tenants: 'a b' is not a valid name; use letters, digits"),
        ({"tenants": {"acme": 1}, "fair_weights": {"acne": 2}}, "fair_weights.acne: there is no such tenant; name"),
        ({"tenants": {"acme": 1}, "fair_weights": {"acme": 0}}, "fair_weights.acme: 0; give a number from 0.001"),
        ({"limit": 0}, "mailer.queue.limit: Input should be greater than or equal to 1, not 0"),
        ({"limit_per_tenant": 1}, "mailer.queue: limit_per_tenant: there are no tenants; declare their shares"),
        ({"rate": {"starts": 0}}, "mailer.queue.rate.starts: Input should be greater than or equal to 1, not 0"),
        ({"rate": {"start": 1}}, "mailer.queue.rate.start: unknown field; there are: starts, per_s"),
        ({"weight": 1}, "mailer.queue.weight: unknown field; there are: priorities, weights, tenants, fair"),
    ],
)  # fmt: skip
def test_a_queue_that_cannot_be_is_refused(tmp_path: Path, queue: dict[str, Any], said: str) -> None:
    (tmp_path / "mail.yaml").write_text(yaml.safe_dump(declared(**queue)))
    with pytest.raises(InvalidScenario) as refused:
        Scenario.load(tmp_path / "mail.yaml")
    assert said in refused.value.problem


def test_a_queue_whose_tasks_could_not_be_named_is_refused(tmp_path: Path) -> None:
    named = declared()
    named["services"] = {"Mail-er": named["services"]["mailer"]}
    (tmp_path / "mail.yaml").write_text(yaml.safe_dump(named))
    with pytest.raises(InvalidScenario, match=r"Mail-er, whose tasks have its name: .* use lower-case words"):
        Scenario.load(tmp_path / "mail.yaml")


QUEUE = TaskQueue(
    priorities=PriorityShares(critical=0.1, normal=0.6, low=0.3), tenants={"acme": 0.9, "tiny": 0.1, "none": 0.0}
)


def two(queue: TaskQueue | None) -> Scenario:
    changes = {"service_time": exponential(0.01), "retry": Retry(attempts=2)}
    first, second = (service().model_copy(update=changes | {"queue": one}) for one in (None, queue))
    return scenario(poisson(200.0, 5.0), first=first, second=second)


def test_shares_are_those_that_are_declared() -> None:
    labels = two(QUEUE).plan(3).labels["second"]
    n = labels.priority.size
    found = np.bincount(labels.priority, minlength=4) / n, np.bincount(labels.tenant, minlength=3) / n
    for share, wanted in zip(np.concatenate(found), (0.1, 0.0, 0.6, 0.3, 0.9, 0.1, 0.0), strict=True):
        assert abs(share - wanted) <= 4 * (wanted * (1 - wanted) / n) ** 0.5
    assert abs(np.corrcoef(labels.priority, labels.tenant)[0, 1]) < 0.1


def test_a_queue_changes_nothing_else_of_a_plan() -> None:
    """Its labels come from a random stream of their own."""
    without, with_queue = two(None).plan(3), two(QUEUE).plan(3)
    assert without.arrivals_s.tobytes() == with_queue.arrivals_s.tobytes()
    for name in ("first", "second"):
        assert without.service_s[name].tobytes() == with_queue.service_s[name].tobytes()
        assert without.failure_draws[name].tobytes() == with_queue.failure_draws[name].tobytes()
    assert list(without.labels) == [] and list(with_queue.labels) == ["second"]
    labels = with_queue.labels["second"]
    for place, drawn in enumerate((labels.priority, labels.tenant)):
        failures = with_queue.failure_draws["second"][:, place]  # drawn in the same form: two for each message
        assert abs(np.corrcoef(drawn, failures)[0, 1]) < 0.15


def test_labels_are_known_without_the_plan() -> None:
    """Evidence asks for them by message, and need not know how many there are, nor have a trace's file."""
    labels = two(QUEUE).plan(3).labels["second"]
    some = two(QUEUE).labels("second", 3, 50)
    assert some.priority.tolist() == labels.priority.tolist()[:50]
    assert some.tenant.tolist() == labels.tenant.tolist()[:50]
    assert two(QUEUE).labels("second", 4, 50).priority.tolist() != some.priority.tolist()


def test_the_last_share_takes_what_rounding_leaves() -> None:
    """Ten tenths add up to a little less than 1: the highest draws must not fall beyond the last tenant."""

    class Highest:
        def random(self, shape: tuple[int, int]) -> Any:
            return np.full(shape, np.nextafter(1.0, 0.0))

    queue = TaskQueue(priorities=PriorityShares(critical=1.0), tenants={f"t{n}": 0.1 for n in range(10)} | {"no": 0.0})
    labels = queue.draw(1, Highest())  # type: ignore[arg-type]
    assert (labels.priority.tolist(), labels.tenant.tolist()) == ([0], [9])
