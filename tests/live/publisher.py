"""A publisher process that the live tests kill: it appends the number of each acknowledged order to FILE.

usage: python -m tests.live.publisher URL NAMESPACE FILE SPOOL FIRST     Publishes one call after the other, for ever.
"""

import asyncio
import os
import sys

import eventlib as ev
from tests.shop import orders


async def main(url: str, namespace: str, path: str, spool: str, number: int) -> None:
    acknowledged = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with ev.connect(ev.App("shop"), url, namespace=namespace, outage_policy=ev.Spool(spool)) as bus:
        while True:
            size = 1 + number % 3
            await bus.publish_many(orders(*range(number, number + size)))
            os.write(acknowledged, b"".join(b"%d\n" % n for n in range(number, number + size)))
            number += size
            await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])))
