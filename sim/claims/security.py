"""Claims about security, and about whose data it is."""

import asyncio
import secrets

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
no_corporate_api = not_built("S52", "security", "No corporate API by default", "what would call one")
