"""A program on a pseudo-terminal: what is on its screen, and keys that are pressed."""

import codecs
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

DEADLINE_S = 60.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A program that draws its whole screen again each time, from the top left corner."""

    def __init__(self, process: "subprocess.Popen[bytes]", terminal: int, lines: int) -> None:
        self.process = process
        self._terminal = terminal
        self._lines = lines
        self._sent = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def sent(self) -> str:
        """All that the program has sent, escape sequences included."""
        return self._sent

    @property
    def screen(self) -> list[str]:
        """The lines of the last screen that was drawn down to the last line; none before that."""
        _, *drawn = self._sent.rsplit("\x1b[H", 2)
        screens = [_ESCAPES.sub("", one).replace("\r", "").split("\n") for one in drawn]
        return next((one for one in reversed(screens) if len(one) >= self._lines), [])

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        self._lines = lines
        _set_size(self._terminal, columns, lines)
        self.process.send_signal(signal.SIGWINCH)

    def wait_for(self, seen: Callable[[list[str]], object]) -> list[str]:
        """Wait until the screen is as wanted; it is returned."""
        give_up_at = time.monotonic() + DEADLINE_S
        while True:
            screen = self.screen
            if screen and seen(screen):
                return screen
            assert time.monotonic() < give_up_at, "\n".join(["not seen in time:", *screen])
            time.sleep(0.01)

    def ended(self) -> int:
        """Wait until the program has ended; its exit status is returned."""
        status = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return status

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")  # a read may end inside of a character
        while True:
            try:
                sent = os.read(self._terminal, 65536)
            except OSError:  # the program has ended
                return
            if not sent:
                return
            self._sent += decoder.decode(sent)


@contextmanager
def on_terminal(
    command: list[str], environment: Mapping[str, str], columns: int = 80, lines: int = 24
) -> Iterator[Terminal]:
    """Run a program on a terminal of this size; it is killed at the end of the block."""
    ours, theirs = pty.openpty()
    _set_size(ours, columns, lines)
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=dict(environment))
    os.close(theirs)
    terminal = Terminal(process, ours, lines)
    try:
        yield terminal
    finally:
        process.kill()
        process.wait()
        terminal._reader.join(DEADLINE_S)
        os.close(ours)


def _set_size(terminal: int, columns: int, lines: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
