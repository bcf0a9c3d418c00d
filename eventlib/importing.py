"""Imports what a command or a file names of the user's own, such as the App `shop.services:app`."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from eventlib.errors import InvalidArgument


def import_path(text: str) -> tuple[str, str]:
    """The module and the name in it of a text such as `shop.services:app`.

    Raises:
        ValueError: it has another form.
    """
    module, colon, name = text.partition(":")
    if not (colon and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))):
        raise ValueError(f"{text!r} names nothing to import; write module:name, such as shop.services:app")
    return module, name


def imported(text: str, folders: Sequence[str | os.PathLike[str]]) -> Any:
    """What a text such as `shop.services:app` names. `folders` are looked into first, as where a program starts.

    Raises:
        InvalidArgument: it names nothing that can be imported. A module may do anything: exit or cancel, too.
    """
    try:
        module_name, attributes = import_path(text)
    except ValueError as error:
        raise InvalidArgument("import", str(error)) from None
    places = list(dict.fromkeys(os.path.abspath(folder) for folder in folders))
    sys.path[:] = [*places, *(place for place in sys.path if place not in places)]
    found = _module(module_name, text, places)
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            raise InvalidArgument(text, f"{module_name} has no {attribute!r}; correct the name after the colon")
        found = getattr(found, attribute)
    return found


def _module(name: str, text: str, places: list[str]) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None:  # raised by hand, as optional imports do
            problem = f"importing {name} raises {type(error).__name__}: {error}{_line_of(error)}; correct it"
        elif not f"{name}.".startswith(f"{error.name}."):
            problem = f"{name} needs {error.name}, which is not installed; install it"
        else:
            problem = f"there is no module {error.name!r} in {', '.join(places)} or among what is installed"
            problem += "; correct the name"
        raise InvalidArgument(text, problem) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        what = "ends the program" if isinstance(error, SystemExit) else f"raises {type(error).__name__}: {error}"
        raise InvalidArgument(text, f"importing {name} {what}{_line_of(error)}; correct it") from None


def _line_of(error: BaseException) -> str:
    """Where the user's own code raised it. A syntax error says so itself."""
    if isinstance(error, SyntaxError):
        return ""
    trace, line = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<"):
            line = f" ({os.path.basename(file)}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return line
