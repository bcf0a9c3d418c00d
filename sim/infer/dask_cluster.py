"""A Dask cluster as the executor of a sweep, where one machine is not enough."""

import re
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, cast

from eventlib.extras import needs_extra
from sim.errors import SweepFailed

_ANSWERS_WITHIN_S = 5
_ADDRESS = re.compile(r"(\w+://)?[^/\s]+:\d{1,5}")


@contextmanager
def dask_cluster(address: str) -> Iterator[Executor]:
    """The workers of the Dask cluster whose scheduler is at this address, such as `tcp://10.0.0.1:8786`.

    Each worker has this package installed, in the same version, and reads the scenario's files at the same places.

    Raises:
        MissingExtra: Dask is not installed.
        SweepFailed: this is no address, or no scheduler answers there.
    """
    with needs_extra("dask", "a sweep on a Dask cluster"):
        from distributed import Client  # not at the top: it takes a second, and only this needs it

    if not _ADDRESS.fullmatch(address):
        raise SweepFailed(address, "is no address of a scheduler; give one such as tcp://10.0.0.1:8786")
    try:
        client = cast(Any, Client)(address, timeout=_ANSWERS_WITHIN_S, set_as_default=False)  # it has no types
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        problem = f"no Dask scheduler answers there within {_ANSWERS_WITHIN_S} s; start one (`dask scheduler`)"
        raise SweepFailed(address, f"{problem}, or leave --dask out") from error
    with client:
        yield client.get_executor()
