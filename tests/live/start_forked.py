"""Started in the place of a fork server: the nursery forks one for this run, and this process ends with it."""

import json
import os
import socket
import sys

if __name__ == "__main__":
    channel, path, _ = json.loads(sys.argv[1])
    with socket.socket(socket.AF_UNIX) as run:
        run.connect(os.environ["TEST_NURSERY"])
        socket.send_fds(run, [json.dumps(path).encode()], [channel, 1])
        os.close(channel)
        os.close(1)
        run.recv(1)  # nothing is ever sent: it is the end
