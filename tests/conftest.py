"""What all tests share: real servers, a namespace for each test, and a check that it left nothing behind."""

import asyncio
import functools
import gc
import importlib
import inspect
import os
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psutil
import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.keys import Keys
from eventlib.testing import Inspector, find_binaries
from tests.deadlines import ends_within
from tests.shop import Connect

# jsonschema builds grammars of IRIs with it for two seconds, for a check of formats that no test asks for.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # as the import system says that there is none


def _version(binary: Path) -> str:
    """Such as `redis-8.2.3`: it names the server in the names of the tests."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"(\w+) server v=([\d.]+)", said)
    return f"{found[1].lower()}-{found[2]}" if found else binary.name


LOOP = os.environ.get("TEST_LOOP", "asyncio")  # a key of LOOPS, below
OTHER_LOOP = LOOP != "asyncio"  # all is tested on the usual one; this run is for what may differ
BINARIES = {_version(binary): binary for binary in find_binaries()[: 1 if OTHER_LOOP else None]}
GIVEN = {"given": os.environ["REDIS_URL"]} if os.environ.get("REDIS_URL") else {}
SERVERS: dict[str, Path | str] = {**GIVEN, **BINARIES}
TEST_PREFIX = b"test-"
DEADLINE_S = 90.0  # a coroutine test that hangs fails, so that the others still run; the longest take 10 s alone
HANGS_S = 240.0  # any other test, and what a test needs: those that run commands take longest


def _eager_loop() -> asyncio.AbstractEventLoop:
    """A loop whose tasks run at once, up to where they first wait."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(vars(asyncio)["eager_task_factory"])  # the types of Python 3.11 have none
    return loop


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop  # not at the top: only `make loops` needs it

    return cast(asyncio.AbstractEventLoop, uvloop.new_event_loop())


# Every event loop that a program may bring. `make loops` runs a part of the tests under the last two.
LOOPS = {"asyncio": asyncio.new_event_loop, "eager": _eager_loop, "uvloop": _uvloop}


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run all coroutine tests on the loop that the environment names."""
    return {LOOP: LOOPS[LOOP]}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every coroutine test a deadline. Leave out what would test nothing new on this loop or this server."""
    items[:] = _new_by_server(items)
    coroutines = [item for item in items if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj)]
    for item in coroutines:
        item.obj = _within_deadline(item.obj)
    if OTHER_LOOP:
        items[:] = coroutines


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    with ends_within(HANGS_S):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    with ends_within(HANGS_S):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What is imported and collected stays: to look for garbage in it takes a sixth of the time."""
    gc.disable()
    try:
        _import_a_part(session.config)
        return (yield)
    finally:
        gc.enable()


def _import_a_part(config: pytest.Config) -> None:
    """Import a part of the test modules, each process another one, before all are collected.

    In a fresh clone pytest compiles every test module with its asserts, which takes most of the time of a collection.
    Begun at different places, each process finds what the others have compiled.
    """
    number, count = (os.environ.get(f"PYTEST_XDIST_WORKER{name}") for name in ("", "_COUNT"))
    if not (number and count):
        return
    left_out = [Path(name).resolve() for name in config.getoption("ignore") or ()]
    files = [file for folder in config.args for file in sorted(Path(folder).resolve().rglob("test_*.py"))]
    files = [file for file in files if not any(map(file.is_relative_to, left_out))]
    for file in files[int(number.removeprefix("gw")) :: int(count)]:
        with suppress(Exception, pytest.skip.Exception):  # collecting it says what is wrong
            importlib.import_module(".".join(file.relative_to(config.rootpath).with_suffix("").parts))


def pytest_collection_finish() -> None:
    """Keep what thousands of collected tests are made of out of every later garbage collection."""
    gc.collect()
    gc.freeze()


def _new_by_server(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """The tests whose result may differ by server, on each of them; all others on the first server alone.

    Servers carry out the same scripts. What differs is which commands, rules and errors a script or a client meets, so
    on another server than the first a test runs once, whatever its other parameters. `one_server`: it does not run
    there. `every_server`: its parameters are what may differ, so it runs there with all of them.
    """
    met = set[tuple[str, str]]()
    for item in items:
        if (server := _other_server(item)) is None or item.get_closest_marker("every_server"):
            yield item
        elif not item.get_closest_marker("one_server"):
            test = item.nodeid.partition("[")[0], server
            if test not in met:
                yield item
            met.add(test)


def _other_server(item: pytest.Item) -> str | None:
    """The name of the server that a test runs on, if it is another one than the first."""
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    name = params.get("server") or next(
        (name for name, binary in BINARIES.items() if params.get("binary") == binary), None
    )
    return name if name in list(SERVERS)[1:] else None


def _within_deadline(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def run(*args: object, **kwargs: object) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await test(*args, **kwargs)

    return run


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[[str], str]]:
    """Start a server by its name when a test first asks for it. Each process that runs tests has its own servers."""
    with ExitStack() as running:

        @functools.cache
        def start(name: str) -> str:
            source = SERVERS[name]
            return source if isinstance(source, str) else running.enter_context(ev.private_server(binary=source)).url

        yield start


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest, start_server: Callable[[str], str]) -> str:
    """The URL of every server found, one after the other."""
    return start_server(request.param)


@pytest.fixture(scope="session")
def url(start_server: Callable[[str], str]) -> str:
    """The URL of one server, for tests that do not depend on which one it is."""
    return start_server(next(iter(SERVERS)))


@pytest.fixture(scope="session", params=BINARIES)
def binary(request: pytest.FixtureRequest) -> Path:
    """Every server program found, for tests that start a server of their own."""
    return BINARIES[request.param]


@pytest.fixture
async def raw(url: str) -> AsyncIterator[redis.Redis]:
    """A connection of the test's own, which does not go through the library."""
    async with redis.Redis.from_url(url) as client:
        yield client


