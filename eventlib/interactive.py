"""Is a person at the keyboard? Where cells of a notebook, or lines of a prompt, are run again, they declare again."""

import builtins
import sys
from collections.abc import Callable


def in_ipython() -> bool:
    """Does this process run a notebook or IPython?"""
    return hasattr(builtins, "__IPYTHON__")


def interactive() -> bool:
    """Does this process run a notebook, IPython or Python's own prompt?"""
    return in_ipython() or hasattr(sys, "ps1")


def same_definition(one: Callable[..., object], other: Callable[..., object]) -> bool:
    """Are these two runs of one definition, typed by the user? A second function of another name is none."""
    places = {(getattr(each, "__module__", None), getattr(each, "__qualname__", "")) for each in (one, other)}
    return interactive() and len(places) == 1 and places.pop()[0] == "__main__"
