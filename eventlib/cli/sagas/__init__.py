"""The operators' commands on sagas: workbench sagas list | show | retry | resolve | cancel."""

from eventlib.cli.sagas.commands import app

__all__ = ["app"]
