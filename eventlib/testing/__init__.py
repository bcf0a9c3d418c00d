"""Tools for tests of your own handlers: a real Redis, faults on demand, and a look at what a group still holds.

    private_server   run a Redis for the length of a `with` block; it ends with your process, however that ends
    PrivateServer    what the block is given: `url`, and methods to stop, kill, pause and start it again on its data
    find_binaries    the server programs of this machine, to run a test on each
    free_port        a TCP port on which nothing listens: the address of a server that is not there
    fault_proxy      stand between a client and its server for the length of an `async with` block
    FaultProxy       what that block is given: it loses a reply, cuts connections, refuses, delays, or goes silent
    proxy_url        the URL of a server as it is through a proxy at a port or a socket
    Inspector        look at a group past the library: what is pending, delayed, dead; or take its entries away
    Pending          an entry that a consumer holds, as the Inspector tells it
    server_cpu_s     how much processor time a server has used
    eventually       wait until a condition is true, instead of for a fixed time

Two fixtures are enough to begin with: a server for all tests, and for each test a bus with a namespace of its own. They
are for pytest with pytest-asyncio in its mode `auto`; `app` is your App::

    import secrets

    import pytest

    import eventlib as ev
    from eventlib.testing import private_server

    @pytest.fixture(scope="session")
    def server():
        with private_server() as server:
            yield server

    @pytest.fixture
    async def bus(server):
        async with ev.connect(app, server.url, namespace=f"test-{secrets.token_hex(6)}") as bus:
            yield bus

    async def test_an_order_is_charged(bus):
        async with bus.running():
            await bus.publish(OrderPlaced(order_id="A1", total_cents=4200))
            await bus.drained("orders", "billing")
        assert charged == ["A1"]

docs/testing.md goes on from there: retries and dead letters, a lost reply, a killed server.
"""

from eventlib.testing.binaries import find_binaries
from eventlib.testing.fault_proxy import FaultProxy, fault_proxy, proxy_url
from eventlib.testing.inspector import Inspector, Pending
from eventlib.testing.processor import server_cpu_s
from eventlib.testing.server import PrivateServer, free_port, private_server
from eventlib.testing.waiting import eventually

__all__ = [
    "FaultProxy",
    "Inspector",
    "Pending",
    "PrivateServer",
    "eventually",
    "fault_proxy",
    "find_binaries",
    "free_port",
    "private_server",
    "proxy_url",
    "server_cpu_s",
]
