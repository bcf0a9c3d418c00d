"""Forks the fork servers of live runs from one process that has imported everything: an import takes over a second.

A run starts `start_forked.py` in the place of its fork server, and that one hands its channel and its output over here.
What is forked is a fork server like any other. Tests of how a fork server starts and dies have real ones.

usage: python -m tests.live.nursery SOCKET
"""

import gc
import json
import os
import select
import signal
import socket
import sys

from sim.worlds.fork_server import serve

_MESSAGE_MAX = 65536


def main(place: str) -> None:
    """Fork until the owner closes the input, or is dead."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX) as asked:
        asked.bind(f"{place}.new")
        asked.listen()
        os.rename(f"{place}.new", place)  # whoever sees it can connect
        gc.freeze()
        while asked in select.select([asked, sys.stdin], [], [])[0]:  # the input closes when the owner is gone
            run, _ = asked.accept()
            if os.fork() == 0:
                asked.close()
                _serve(run)
            run.close()


def _serve(run: socket.socket) -> None:
    """Be the fork server of a run; the connection, which is not closed, tells the run when it has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, (channel, output), *_ = socket.recv_fds(run, _MESSAGE_MAX, 2)
    os.setsid()
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    sys.path[:] = dict.fromkeys((*json.loads(message), *sys.path))
    serve(channel)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
