"""The `workbench` command. It handles signals before it imports the commands, which takes a second or two."""

import os
import signal
import sys
from typing import Any, TextIO, cast


class UntilClosed:
    """A stream whose reader may go, as `| head` does. What is written after that goes nowhere, and is no failure."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, as long as there is a reader."""
        try:
            self._stream.write(text)
        except BrokenPipeError:
            self._close()
        return len(text)

    def flush(self) -> None:
        """Flush, as long as there is a reader."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._close()

    def _close(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # what is buffered still has to go somewhere
        os.close(nowhere)


def main() -> None:
    """Run the command. `kill` and a closed terminal end it as Ctrl-C does: it cleans up first."""
    if sys.stdout is not None:
        sys.stdout = cast(TextIO, UntilClosed(sys.stdout))
    if sys.stderr is not None:
        sys.stderr = cast(TextIO, UntilClosed(sys.stderr))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
    for name in ("SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(130)


def run() -> None:
    """Run the command line, or say in one line which extra it needs."""
    try:
        from sim.cli.commands import app

        app()
    except ModuleNotFoundError as error:
        from eventlib.extras import MissingExtra, needs_extra  # now only: the library takes longer to import

        try:
            with needs_extra("workbench", "workbench"):
                raise error
        except MissingExtra as missing:
            sys.stderr.write(f"error: {missing}\n")
            sys.exit(2)


if __name__ == "__main__":
    # `python -m` looks into the current folder first, where a user's own sim.py or redis.py may be.
    if not sys.flags.safe_path and os.path.abspath(sys.path[0]) != os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]
    main()
