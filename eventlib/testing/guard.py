"""Runs a private server and ends it with its owner. It needs nothing but the standard library.

usage: guard.py DIRECTORY COMMAND...

`eventlib.testing.server` starts it and gives it orders on standard input, one a line. Each is answered with one line:

    start        start the server; answers its process id, or 0 where it is no program
    running      answers `yes` or `no`
    signal N     send the server signal number N; answers `sent`
    end N        send it signal number N and wait for its end; answers `ended`

Standard input closes when the owner is done with the server, and when the owner ends in any other way. The guard then
stops the server and removes DIRECTORY.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys

_STOP_S = 5.0  # a server that needs longer to stop is killed
_PR_SET_PDEATHSIG = 1  # Source: prctl(2)


class Guard:
    """The parent process of the server."""

    def __init__(self, directory: str, command: list[str]) -> None:
        self._directory = directory
        self._command = command
        self._server: subprocess.Popen[bytes] | None = None

    def obey(self, order: str) -> str:
        """Carry out one order; returns the answer."""
        match order.split():
            case ["start"]:
                return str(self._start())
            case ["running"]:
                return "yes" if self._running() else "no"
            case ["signal", number]:
                self._send(int(number))
                return "sent"
            case ["end", number]:
                self._end(int(number))
                return "ended"
        raise ValueError(f"{order!r} is no order")

    def clean_up(self) -> None:
        """Stop the server and remove its directory."""
        self._end(signal.SIGTERM)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self) -> int:
        with open(os.path.join(self._directory, "server.log"), "ab", buffering=0) as log:
            try:
                # No thread runs here, so preexec_fn is safe.
                self._server = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=_die_with_guard,  # noqa: PLW1509
                )
            except OSError as error:
                log.write(f"{error}\n".encode())
                return 0
        return self._server.pid

    def _running(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def _send(self, number: int) -> None:
        if self._server is not None:
            self._server.send_signal(number)  # does nothing where it has ended

    def _end(self, number: int) -> None:
        self._send(number)
        self._send(signal.SIGCONT)  # a paused server sees no signal but SIGKILL
        if self._server is None:
            return
        try:
            self._server.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()


def _die_with_guard() -> None:
    """Have Linux kill the server when even this guard is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    guard = Guard(sys.argv[1], sys.argv[2:])
    try:
        for order in sys.stdin:
            sys.stdout.write(f"{guard.obey(order)}\n")
            sys.stdout.flush()
    finally:
        guard.clean_up()


main()
