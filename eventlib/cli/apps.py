"""The App that a command line names."""

import os

from eventlib.declare.app import App
from eventlib.errors import InvalidArgument
from eventlib.importing import imported


def imported_app(text: str) -> App:
    """The App that a text such as `shop.services:app` names, in the folder where the program starts or installed.

    Raises:
        InvalidArgument: it names nothing that can be imported, or something else.
    """
    found = imported(text, [os.curdir])
    if not isinstance(found, App):
        raise InvalidArgument(text, f"is a {type(found).__name__}, not an App; name an eventlib.App")
    return found
