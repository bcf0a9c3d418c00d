"""Keys as they are pressed, without waiting for a line. Where the terminal cannot do that, none come."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_ESCAPED = {"[A": "up", "[B": "down", "OA": "up", "OB": "down", "[5~": "page up", "[6~": "page down"}
_NAMED = {"\r": "enter", "\n": "enter", "\x1b": "escape", "\x7f": "escape", "\x08": "escape", "k": "up", "j": "down"}


def keys_in(text: str) -> Iterator[str]:
    """The names of the keys in what a terminal sent: "up", "enter", or the letter."""
    while text:
        if text[0] == "\x1b":
            known = next((code for code in _ESCAPED if text[1:].startswith(code)), None)
            if known is not None:
                yield _ESCAPED[known]
                text = text[1 + len(known) :]
                continue
        yield _NAMED.get(text[0], text[0])
        text = text[1:]


@contextmanager
def pressed_keys(keys: "asyncio.Queue[str]") -> Iterator[bool]:
    """Put each key that is pressed into the queue, for the length of the block. False: there is no keyboard."""
    try:
        import termios
        import tty
    except ImportError:  # this system has other terminals
        yield False
        return
    try:
        keyboard = sys.stdin.fileno()
        before = termios.tcgetattr(keyboard)
    except (OSError, ValueError, termios.error):  # standard input is no terminal
        yield False
        return

    def read() -> None:
        sent = b""
        with contextlib.suppress(OSError):  # the terminal has gone
            sent = os.read(keyboard, 1024)
        if not sent:
            loop.remove_reader(keyboard)
        for key in keys_in(sent.decode(errors="ignore")):
            keys.put_nowait(key)

    loop = asyncio.get_running_loop()
    tty.setcbreak(keyboard)  # Ctrl-C stays what it is
    loop.add_reader(keyboard, read)
    try:
        yield True
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
