"""How a command of the workbench runs: its module is imported, and an expected error becomes one line."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_group

from eventlib.cli.console import Commands
from eventlib.errors import EventlibError
from sim.errors import CalibrationFailed, InvalidScenario, LiveRunFailed, SimError, SweepFailed


class RunningCommands(Commands):
    """The commands that are `listed`. The one that is called is imported from its module."""

    expected: ClassVar[tuple[type[Exception], ...]] = (SimError, EventlibError)
    invalid: ClassVar[tuple[type[Exception], ...]] = (CalibrationFailed, LiveRunFailed, SweepFailed)

    def __init__(self, listed: TyperGroup, modules: Mapping[str, str]) -> None:
        super().__init__(
            name=listed.name,
            commands=dict(listed.commands),
            params=listed.params,
            help=listed.help,
            context_settings=listed.context_settings,
            no_args_is_help=listed.no_args_is_help,
            rich_markup_mode=listed.rich_markup_mode,
        )
        self._modules = modules

    def problems(self, error: Exception) -> list[str]:
        if isinstance(error, InvalidScenario):
            return [f"{error.where}: {problem}" for problem in error.problems]
        return super().problems(error)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else self._imported(name), rest

    def _imported(self, name: str) -> Any:
        holder = typer.Typer(rich_markup_mode=self.rich_markup_mode)
        holder.add_typer(import_module(self._modules[name]).app)
        return get_group(holder).commands[name]
