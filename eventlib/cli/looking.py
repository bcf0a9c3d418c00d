"""What the commands share that look at a server and its streams, whichever library made them."""

from collections.abc import Sequence
from typing import Annotated

import typer

from eventlib.cli.console import named_server, server_url
from eventlib.errors import InvalidArgument
from eventlib.settings import load_settings
from eventlib.thresholds import Thresholds, thresholds_of

ServerUrl = Annotated[
    str,
    typer.Argument(
        help="The server: redis://host:6379/0; without it the variable REDIS_URL.",
        metavar="REDIS_URL",
        default_factory=named_server,
        show_default=False,
        callback=server_url,
    ),
]
Rate = Annotated[float, typer.Option(help="The most commands sent to Redis within any second.", min=1, max=10_000)]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help=f"A threshold, such as oldest_age_s=30; may be repeated. There are {', '.join(Thresholds.model_fields)}.",
        metavar="NAME=VALUE",
    ),
]


def thresholds_from(given: Sequence[str] | None) -> Thresholds:
    """The thresholds of `--set` options, and else those of the settings.

    Raises:
        InvalidSettings: the settings are wrong.
        InvalidArgument: one is no NAME=VALUE, its name is unknown, or its value is out of range.
    """
    pairs = [option.partition("=") for option in given or ()]
    for name, equals, _ in pairs:
        if not equals:
            raise InvalidArgument(f"--set {name}", "is no NAME=VALUE, such as oldest_age_s=30")
    return thresholds_of(load_settings().thresholds.model_dump() | {name: value for name, _, value in pairs})
