"""A program that has a private server and starts processes in every way, each of which outlives it; and how it ends.

usage: python -m tests.testing.owner ENDING

It prints the server's process id and directory, then the process ids of what it has started.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from eventlib.testing import private_server

LIVES_S = 90.0  # a started process, if no test ends it
_SLEEP = ("sleep", f"{LIVES_S:.0f}")


def _popen(*, close_fds: bool) -> int:
    process = subprocess.Popen(_SLEEP, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, close_fds=close_fds)
    process.returncode = 0  # or Python warns of a process that runs when this object goes
    return process.pid


def _fork() -> int:
    if pid := os.fork():
        return pid
    time.sleep(LIVES_S)
    os._exit(0)


def _daemon() -> int:
    """Fork twice: its parent is another process than this one, and it has a session of its own."""
    reading, writing = os.pipe()
    if child := os.fork():
        os.waitpid(child, 0)
        os.close(writing)
        with open(reading) as told:
            return int(told.read())
    os.setsid()
    if pid := os.fork():
        os.write(writing, str(pid).encode())
        os._exit(0)
    os.close(writing)
    time.sleep(LIVES_S)
    os._exit(0)


def _shell() -> int:
    command = f"{' '.join(_SLEEP)} >/dev/null 2>&1 & echo $!"
    return int(subprocess.run(command, shell=True, check=True, stdout=subprocess.PIPE).stdout)


def _multiprocessing(method: str) -> int:
    process = multiprocessing.get_context(method).Process(target=time.sleep, args=(LIVES_S,), daemon=True)  # type: ignore[attr-defined]  # each context has it
    process.start()
    return int(process.pid)


STARTS: dict[str, Callable[[], int]] = {
    "popen": lambda: _popen(close_fds=True),
    "popen with open files": lambda: _popen(close_fds=False),
    "posix_spawn": lambda: os.posix_spawnp(_SLEEP[0], _SLEEP, os.environ),
    "fork": _fork,
    "daemon": _daemon,
    "shell": _shell,
    "multiprocessing fork": lambda: _multiprocessing("fork"),
    "multiprocessing spawn": lambda: _multiprocessing("spawn"),
    "multiprocessing forkserver": lambda: _multiprocessing("forkserver"),
}


def _raise() -> None:
    raise RuntimeError("the end")


def _kill_from_a_thread() -> None:
    threading.Thread(target=ENDINGS["SIGKILL"]).start()
    time.sleep(LIVES_S)


ENDINGS: dict[str, Callable[[], object]] = {
    "return": lambda: None,
    "exception": _raise,
    "sys.exit": lambda: sys.exit(3),
    "os._exit": lambda: os._exit(3),
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGKILL from a thread": _kill_from_a_thread,
}


def main(ending: str) -> None:
    with private_server() as server:
        threading.Thread(target=time.sleep, args=(LIVES_S,), daemon=True).start()
        started = [start() for start in STARTS.values()]
        sys.stdout.write(f"{server.pid} {server.directory} {' '.join(map(str, started))}\n")
        sys.stdout.flush()
        ENDINGS[ending]()


if __name__ == "__main__":
    main(sys.argv[1])
