"""Claims about background tasks: priorities, retries, limits, health and times."""

import asyncio
import time
from collections import defaultdict
from datetime import UTC, datetime

import numpy as np

import eventlib as ev
from eventlib.queueing import PRIORITIES, WEIGHTS, Priority, passed_by_max, pattern_of
from sim.claims.claim import claim, holds
from sim.claims.site import Site, happens
from sim.evidence.claims import Finding


@claim(
    "S11",
    "Four priorities: low, normal, high and critical",
    theme="tasks",
    how="40 tasks of each priority are enqueued, the low ones first, and one worker that runs one task at a time "
    "works them off; the order in which they start is noted.",
    threshold="the median place of each priority is before that of the next lower one; no low task is passed by more "
    "than the 14 others that the weights allow",
)
async def priorities(site: Site) -> Finding:
    app, started = ev.App("claims"), list[Priority]()
    app.queue("work", concurrency=1)

    @app.task(queue="work")
    async def work(of: Priority) -> None:
        started.append(of)

    count = 40
    async with site.connect(app) as bus:
        for priority in reversed(PRIORITIES):
            await bus.tasks.enqueue_many([work.call(priority)] * count, priority=priority)
        async with bus.running():
            await happens(lambda: len(started) == 4 * count)
    places = {each: [place for place, of in enumerate(started) if of == each] for each in PRIORITIES}
    medians = [float(np.median(places[each])) if places[each] else np.inf for each in PRIORITIES]
    limit = passed_by_max(pattern_of([WEIGHTS[each] for each in PRIORITIES]), len(PRIORITIES) - 1)
    passed = max(np.diff([-1, *places["low"]]), default=0) - 1
    ordered = len(started) == 4 * count and all(np.diff(medians) > 0)
    text = ", ".join(f"{each} {median:g}" for each, median in zip(PRIORITIES, medians, strict=True))
    return holds(
        bool(ordered and passed <= limit),
        f"median places: {text}; a low task was passed by {passed}",
        passed=int(passed),
    )


@claim(
    "S12",
    "Retries wait exponentially longer, with jitter",
    theme="tasks",
    how="20 tasks fail three times each; the waits between the attempts are timed. The policy doubles a wait of 400 ms "
    "and draws each one between its half and its whole.",
    threshold="the mean wait grows 1.5 to 2.5 times at each attempt, no wait is shorter than its half, and waits "
    "differ by 8 % or more (standard deviation over mean)",
)
async def backoff(site: Site) -> Finding:
    app, at_s = ev.App("claims"), defaultdict[int, list[float]](list)
    app.queue("work", concurrency=100)

    @app.task(queue="work", retry=ev.Retry(attempts=4, wait_s=0.4, factor=2.0, jitter="equal"))
    async def fail(number: int) -> None:
        at_s[number].append(time.perf_counter())
        if len(at_s[number]) < 4:
            raise ConnectionError("not yet")

    count = 20
    async with site.connect(app) as bus, bus.running():
        await bus.tasks.enqueue_many([fail.call(number) for number in range(count)])
        complete = await happens(lambda: sum(map(len, at_s.values())) == 4 * count, 8.0)
    if not complete:
        return holds(False, f"{sum(map(len, at_s.values()))} attempts of {4 * count} came")
    waits_s = np.diff([at_s[number] for number in range(count)], axis=1)
    means_s, least_s = waits_s.mean(axis=0), waits_s.min(axis=0)
    growth, spread = means_s[1:] / means_s[:-1], float((waits_s.std(axis=0) / means_s).min())
    early = bool((least_s < 0.99 * np.array([0.2, 0.4, 0.8])).any())
    told = f"mean waits {', '.join(f'{1000 * mean:.0f} ms' for mean in means_s)}: {growth[0]:.2f} and {growth[1]:.2f} "
    text = f"{told}times as long; they differ by {spread:.0%}; the shortest were {1000 * least_s[0]:.0f} ms"
    held = bool(((growth > 1.5) & (growth < 2.5)).all() and spread >= 0.08 and not early)
    return holds(held, text, growth_first=growth[0], growth_second=growth[1], spread=spread)


class _Running:
    """Counts what runs at once."""

    def __init__(self) -> None:
        self.now, self.most, self.ended = 0, 0, 0

    async def run(self, for_s: float) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(for_s)
        self.now -= 1
        self.ended += 1


class _Job(ev.Event, type="claims.job", version=1, stream="jobs"):
    number: int


