"""A call that ends the process that it runs in."""

import os


def dies_unless(first: int) -> int:
    """End this process if it is the first one, or (0) any; else say which it is."""
    if first in (0, os.getpid()):
        os.kill(os.getpid(), 9)
    return os.getpid()
