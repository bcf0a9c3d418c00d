"""workbench monitor: a live view of streams, groups and consumers in the terminal."""

from eventlib.cli.monitor.command import app

__all__ = ["app"]