@claim(
    "S13",
    "Concurrent processing with worker limits",
    theme="tasks",
    how="40 events wait for a group of concurrency 4, 40 tasks for a queue of concurrency 5, and 20 tasks with a limit "
    "of 2 for two workers; how many run at once is counted.",
    threshold="at most 4, 5 and 2 run at once, and so many do",
)
async def limits(site: Site) -> Finding:
    app, jobs, tasks, limited = ev.App("claims"), _Running(), _Running(), _Running()
    app.group("jobs", concurrency=4)
    app.queue("work", concurrency=5)
    app.queue("few", concurrency=10)

    @app.subscribe(_Job, group="jobs")
    async def job(_: _Job, __: ev.Delivery) -> None:
        await jobs.run(0.02)

    @app.task(queue="work")
    async def work(number: int) -> None:
        await tasks.run(0.02)

    @app.task(queue="few", limit=2)
    async def few(number: int) -> None:
        await limited.run(0.02)

    async with site.connect(app) as bus, site.connect(app) as other:
        await bus.publish_many([_Job(number=number) for number in range(40)])
        await bus.tasks.enqueue_many([work.call(number) for number in range(40)])
        await bus.tasks.enqueue_many([few.call(number) for number in range(20)])
        async with bus.running(), other.running(groups=[], queues=["few"], sagas=[]):
            ended = await happens(lambda: (jobs.ended, tasks.ended, limited.ended) == (40, 40, 20))
    most = (jobs.most, tasks.most, limited.most)
    text = f"at most {most[0]} of 4 events, {most[1]} of 5 tasks and {most[2]} of 2 limited tasks ran at once"
    return holds(ended and most == (4, 5, 2), text if ended else f"{text}; not all ended")


@claim(
    "S14",
    "Health and performance metrics of the queues",
    theme="tasks",
    how="A queue is brought into a known state: 3 tasks wait, 1 is delayed, 2 run and 1 has failed for good; its "
    "health and the samples of /metrics are read and compared with that.",
    threshold="each number is the known one, in both",
)
async def queue_health(site: Site) -> Finding:
    app, go_on = ev.App("claims"), asyncio.Event()
    app.queue("work", concurrency=2)

    @app.task(queue="work", retry=ev.Retry(attempts=1))
    async def work(kind: str) -> None:
        if kind == "fails":
            raise ConnectionError("for good")
        await go_on.wait()

    async def settled() -> bool:
        health = await bus.queue_health("work")
        return (health.running, health.dead) == (2, 1)

    known = {"waiting": 3, "delayed": 1, "running": 2, "dead": 1}
    async with site.connect(app) as bus:
        await bus.enqueue(work)("fails")
        async with bus.running():
            await happens(lambda: _dead(bus))
            await bus.tasks.enqueue_many([work.call("waits")] * 5)
            await bus.enqueue(work, delay_s=3600.0)("later")
            await happens(settled)
            health = await bus.queue_health("work")
            metrics = await _metrics(bus)
            go_on.set()
    told = {"waiting": sum(health.waiting.values())}
    told |= {"delayed": health.delayed, "running": health.running, "dead": health.dead}
    text = ", ".join(f"{name} {number}" for name, number in told.items())
    return holds(
        told == known and metrics == known, f"health: {text}; /metrics: {'the same' if metrics == told else metrics}"
    )


async def _dead(bus: ev.Bus) -> bool:
    return (await bus.queue_health("work")).dead == 1


async def _metrics(bus: ev.Bus) -> dict[str, int]:
    """The state of queue `work`, as a scraper reads it."""
    from sim.claims.scraping import samples_of

    found = await samples_of(bus.serve_health(0).url)
    own = {name: value for name, value in found.items() if 'queue="work"' in name}

    def total(family: str, *labels: str) -> int:
        return int(sum(v for n, v in own.items() if n.startswith(f"{family}{{") and all(one in n for one in labels)))

    return {
        "waiting": total("eventlib_queue_waiting_tasks"),
        "delayed": total("eventlib_queue_tasks", 'state="delayed"'),
        "running": total("eventlib_queue_tasks", 'state="running"'),
        "dead": total("eventlib_queue_dead_letters"),
    }


@claim(
    "S15",
    "Tasks can be scheduled for later",
    theme="tasks",
    how="Ten tasks are enqueued for a time 0.4 s ahead, some by a delay and some by a clock time, and a schedule runs "
    "another one every 0.2 s; when each starts is timed.",
    threshold="no task starts before its time or more than 0.5 s after it; three slots of the schedule run",
)
async def scheduling(site: Site) -> Finding:
    app, started, slots = ev.App("claims"), dict[int, float](), list[float]()

    @app.task
    async def later(number: int) -> None:
        started[number] = time.time()

    @app.task
    async def often() -> None:
        slots.append(time.time())

    app.schedule("often", often, every_s=0.2)
    due_s = list[float]()
    async with site.connect(app) as bus, bus.running():
        for number in range(10):
            at_s = time.time() + 0.4
            enqueue = (
                bus.enqueue(later, delay_s=0.4)
                if number % 2
                else bus.enqueue(later, at=datetime.fromtimestamp(at_s, UTC))
            )
            await enqueue(number)
            due_s.append(at_s)
        await happens(lambda: len(started) == 10 and len(slots) >= 3)
    late_s = [started[number] - due for number, due in enumerate(due_s) if number in started]
    if len(late_s) < 10:
        return holds(False, f"{len(late_s)} of 10 tasks started")
    text = f"started {1000 * min(late_s):.0f} to {1000 * max(late_s):.0f} ms after their time; {len(slots)} slots ran"
    return holds(min(late_s) > -0.005 and max(late_s) < 0.5 and len(slots) >= 3, text, late_s_max=max(late_s))
