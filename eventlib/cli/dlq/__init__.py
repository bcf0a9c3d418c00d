"""The operators' commands on dead-letter queues: workbench dlq list | show | count | edit | replay | purge."""

from eventlib.cli.dlq.commands import app

__all__ = ["app"]
