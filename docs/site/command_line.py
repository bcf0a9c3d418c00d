"""The commands of `workbench`, as the command line itself declares them."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import typer

from docs.site.markdown import heading, table
from sim.cli.commands import COMMANDS

_OF_TYPER = ("help", "install_completion", "show_completion")  # every command has the first; no group has the others


def commands() -> str:
    """Every command with its arguments and options."""
    return "".join(
        text
        for name, listed in COMMANDS.items()
        for text in _command(typer.main.get_command(import_module(listed.module).app), f"workbench {name}", 2)
    )


def _command(command: Any, path: str, level: int) -> Iterator[str]:
    yield heading(level, path)
    yield f"\n{command.help}\n"
    below = getattr(command, "commands", {})
    if not below:
        shown = [each for each in command.params if not each.hidden and each.name not in _OF_TYPER]
        yield f"\n```text\n{' '.join([path, '[OPTIONS]', *_arguments(shown)])}\n```\n"
        yield "\n" + table(["", "value", "what", "default"], map(_row, shown))
    if command.epilog:
        yield f"\n{command.epilog.partition(chr(10))[0]}\n"
    for name, each in below.items():
        yield from _command(each, f"{path} {name}", level + 1)


def _arguments(parameters: list[Any]) -> Iterator[str]:
    for each in parameters:
        if each.param_type_name == "argument":
            name = (each.metavar or each.name).upper()
            yield name if each.required else f"[{name}]"


def _row(parameter: Any) -> list[str]:
    is_option = parameter.param_type_name == "option"
    names = [*parameter.opts, *parameter.secondary_opts] if is_option else [(parameter.metavar or parameter.name)]
    default = parameter.default
    known = default is not None and default is not False and not callable(default)
    return [
        ", ".join(f"`{name}`" for name in names),
        "" if getattr(parameter, "is_flag", False) or not is_option else f"`{_value(parameter)}`",
        parameter.help or "",
        "needed" if parameter.required else f"`{default}`" if known else "",
    ]


def _value(parameter: Any) -> str:
    """What may be given, such as `FILE` or `int`."""
    annotation = parameter.type_descriptor.annotation
    return str(parameter.metavar or getattr(annotation, "__name__", annotation))