@pytest.fixture
async def namespace(raw: redis.Redis) -> AsyncIterator[str]:
    """A key prefix of the test's own; the test fails if it leaves a key outside of any test's."""
    name = f"{TEST_PREFIX.decode()}{secrets.token_hex(6)}"
    before = await _keys(raw)
    yield name
    after = await _keys(raw)
    if own := [key for key in after if key.startswith(f"{name}:".encode())]:
        await raw.unlink(*own)
    stray = {key for key in after - before if not key.startswith(TEST_PREFIX)}
    assert not stray, f"keys outside of the namespace: {sorted(stray)}"


async def _keys(client: redis.Redis) -> set[bytes]:
    return {cast(bytes, key) async for key in client.scan_iter(count=1000)}


@pytest.fixture
def connect(url: str, namespace: str) -> Connect:
    """`eventlib.connect` to this test's server and namespace."""
    return functools.partial(ev.connect, url=url, namespace=namespace)


@pytest.fixture
def inspector(raw: redis.Redis, namespace: str) -> Inspector:
    """What the server knows about group "billing" on stream "orders"."""
    return Inspector(raw, Keys(namespace).group("orders", "billing"))


@dataclass
class _Children:
    """The processes below this one, from before the first one that the test starts; None if it starts none."""

    before: set[psutil.Process] | None = None

    def forget(self) -> None:
        self.before = None

    def look(self, event: str, _: object) -> None:
        """An audit hook. A look takes milliseconds, and most of the thousands of tests start no process."""
        if self.before is None and event in ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"):
            self.before = set(psutil.Process().children(recursive=True))


_children = _Children()
sys.addaudithook(_children.look)


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Fail a test that leaves a child process behind, and end that process."""
    _children.forget()
    yield
    before = _children.before
    if before is None:
        return
    children = psutil.Process().children(recursive=True)
    started = [child for child in children if child not in before and _of_the_test(child)]
    _, alive = psutil.wait_procs(started, timeout=20)
    for process in alive:
        process.kill()
    assert not alive, f"the test left processes behind: {alive}"


def _of_the_test(process: psutil.Process) -> bool:
    """False for the tracker process that multiprocessing keeps until the end of this process."""
    try:
        return "multiprocessing" not in " ".join(process.cmdline())
    except psutil.Error:
        return False
