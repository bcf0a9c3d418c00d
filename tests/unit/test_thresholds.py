"""Thresholds say what is wrong with a value, and each has a description and a unit."""

import pytest

import eventlib as ev
from eventlib.thresholds import Thresholds, thresholds_of


def test_text_is_read_and_what_is_not_given_keeps_its_default() -> None:
    given = thresholds_of({"oldest_age_s": "30", "dead_letters": "3"})
    assert (given.oldest_age_s, given.dead_letters) == (30.0, 3)
    assert given.model_copy(update={"oldest_age_s": 60.0, "dead_letters": 0}) == Thresholds()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("oldest_age", 30, "threshold oldest_age: is no threshold; there are oldest_age_s, growth_per_s"),
        ("oldest_age_s", "soon", "threshold oldest_age_s: is 'soon': input should be a valid number"),
        ("memory_share", "1.5", "threshold memory_share: is '1.5': input should be less than or equal to 1"),
        ("oldest_age_s", "nan", "threshold oldest_age_s: is 'nan': input should be a finite number"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(name: str, value: object, told: str) -> None:
    with pytest.raises(ev.InvalidArgument) as raised:
        thresholds_of({name: value})
    assert str(raised.value).startswith(told)


def test_each_has_a_description() -> None:
    for name, field in Thresholds.model_fields.items():
        assert field.description and field.description.endswith("."), name
