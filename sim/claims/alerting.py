"""Measuring alert thresholds: the rules that are made of them, and what they find on a server in trouble."""

import asyncio
import re

import eventlib as ev
from eventlib.broker.keys import Keys
from eventlib.broker.surveying import SurveyLimits, Surveyor
from eventlib.operate.alerts import ALERTS, rules
from eventlib.operate.exporter import Exporter
from eventlib.operate.judging import judge
from eventlib.thresholds import Thresholds
from sim.claims.bus import OrderPlaced, orders
from sim.claims.claim import claim, holds
from sim.claims.scraping import families_of
from sim.claims.site import Site, drains, happens
from sim.evidence.claims import Finding

_SOON = Thresholds(oldest_age_s=0.2)


@claim(
    "S38",
    "Alert thresholds for operational issues",
    theme="operations",
    how="The rules for Prometheus are made from the thresholds, and again with another one; the metrics that they ask "
    "for are looked up in /metrics of a program and of the exporter; and streams that are well, and then in trouble, "
    "are judged by the same thresholds.",
    threshold="each rule has a severity, a mend and metrics that exist, and some change with the age; nothing is found "
    "of what is well, and late events without readers and dead letters are",
)
async def thresholds(site: Site) -> Finding:
    made, other = (rules(of, "runbook") for of in (Thresholds(), Thresholds(oldest_age_s=7.0)))
    alerts = [rule for group in made["groups"] for rule in group["rules"]]
    changed = sum(a != b for a, b in zip(alerts, (r for g in other["groups"] for r in g["rules"]), strict=True))
    mute = [alert.name for alert in ALERTS if not (alert.means and alert.mend)]
    mute += [str(rule["alert"]) for rule in alerts if rule["labels"].get("severity") not in ("warning", "critical")]
    calm, trouble, known = await _seen(site)
    asked = {name for rule in alerts for name in re.findall(r"\b(?:eventlib|workbench)_\w+", str(rule["expr"]))}
    missing = sorted(name for name in asked if re.sub(r"_(bucket|count|sum)$", "", name) not in known)
    wanted = {"DeadLetters", "GroupWithoutReaders"}
    text = f"{len(alerts)} rules of {len(ALERTS)} alerts, {changed} follow another age; of {len(asked)} metrics that "
    text += f"they ask for {len(missing)} are missing; well: {sorted(calm) or 'nothing found'}, in trouble: "
    held = not mute and changed > 0 and not missing and not calm and wanted <= trouble
    return holds(held, f"{text}{', '.join(sorted(trouble))}", evidence=tuple(missing), rules=len(alerts))


async def _seen(site: Site) -> tuple[set[str], set[str], set[str]]:
    """The alerts of streams that are well, those of streams in trouble, and the metrics that a program has."""
    app = ev.App("claims")

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=1))
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        if event.number == 5:
            raise ConnectionError("the bank does not answer")

    async with site.connect(app) as bus:
        async with bus.running():
            await bus.publish_many(orders(5))
            await drains(bus, "orders", ["billing"])
            calm = await _found(site, set())
            await bus.publish(OrderPlaced(number=5))
            await drains(bus, "orders", ["billing"])
            url = bus.serve_health(0).url
            known = await families_of(url)
            await happens(lambda: _has_looked(url, known), 3.0, every_s=0.1)
        await bus.publish_many(orders(3))
        await asyncio.sleep(2 * _SOON.oldest_age_s)  # what is judged is that time goes by
        return calm, await _found(site, known), known


async def _has_looked(url: str, known: set[str]) -> bool:
    """Whether /metrics tells of streams, which a program looks at now and then."""
    known |= await families_of(url)
    return "eventlib_dead_letters" in known


async def _found(site: Site, known: set[str]) -> set[str]:
    """The names of the alerts about the streams of this claim. What the exporter tells of is added to `known`."""
    of = Keys(site.namespace).group("orders", "billing")
    surveyor = Surveyor(site.url, SurveyLimits(1000.0, keys=(of.stream, of.retry, of.dead_letters)))
    exporter = Exporter(surveyor, every_s=1.0)
    try:
        found = judge(await exporter.look(), _SOON)
        known |= set(re.findall(r"^# TYPE (\S+)", exporter.metrics(), re.MULTILINE))
    finally:
        await surveyor.close()
    return {one.name for one in found if one.where != "server"}
