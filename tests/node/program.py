"""Installs the Node programs' packages once, and runs the programs."""

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).with_name("consumer")
INSTALL_TIMEOUT_S = 180.0
NODE_MIN = 20

Line = dict[str, Any]


class NotInstallable(Exception):
    """Why the programs cannot run here."""


def install(cache: Path, sources: Path = SOURCES) -> Path:
    """What the programs in `sources` need, in a directory below `cache` that later runs find again.

    Raises:
        NotInstallable: node or npm is missing or too old, or npm could not get the packages.
    """
    if not (shutil.which("node") and shutil.which("npm")):
        raise NotInstallable("node or npm is not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < NODE_MIN:
        raise NotInstallable(f"node is {version}; the consumer needs {NODE_MIN}")
    manifest = (sources / "package.json").read_bytes()
    packages = cache / hashlib.sha256(manifest).hexdigest()[:16]
    if not packages.exists():
        _install_packages(sources, cache, packages)
    return packages


def _install_packages(sources: Path, cache: Path, packages: Path) -> None:
    """Into a directory of its own first: two processes may do this at once, and one may be killed."""
    fresh = Path(tempfile.mkdtemp(dir=cache))
    shutil.copy(sources / "package.json", fresh)
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    try:
        done = subprocess.run(
            command, cwd=fresh, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotInstallable(f"npm install took longer than {INSTALL_TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        raise NotInstallable(f"npm install failed: {done.stderr[-500:]}")
    try:
        fresh.rename(packages)
    except OSError:  # another process was faster
        shutil.rmtree(fresh)


def place(packages: Path, directory: Path, sources: Path = SOURCES) -> Path:
    """The programs as they are now, in `directory`, with the installed packages within their reach."""
    shutil.copytree(sources, directory, ignore=shutil.ignore_patterns("node_modules"))
    (directory / "node_modules").symlink_to(packages / "node_modules", target_is_directory=True)
    return directory


class Program:
    """A running Node program and what it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.lines: list[Line] = []
        self._process = process
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(json.loads(line))

    def said(self, happened: str) -> list[Line]:
        """Every line about this kind of thing; fails with the program's last words where it has crashed."""
        assert self._process.returncode in (None, 0, -signal.SIGKILL), self.lines[-3:]
        return [line for line in self.lines if line["happened"] == happened]

    def send(self, what: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self._process.returncode is None:
            self._process.send_signal(what)

    async def ended(self) -> int:
        """Wait for its end, and return its exit status."""
        status = await self._process.wait()
        await self._listening
        return status

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it, and return its exit status."""
        self.send(how)
        return await self.ended()


@asynccontextmanager
async def running(directory: Path, program: str, config: Mapping[str, Any]) -> AsyncIterator[Program]:
    """Run a program with this configuration; kill it at the end of the block if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *("node", program, _written(directory, config)),
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    started = Program(process)
    try:
        yield started
    finally:
        await started.stop(signal.SIGKILL)


async def result(directory: Path, program: str, config: Mapping[str, Any]) -> Any:
    """Run a program to its end; what it printed."""
    process = await asyncio.create_subprocess_exec(
        *("node", program, _written(directory, config)),
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        printed, complained = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complained.decode()
    return json.loads(printed)


def _written(directory: Path, config: Mapping[str, Any]) -> str:
    with tempfile.NamedTemporaryFile("w", dir=directory, suffix=".json", delete=False) as file:
        json.dump(config, file)
    return file.name
