"""A planted regression turns its row of the claims false; without it, the row is true."""

import math

import pytest

from sim.claims import runner
from sim.claims.registry import all_claims
from sim.claims.runner import measure_one
from tests.claims.mutations import MUTATIONS, Mutation

CLAIMS = {one.id: one for one in all_claims()}


def test_there_are_ten_or_more_of_different_rows() -> None:
    assert len({mutation.row for mutation in MUTATIONS}) == len(MUTATIONS) >= 10


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.row)
def test_a_regression_turns_its_row_false(mutation: Mutation, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_STILL_S", math.inf)  # it is false, also where the machine stands still meanwhile
    mutation.plant(monkeypatch)
    row = measure_one(CLAIMS[mutation.row], url)
    assert row.verdict == "false", row.finding


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.row)
def test_without_it_the_row_is_true(mutation: Mutation, url: str) -> None:
    row = measure_one(CLAIMS[mutation.row], url)
    assert row.verdict == "true", row.finding
