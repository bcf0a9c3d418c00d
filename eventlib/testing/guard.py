"""Runs a private server and ends it with its owner. Started by `eventlib.testing.server`; the standard library alone.

usage: guard.py DIRECTORY COMMAND...   Prints the server's pid; stops it when standard input closes.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys

_LOOK_S = 0.05  # how often the guard looks whether the server still runs
_STOP_S = 5.0
_PR_SET_PDEATHSIG = 1  # Source: prctl(2)


def die_with_guard() -> None:
    """Should even this guard be killed, Linux ends the server with it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(directory: str, command: list[str]) -> None:
    with open(os.path.join(directory, "server.log"), "wb") as log:
        # No thread runs yet, so preexec_fn is safe.
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_guard,  # noqa: PLW1509
        )
    print(server.pid, flush=True)  # noqa: T201 - the owner reads it
    owner_lives = True
    while owner_lives and server.poll() is None:
        readable, _, _ = select.select([0], [], [], _LOOK_S)
        owner_lives = not (readable and os.read(0, 1024) == b"")
    if owner_lives:
        return  # the server ended by itself: its owner may want to read why before the directory goes
    server.terminate()
    try:
        server.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
    shutil.rmtree(directory, ignore_errors=True)


main(sys.argv[1], sys.argv[2:])
