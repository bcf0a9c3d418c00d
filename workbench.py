"""The `workbench` command. It handles signals before it imports the commands, which takes a second or two."""

import signal
import sys


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
    main()
