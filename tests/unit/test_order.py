"""`faults` finds every way in which the order of a key can be broken."""

import pytest

from tests.order import Note, faults

BEGAN_0, DONE_0 = Note("began", "a", "k", 0), Note("done", "a", "k", 0)
BEGAN_1, DONE_1 = Note("began", "b", "k", 1), Note("done", "b", "k", 1)


@pytest.mark.parametrize(
    "notes",
    [
        [BEGAN_0, DONE_0, BEGAN_1, DONE_1],
        [BEGAN_0, Note("failed", "a", "k", 0), BEGAN_0, DONE_0, BEGAN_1],
        [BEGAN_0, Note("killed", "a"), Note("began", "b", "k", 0), Note("done", "b", "k", 0), BEGAN_1],
        [BEGAN_0, DONE_0, BEGAN_0, DONE_0, BEGAN_1],  # killed before it could acknowledge
        [BEGAN_0, Note("began", "b", "another", 0)],
    ],
)
def test_a_history_in_order_has_no_faults(notes: list[Note]) -> None:
    assert faults(notes) == []


@pytest.mark.parametrize(
    "notes",
    [
        [BEGAN_0, BEGAN_1],  # two at a time
        [BEGAN_0, Note("began", "b", "k", 0)],
        [BEGAN_0, Note("killed", "b"), Note("began", "c", "k", 0)],
        [BEGAN_1],  # one left out
        [BEGAN_0, Note("failed", "a", "k", 0), BEGAN_1],
        [BEGAN_0, DONE_0, BEGAN_1, DONE_1, BEGAN_0],  # late
    ],
)
def test_a_history_out_of_order_has_faults(notes: list[Note]) -> None:
    assert len(faults(notes)) == 1
