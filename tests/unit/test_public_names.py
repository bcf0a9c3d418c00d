"""The package docstring is the table of public names; it can be trusted."""

import re
import subprocess
import sys

import pytest

import eventlib as ev


def test_the_docstring_lists_the_public_names() -> None:
    assert ev.__doc__ is not None
    indented = "\n".join(line for line in ev.__doc__.splitlines() if line.startswith("    "))
    assert sorted(re.findall(r"\w+", indented)) == sorted(ev.__all__)


def test_every_public_name_is_there_and_explained() -> None:
    assert ev.__all__ == sorted(ev.__all__, key=lambda name: (not name.isupper(), name))
    assert all(getattr(ev, name).__doc__ for name in ev.__all__)
    assert set(ev.__all__) <= set(dir(ev))


def test_there_is_no_other_name() -> None:
    with pytest.raises(AttributeError, match="module 'eventlib' has no attribute 'Buses'"):
        getattr(ev, "Buses")  # noqa: B009 - a type checker knows it too


def test_what_only_some_programs_use_is_imported_when_it_is_used() -> None:
    program = (
        "import sys, eventlib as ev; ev.App('shop'), ev.connect; print(*sys.modules); ev.Saga; print(*sys.modules)"
    )
    before, after = (
        set(line.split()) for line in subprocess.check_output([sys.executable, "-c", program], text=True).splitlines()
    )
    on_demand = {
        "catalog",
        "client",
        "declare.sagas",
        "events.compatibility",
        "events.registry",
        "running",
        "saga_policy",
        "sagas.messages",
        "sagas.operations",
        "schedules.operations",
        "testing",
    }
    assert not before & {f"eventlib.{name}" for name in on_demand}
    assert "eventlib.declare.sagas" in after
