"""Publisher processes that the live tests kill. Each appends the number of each acknowledged order to FILE.

usage: python -m tests.live.publisher NAMESPACE FILE SPOOL

It takes orders on standard input, one a line, and answers each with an empty line when it is done:

    start URL FIRST   fork a publisher that publishes one call after the other, for ever, from order number FIRST on
    kill              kill it

So a publisher works at once, and does not import for a second before. At the end of the input it is killed.
"""

import asyncio
import os
import signal
import sys

import eventlib as ev
from tests.shop import orders


async def publish(url: str, namespace: str, path: str, spool: str, number: int) -> None:
    acknowledged = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with ev.connect(ev.App("shop"), url, namespace=namespace, outage_policy=ev.Spool(spool)) as bus:
        while True:
            size = 1 + number % 3
            await bus.publish_many(orders(*range(number, number + size)))
            os.write(acknowledged, b"".join(b"%d\n" % n for n in range(number, number + size)))
            number += size
            await asyncio.sleep(0.001)


def main(namespace: str, path: str, spool: str) -> None:
    publishing = list[int]()
    for order in sys.stdin:
        match order.split():
            case ["start", url, first]:
                publishing.append(os.fork())
                if publishing[-1] == 0:
                    asyncio.run(publish(url, namespace, path, spool, int(first)))
            case ["kill"]:
                end(publishing)
        sys.stdout.write("\n")
        sys.stdout.flush()
    end(publishing)


def end(publishing: list[int]) -> None:
    while publishing:
        os.kill(publishing[-1], signal.SIGKILL)
        os.waitpid(publishing.pop(), 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
