"""Runs a private server and ends it with its owner. It needs nothing but the standard library.

usage: guard.py OWNER DIRECTORY COMMAND...

OWNER is the process id of the owner, which started this guard.

`eventlib.testing.server` starts it and gives it orders on standard input, one a line. Each is answered with one line:

    start        start the server; answers its process id, or 0 where it is no program
    running      answers `yes` or `no`
    signal N     send the server signal number N; answers `sent`
    end N        send it signal number N and wait for its end; answers `ended`
    close        the owner is done with the server; not answered

When it is told to close, and when the owner has ended, the guard stops the server and removes DIRECTORY. The end of
standard input alone would not tell: a process that the owner forked may have it open for as long as it likes.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

_LOOK_S = 0.1  # between two looks whether the owner has ended
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


def _orders(owner: int) -> Iterator[str]:
    """The orders of the owner, until it is done with the server or has ended: then another process is the parent."""
    rest = b""
    while os.getppid() == owner:
        if not select.select([0], [], [], _LOOK_S)[0]:
            continue
        if not (data := os.read(0, 4096)):
            return
        *orders, rest = (rest + data).split(b"\n")
        for order in orders:
            if order == b"close":
                return
            yield order.decode()


def main() -> None:
    guard = Guard(sys.argv[2], sys.argv[3:])
    try:
        for order in _orders(int(sys.argv[1])):
            os.write(1, f"{guard.obey(order)}\n".encode())
    except BrokenPipeError:
        pass  # the owner has ended meanwhile
    finally:
        guard.clean_up()


main()
