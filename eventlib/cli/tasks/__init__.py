"""The operators' commands on task queues: workbench tasks health | list | show | cancel | run-now."""

from eventlib.cli.tasks.commands import app

__all__ = ["app"]
