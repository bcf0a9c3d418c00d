"""The docstring of eventlib.testing is the table of its public names; it can be trusted."""

import inspect
import re

import pytest

from eventlib import testing

CLASSES = [testing.FaultProxy, testing.Inspector, testing.PrivateServer]


def test_the_docstring_lists_the_public_names() -> None:
    assert testing.__doc__ is not None
    listed = re.findall(r"^    (\w+) {2,}\S.*$", testing.__doc__, re.MULTILINE)
    assert sorted(listed) == testing.__all__ == sorted(testing.__all__)


def test_every_public_name_is_there_and_explained() -> None:
    assert all(getattr(testing, name).__doc__ for name in testing.__all__)


@pytest.mark.parametrize("tool", CLASSES)
def test_every_method_is_explained(tool: type) -> None:
    methods = {name: method for name, method in vars(tool).items() if not name.startswith("_") and callable(method)}
    assert methods and not [name for name, method in methods.items() if not inspect.getdoc(method)]
