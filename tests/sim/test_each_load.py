"""The campaign of loads has each kind of load, and the model serves all of them."""

import pytest

from campaigns.loads import with_each_load
from sim.declare.declared import kind_name, kinds_in
from sim.declare.loads import Load
from sim.evidence.checks import broken, check
from sim.worlds.simulated import simulate
from tests.model.small import rows_of

EACH = with_each_load()


def test_each_kind_of_load_is_there() -> None:
    assert {kind_name(kind) for kind in kinds_in(Load)} <= EACH.keys()


@pytest.mark.parametrize("name", EACH)
def test_a_load_keeps_the_service_busy_and_every_promise(name: str) -> None:
    history = simulate(EACH[name], [0])
    by_load = rows_of(history, "sent")["service"] == -1  # and not by handlers
    assert 400 < by_load.sum() < 1500
    assert not broken(check(history))
