"""What all commands share: exit statuses, files to write, JSON for machines, and a line for every expected problem."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, cast

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from eventlib.broker.connection import shows_password
from eventlib.cli.terminal import err, out
from eventlib.errors import EventlibError
from eventlib.extras import MissingExtra, needs_extra
from eventlib.system_errors import with_mend, with_place
from eventlib.whole_files import check_writable, write_whole

FAILED, WRONG, INVALID, INTERRUPTED = 1, 2, 3, 130  # as `EXIT_STATUS` words them
EXIT_STATUS = (
    "Exit status: 0 it holds, 1 a promise is broken, 2 bad input or no server, "
    "3 invalid run (late generator, too noisy, not drained in time), 130 Ctrl-C."
)
_UsageError = cast(type[Exception], typer.BadParameter.__base__)


class Commands(TyperGroup):
    """A group of commands. An expected error ends in a line a problem and a status; a traceback is a defect of ours."""

    expected: ClassVar[tuple[type[Exception], ...]] = (EventlibError,)
    invalid: ClassVar[tuple[type[Exception], ...]] = ()  # those of `expected` that are a run without a result

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with self._told():  # it prints the help
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        out.stderr = False
        with self._told():
            return super().invoke(ctx)

    @contextmanager
    def _told(self) -> Iterator[None]:
        status = WRONG
        try:
            with needs_extra("workbench", "this command"):  # a command may import as it runs
                yield
            return
        except KeyboardInterrupt:
            err.tell("Interrupted. Nothing was left running.")
            raise typer.Exit(INTERRUPTED) from None
        except _UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # then typer shows the help
                raise
            found = [_usage(error)]
        except ValidationError as error:
            found = [problem["msg"] for problem in error.errors(include_url=False)]
        except MissingExtra as error:
            found = [str(error)]
        except self.expected as error:
            found = self.problems(error)
            status = INVALID if isinstance(error, self.invalid) else WRONG
        except MemoryError:
            found = ["memory: there is not enough of it for this; ask for less at once"]
        except OSError as error:
            found = [with_place(error)]
        for problem in found:
            err.tell(("error:", "bold red"), f" {problem}")
        raise typer.Exit(status)

    def problems(self, error: Exception) -> list[str]:
        """What is wrong, a line each."""
        return [str(error)]


def ending(example: str) -> str:
    """What a command's help ends with: an example, and the exit statuses, which are the same for all commands."""
    return f"Example: {example}\n\n{EXIT_STATUS}"


def commands(name: str, about: str, example: str) -> typer.Typer:
    """A group of commands, such as `workbench tasks`. Without a command, its help is shown."""
    return typer.Typer(name=name, help=about, epilog=ending(example), no_args_is_help=True, rich_markup_mode="markdown")


def _usage(error: Any) -> str:
    """What is wrong with the command line, and where to read more."""
    command = f" ({error.ctx.command_path} --help says more)" if error.ctx else ""
    return f"{' '.join(error.format_message().split())}{command}"


def writable(file: Path | None) -> Path | None:
    """Try a file that is to be written, before a command works for minutes. What is in it stays until then."""
    if file is None:
        return None
    if file == Path("-"):
        raise typer.BadParameter("- is no file; name one")
    try:
        if file.is_dir() or not file.absolute().parent.is_dir():
            raise typer.BadParameter(f"{file} cannot be written; name a file in a directory that exists")
        check_writable(file)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be written: {with_mend(error)}") from error
    return file


def _json_target(file: Path | None) -> Path | None:
    if file != Path("-"):
        return writable(file)
    out.stderr = True  # so that standard output is JSON and nothing else
    return file


Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        help="Also write the result here, for machines. With - it goes to standard output, all else to standard error.",
        callback=_json_target,
        metavar="FILE",
    ),
]


def from_settings(place: str, option: Any) -> Any:
    """The option, with its default from the settings: that of `exporter.port`, say."""
    from eventlib.settings import Settings, load_settings  # here, as below: most helps and simulations do without

    section, _, name = place.partition(".")

    def value_of(settings: Settings) -> Any:
        return getattr(getattr(settings, section), name)

    option.default_factory = lambda: value_of(load_settings())
    option.show_default = f"{place} of the settings, {value_of(Settings())} by default"
    return option


def named_server(how: str = "pass its URL") -> str:
    """The server that the settings name: what commands use without a URL. `how` says where one could be given.

    Raises:
        typer.BadParameter: none is named.
    """
    from eventlib.settings import load_settings

    if address := load_settings().redis.address():
        return address
    raise typer.BadParameter(f"no Redis is named; {how} or set REDIS_URL, such as redis://localhost:6379/0")


def server_url(context: typer.Context, parameter: typer.CallbackParam, url: str | None) -> str | None:
    """The URL that was given, with user, password file and certificates of the settings: a callback of options.

    It tells where the command line shows a password to others.
    """
    source = context.get_parameter_source(parameter.name or "")
    if url is None or source is None or source.name != "COMMANDLINE":
        return url
    if shows_password(url):
        err.tell(
            "`ps` shows the password in this URL to others here; set REDIS_URL, or name a file by REDIS_PASSWORD_FILE."
        )
    from eventlib.settings import load_settings

    if address := load_settings(url=url).redis.address():
        return address
    raise typer.BadParameter("the URL is empty, and no other is set; write redis://localhost:6379/0, say")


def keep_apart(inputs: Iterable[Path | None], *outputs: Path | None) -> None:
    """Make sure that no output is a file that is read, and that no two outputs are one file.

    Raises:
        typer.BadParameter: one is.
    """
    taken = [(file, "is read; it would be overwritten") for file in inputs if file is not None]
    for output in outputs:
        if output is None or output == Path("-"):
            continue
        for file, problem in taken:
            if _same(file, output):
                raise typer.BadParameter(f"{output} {problem}; name another file")
        taken.append((output, "would be written twice"))


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other) and one.is_file()
    except OSError:  # one of them is not there
        return os.path.normcase(os.path.realpath(one)) == os.path.normcase(os.path.realpath(other))


def write_json(json_file: Path | None, result: Mapping[str, Any]) -> None:
    """Write the result of a command where `--json` named a file.

    JSON has no form for numbers without a value: NaN becomes null, infinity the text "Infinity" or "-Infinity".

    Raises:
        OSError: it could not be written.
    """
    if json_file is None:
        return
    text = json.dumps(_numbers_as_json(result), indent=2, allow_nan=False) + "\n"
    if json_file == Path("-"):
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_whole(json_file, text)


def write_text(text: str, json_file: Path | None) -> None:
    """Write the text of a file to standard output, as it is. Not where `--json -` has JSON there."""
    if json_file != Path("-"):
        sys.stdout.write(text)
        sys.stdout.flush()


def keep_and_show(show: Callable[[], None], *keep: Callable[[], None]) -> None:
    """Write the result of a command into files, then show it. One that cannot be written costs no other, nor the sight.

    Raises:
        OSError, EventlibError: as those of `keep` do.
    """
    with ExitStack() as last_first:
        last_first.callback(show)
        for write in reversed(keep):
            last_first.callback(write)


def _numbers_as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _numbers_as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers_as_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
