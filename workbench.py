"""The `workbench` command. It handles signals before it imports the commands, which takes a second or two."""

import signal
import sys
from collections.abc import Callable


def main() -> None:
    """Run the command. `kill` and a closed terminal end it as Ctrl-C does: it cleans up first."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
    for name in ("SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(130)


def run() -> None:
    """Run the command line, or say in one line which extra it needs."""
    from eventlib.extras import MissingExtra

    try:
        command_line()()
    except MissingExtra as missing:
        sys.stderr.write(f"error: {missing}\n")
        sys.exit(2)


def command_line() -> Callable[[], object]:
    """All commands; those of the library alone where the simulator's packages are missing."""
    from eventlib.extras import MissingExtra, needs_extra

    with needs_extra("workbench", "workbench"):
        from eventlib.cli.commands import library_alone
    try:
        with needs_extra("workbench", "the simulator"):
            from sim.cli.commands import app
    except MissingExtra as missing:
        return library_alone(missing)
    return app


if __name__ == "__main__":
    main()
