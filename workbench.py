"""The `workbench` command. Signals are seen to first: what it needs takes a second or two to import."""

import signal
import sys


def main() -> None:
    """Entry point: a plain `kill`, or a closed terminal, ends the command as Ctrl-C does: in order."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
    for name in ("SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        from sim.cli.commands import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
