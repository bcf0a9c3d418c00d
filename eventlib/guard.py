"""Runs a private server and ends it with its owner. Started by `eventlib.server`; the standard library alone.

usage: guard.py DIRECTORY COMMAND...   Prints the server's pid; stops it when standard input closes.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading

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

    def end_with_owner() -> None:
        sys.stdin.buffer.read()
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()

    threading.Thread(target=end_with_owner, daemon=True).start()
    server.wait()
    if server.returncode not in (0, -signal.SIGTERM) and sys.stdin.buffer.closed is False:
        sys.stdin.buffer.read()  # it died early: the owner reads its log before the directory goes
    shutil.rmtree(directory, ignore_errors=True)


main(sys.argv[1], sys.argv[2:])
