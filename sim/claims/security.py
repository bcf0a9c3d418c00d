"""Claims about security, and about whose data it is."""

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import eventlib as ev
from eventlib.testing import private_server
from sim.claims.bus import OrderPlaced
from sim.claims.claim import Claim, claim, holds, unknown
from sim.claims.manifests import problems_of_network
from sim.claims.site import Site, raised
from sim.evidence.claims import Finding


@claim(
    "S39",
    "Redis AUTH for production",
    theme="security",
    how="A server of the claim's own demands a password; a program publishes with it, one comes without it and one "
    "with a wrong one; the errors are searched for the passwords.",
    threshold="the first one publishes; the others are refused with a clear error that shows no password",
)
async def auth(site: Site) -> Finding:
    password, wrong = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
    published, told = False, list[str]()
    with private_server("--requirepass", password, port=0) as server:
        for given in (password, None, wrong):
            url = server.url.replace("redis://", f"redis://:{given}@") if given else server.url
            async with raised(ev.BrokerError) as refused, site.connect(ev.App("claims"), url=url) as bus:
                await bus.publish(OrderPlaced(number=1))
                published = published or given == password
            told += [f"{type(error).__name__}: {error}" for error in refused]
    shown = any(each in text for each in (password, wrong) for text in told)
    text = f"with the password: {'published' if published else 'refused'}; without and with a wrong one: "
    text += f"{len(told)} of 2 refused{', and a password is shown' if shown else ''}"
    return holds(published and len(told) == 2 and not shown, text, evidence=() if shown else tuple(told))


@claim(
    "S40",
    "Network isolation between services",
    theme="security",
    how="The files for deploys are read: Redis publishes no port, its network is internal, and a network policy lets "
    "in the services alone. No network is made.",
    threshold="by these files, nothing but the services reaches Redis",
)
async def network(site: Site) -> Finding:
    found = await asyncio.to_thread(problems_of_network)
    if isinstance(found, str):
        return unknown(found)
    return holds(not found, "; ".join(found) or "by the files, Redis is reached by the services alone")


# What a program is asked to do: each kind of work of the library, and a scenario in the simulator.
_USES = """
import asyncio, logging
import eventlib as ev
import sim
from sim.claims.bus import OrderPlaced
from sim.claims.loads import steady_load

logging.disable()
app = ev.App("claims")

class Quoted(ev.Event, type="claims.quoted", version=1, stream="quotes"):
    number: int

@app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2, wait_s=0.01))
async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
    if event.number < 0:
        raise ConnectionError("not now")
    await delivery.bus.publish(Quoted(number=event.number))

@app.task()
async def receipt(number: int) -> int:
    return number

async def reserve(saga: ev.SagaContext[Quoted]) -> None: ...

order = app.saga("order", ev.Step(reserve, ev.NOTHING_TO_UNDO), input=Quoted)

async def use(url: str, namespace: str) -> None:
    async with ev.connect(app, url, namespace=namespace) as bus, bus.running():
        await bus.publish(OrderPlaced(number=-1))  # becomes a dead letter
        await bus.request(OrderPlaced(number=1), Quoted, timeout_s=10.0)
        await (await bus.enqueue(receipt)(1)).result(timeout_s=10.0)
        await bus.sagas(order).wait(await bus.start(order, Quoted(number=1), key="1"), timeout_s=10.0)
        await bus.drained("orders", "billing")
        assert await bus.dead_letters("orders", "billing").find()

def work(url: str, namespace: str) -> None:
    asyncio.run(use(url, namespace))
    scenario = steady_load()
    short = scenario.offered_load.model_copy(update={"duration_s": 0.1})
    sim.simulate(scenario.model_copy(update={"offered_load": short}), [0])
"""
_WATCHED = """
import json, sys
met = []
def note(event, arguments):
    if event == "socket.connect":
        met.append(arguments[1] if isinstance(arguments[1], str) else str(arguments[1][0]))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        met.append(str(arguments[1][0] if event == "socket.sendto" else arguments[0]))
sys.addaudithook(note)
names = {"__name__": "uses"}
exec(sys.stdin.read(), names)
names["work"](*sys.argv[1:])
print(json.dumps(met))
"""


@claim(
    "S52",
    "No corporate API by default",
    theme="security",
    how="A process publishes, handles, retries, asks for a reply, runs a task and a saga, and simulates a scenario, "
    "with the defaults; Python's audit hook notes every name that it looks up and every address that it connects or "
    "sends to, from its first import on.",
    threshold="the server of the given URL is met, and nothing else",
    limit_s=60.0,
    elsewhere=True,
)
async def no_corporate_api(site: Site) -> Finding:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _WATCHED, site.url, site.namespace],
        env={name: value for name, value in os.environ.items() if not name.startswith(("REDIS_", "EVENTLIB_"))},
        input=_USES,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    if done.returncode:
        return unknown(f"the process failed: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1][:200]}")
    met: list[str] = json.loads(done.stdout.splitlines()[-1])
    strangers = sorted(set(met) - _addresses(site.url))
    text = f"{len(met)} connections and look-ups, {f'of {strangers}' if strangers else 'all of the Redis server'}"
    return holds(bool(met) and not strangers, text, connections=len(met))


def _addresses(url: str) -> set[str]:
    """Where the server is: its name and what that stands for, or the path of its socket."""
    parts = urlsplit(url)
    if parts.hostname is None:
        return {unquote(parts.path)}
    return {parts.hostname, *(str(found[4][0]) for found in socket.getaddrinfo(parts.hostname, parts.port))}


def not_built(id_: str, theme: str, sentence: str, what: str) -> Claim:
    """A claim about something that is not there yet: neither true nor false, and counted in the total."""

    async def measure(_: Site) -> Finding:
        return Finding("not built", f"{what} is not built yet")

    how = "Nothing is measured: there is nothing to measure yet."
    return claim(id_, sentence, theme=theme, how=how, threshold="it is there")(measure)


encryption = not_built("S41", "security", "Sensitive data are encrypted", "the encryption of fields")
audit = not_built("S42", "security", "Audit trails by event logs", "the audit trail")
local_first = not_built("S49", "security", "Local first: embeddings are made here by default", "local embedding")
own_keys = not_built("S50", "security", "Users bring their own API keys", "the keeping of users' keys")
sovereignty = not_built("S51", "security", "Users own their data: export and deletion", "export and deletion")
