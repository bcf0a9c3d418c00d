"""The operators' commands on schedules: list, show, pause, resume, remove, run-now, history."""

from eventlib.cli.schedules.commands import app

__all__ = ["app"]
