"""The package docstring is the table of public names; it can be trusted."""

import re

import eventlib as ev


def test_the_docstring_lists_the_public_names() -> None:
    assert ev.__doc__ is not None
    indented = "\n".join(line for line in ev.__doc__.splitlines() if line.startswith("    "))
    assert sorted(re.findall(r"\w+", indented)) == sorted(ev.__all__)


def test_every_public_name_is_there_and_explained() -> None:
    assert ev.__all__ == sorted(ev.__all__, key=lambda name: (not name.isupper(), name))
    assert all(getattr(ev, name).__doc__ for name in ev.__all__)
