"""The `workbench` command. It readies signals and streams before it imports the commands, which may take a second."""

import io
import os
import signal
import sys
from typing import Any, TextIO


def main() -> None:
    """Run the command. `kill` and a closed terminal end it as Ctrl-C does: it cleans up first."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
    for name in ("SIGTERM", "SIGHUP"):
        if signal.getsignal(number := getattr(signal, name)) is not signal.SIG_IGN:  # as SIGHUP is under nohup
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    ready_streams()
    os.environ.pop("MPLBACKEND", None)  # a window's toolkit, or a misspelt one, is of no use: figures go into files
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        give_up_output()


def ready_streams() -> None:
    """Make the three standard streams usable, whatever they are.

    A closed one gets the null device: otherwise the next file or socket would get its number, and what is printed.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(null, number)
    if null > 2:
        os.close(null)
    sys.stdin = sys.stdin or io.TextIOWrapper(io.FileIO(0, closefd=False))
    sys.stdout = _output(1, sys.stdout, BrokenPipeError)
    sys.stderr = _output(2, sys.stderr, OSError)


class _Output(io.FileIO):
    """Output that vanishes where it fails as expected: the result and the exit status still count."""

    def __init__(self, number: int, expected: type[OSError]) -> None:
        super().__init__(number, "w", closefd=False)
        self._name = {1: "standard output", 2: "standard error"}[number]
        self._expected = expected

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except self._expected:
            return len(data)
        except OSError as error:
            error.filename = self._name
            raise


def _output(number: int, stream: TextIO | None, expected: type[OSError]) -> TextIO:
    """A standard stream in which text that its encoding does not have is escaped."""
    file = io.BufferedWriter(_Output(number, expected))
    encoding = "utf-8" if stream is None else stream.encoding
    return io.TextIOWrapper(file, encoding, "backslashreplace", line_buffering=number == 2 or file.isatty())


def give_up_output() -> None:
    """Drop what could not be written: it was told, and the interpreter would tell it again, with a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def run() -> None:
    """Run the command line, or say in one line which extra it needs."""
    try:
        from sim.cli.commands import app

        app(prog_name="workbench")
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
