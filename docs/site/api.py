"""The public names of the packages. The docstring of a package lists them by use; so does its page."""

import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from pydantic import BaseModel

import eventlib
import sim
from docs.site.markdown import heading
from eventlib.errors import EventlibError
from eventlib.signals import Signal

# Members of these are the language's or a library's own, and described there.
_FOREIGN = "BaseModel, Exception, tuple, dict, Generic, Protocol"


def library() -> str:
    """Everything that `import eventlib as ev` has but its errors."""
    return _page("eventlib", skip=_is_error)


def simulator() -> str:
    """Everything that `import sim` has but its errors."""
    return _page("sim", skip=_is_error)


def testing() -> str:
    """The tools of `eventlib.testing`."""
    module = import_module("eventlib.testing")
    return "\n".join(_described("eventlib.testing", name) for name in sorted(module.__all__))


def errors() -> str:
    """Every error of both packages, by whose fault it is: its docstring says the cause and the mend."""
    parts = []
    for module in (eventlib, sim):
        for use, names in uses(module.__doc__ or ""):
            chosen = [name for name in names if _is_error(getattr(module, name))]
            if chosen:
                parts += [heading(2, f"{use}" if module is eventlib else f"Of the workbench: {use.lower()}")]
                parts += [_described(module.__name__, name, members=False) for name in chosen]
    return "\n".join(parts)


def uses(docstring: str) -> Iterator[tuple[str, list[str]]]:
    """What a package's docstring says of its names: a use in a line of its own, the names of that use below it."""
    use, names = "", list[str]()
    for line in docstring.splitlines():
        if line.startswith("    "):
            names += [name.strip() for name in line.split(",") if name.strip()]
            continue
        if names:
            yield use, names
        use, names = line, []
    if names:
        yield use, names


def _page(module: str, *, skip: Any) -> str:
    package, parts = import_module(module), list[str]()
    for use, names in uses(package.__doc__ or ""):
        if chosen := [name for name in names if not skip(getattr(package, name))]:
            parts += [heading(2, use), *(_described(module, name) for name in chosen)]
    return "\n".join(parts)


def _is_error(thing: object) -> bool:
    return inspect.isclass(thing) and issubclass(thing, EventlibError | Signal | sim.SimError)


def _described(module: str, name: str, *, members: bool = True) -> str:
    """The directive that describes one name."""
    thing = getattr(import_module(module), name)
    options = list[str]()
    if not inspect.isclass(thing):
        kind = "autofunction" if callable(thing) else "autodata"
    elif issubclass(thing, BaseException):
        kind = "autoexception"
    else:
        kind = "autoclass"
        if members:
            options = ["members:", f"inherited-members: {_FOREIGN}"]
        if issubclass(thing, BaseModel):
            options.append(f"exclude-members: {', '.join(_of_pydantic())}")
    lines = [f".. {kind}:: {module}.{name}", *(f"   :{option}" for option in options)]
    return "```{eval-rst}\n" + "\n".join(lines) + "\n```\n"


def _of_pydantic() -> list[str]:
    return ["model_config", "model_post_init"]


def plain(docstring: str | None) -> str:
    """A docstring as Markdown paragraphs."""
    return re.sub(r"\n(?!\n)", " ", textwrap.dedent(docstring or "")).strip()
