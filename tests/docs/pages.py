"""Runs the code of a page, block by block, as a reader would.

A fence of
    `python`   runs: all of a page in one namespace, with `await` at the top level as in `python -m asyncio`
    `python`   that begins with `# name.py` is a file; `sh` below starts it
    `yaml`     begins with `# name.yaml` and is a file, too; with `below what is there`, it is added to that file
    `sh`       has commands: `workbench` and `python` run, what installs or sets a variable does not
    `text`     is what the code before it printed: each of its lines, in this order

A program that is started again is stopped first, as with Ctrl-C.
"""

import ast
import asyncio
import contextlib
import inspect
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import yaml
from typer.testing import CliRunner

from sim.cli.commands import app as workbench
from tests.repository import TOP

NOT_RUN = ("python3 -m venv", "venv/bin/pip ", ". venv/", "export ", "make ", "workbench server")
DEADLINE_S = 120.0  # a machine that is busy takes long to start a program


class Fence(NamedTuple):
    """A block of code: its language, its text, and the line that it begins in."""

    language: str
    text: str
    line: int


def fences(page: str) -> list[Fence]:
    """The fences of a page, those in lists included."""
    found = re.finditer(r"^( *)```([\w{}-]*)[^\n]*\n(.*?)^ *```$", page, re.DOTALL | re.MULTILINE)
    return [Fence(each[2], textwrap.dedent(each[3]), page.count("\n", 0, each.start()) + 1) for each in found]


def lines_missing(shown: str, printed: str) -> list[str]:
    """The first line of `shown` that is not in `printed` behind the one before it; nothing if all are."""
    rest = iter([_plain(line) for line in printed.splitlines()])
    wanted = [_plain(line) for line in shown.splitlines() if line.strip()]
    return next(([line] for line in wanted if not any(line in each for each in rest)), [])


def _plain(line: str) -> str:
    """Without the spaces that a table's width decides about."""
    return " ".join(line.split())


@dataclass
class Reader:
    """Works through one page in a folder of its own. Programs that it starts end with it."""

    folder: Path
    url: str
    printed: str = ""
    names: dict[str, object] = field(default_factory=lambda: {"__name__": "__main__"})
    started: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    looked: bool = False
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.runner.close()
        for name, module in list(sys.modules.items()):  # a page's modules are that page's
            if str(self.folder) in str(getattr(module, "__file__", "")):
                del sys.modules[name]
        for name in list(self.started):
            self._stop(name)

    def read(self, page: str) -> None:
        """Run every fence of the page.

        Raises:
            AssertionError: a command ends with a status that it should not have, or something is not printed.
        """
        for fence in fences(page):
            self._run(fence)

    def _run(self, fence: Fence) -> None:
        name = re.match(r"# ([\w./-]+\.\w+)(, below what is there)?\n", fence.text)
        if self.looked and fence.language in ("sh", "python"):
            self.printed, self.looked = "", False
        match fence.language:
            case "text":
                self._look(fence)
            case "sh":
                for line in fence.text.splitlines():
                    self._command(line)
            case _ if name:
                file = self.folder / name[1]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text((file.read_text() if name[2] else "") + fence.text, encoding="utf-8")
            case "python":
                self._python(fence)

    def _look(self, fence: Fence) -> None:
        with contextlib.suppress(TimeoutError):  # a program that was started may print a moment later
            self._wait_for(fence.text)
        missing = lines_missing(fence.text, self.printed)
        assert not missing, f"line {fence.line}: {missing[0]!r} was not printed, but\n{self.printed}"
        self.looked = True

    def _wait_for(self, text: str) -> None:
        log = self.folder / "started.log"
        if not self.started:
            return
        before = self.printed
        for _ in _looks():
            self.printed = before + log.read_text()
            if not lines_missing(text, self.printed):
                return
        raise TimeoutError

    def _python(self, fence: Fence) -> None:
        """Run it on one event loop for the page, or without one if it starts its own."""
        code = compile(fence.text, f"line {fence.line}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            if code.co_flags & inspect.CO_COROUTINE:
                self.runner.run(asyncio.wait_for(eval(code, self.names), DEADLINE_S))
            else:
                exec(code, self.names)
        self.printed += out.getvalue()

    def _command(self, line: str) -> None:
        if not line.strip() or line.startswith(NOT_RUN):
            return
        program, *arguments = shlex.split(line, comments=True)
        assert program in ("workbench", "python"), f"nothing runs {line!r}"
        if program == "workbench":
            self._workbench(arguments)
        else:
            self._program(arguments)

    def _workbench(self, arguments: Sequence[str]) -> None:
        if arguments[0] == "live":
            arguments = [*self._shortened(arguments), "--repeats", "1"]
        elif arguments[0] in ("plan", "sweep"):
            arguments = [*arguments, "--workers", "1"]  # the same answer, without an interpreter for each core
        done = CliRunner().invoke(workbench, arguments, env={"COLUMNS": "120"})
        # 1 and 3: a page may show what does not hold, and a busy machine makes a live run invalid.
        assert done.exit_code in (0, 1, 3) and "error: " not in done.output, done.output
        self.printed += done.output

    def _shortened(self, arguments: Sequence[str]) -> list[str]:
        """The same command on the same scenario in a fifth of its time: a live run takes as long as it says."""
        declared = yaml.safe_load((self.folder / arguments[1]).read_text(encoding="utf-8"))
        declared["load"]["duration_s"] /= 5
        for fault in declared.get("faults", []):
            fault["at_s"] /= 5
        (self.folder / "short.yaml").write_text(yaml.safe_dump(declared), encoding="utf-8")
        return [arguments[0], "short.yaml", *arguments[2:]]

    def _program(self, arguments: Sequence[str]) -> None:
        """Start it, in place of an earlier one. It may go on while the page does."""
        self._stop(arguments[0])
        environment = os.environ | {"PYTHONPATH": str(TOP), "REDIS_URL": self.url}
        with (self.folder / "started.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=self.folder, env=environment, stdout=log, stderr=log, text=True
            )
        self.started[arguments[0]] = process

    def _stop(self, name: str) -> None:
        if process := self.started.pop(name, None):
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=DEADLINE_S)


def _looks() -> Iterator[None]:
    """Ten a second, for as long as a page may take."""
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        yield
        time.sleep(0.05)
