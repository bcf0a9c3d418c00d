"""A Redis user with `acl_rules` alone can do everything that the library does. An error names a missing permission."""

import asyncio
import gc
import logging
import pickle
import re
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker import acl as access
from eventlib.broker import scripts
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.broker.dead_letters import DeadLetterCommands
from eventlib.broker.keys import GroupKeys
from eventlib.broker.listening import ListeningCommands
from eventlib.broker.pausing import PauseCommands
from eventlib.broker.publishing import PublishCommands
from eventlib.broker.requests import ScriptCall
from eventlib.broker.sagas import Change, SagaStore
from eventlib.broker.schedules import ScheduleCommands, StoredSchedule
from eventlib.broker.scripts import Script
from eventlib.broker.streams import StreamCommands
from eventlib.broker.tasks import Clock, QueueCommands, TaskCommands
from eventlib.records import Entry, NumberedBatch, Unique
from eventlib.scheduling import Skip
from eventlib.testing import PrivateServer, find_binaries, private_server
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.contract.test_task_queue import waiting_task
from tests.reading import read, read_as
from tests.shop import Connect, OrderPlaced, Record, orders

_PARTS = 3  # of a long test

pytestmark = pytest.mark.every_server  # what a server says and allows is its own

Result = TypeVar("Result")

SECRET = "p@ss:w/rd?#% &+é"
ENCODED = "p%40ss%3Aw%2Frd%3F%23%25%20%26%2B%C3%A9"


@asynccontextmanager
async def guarded(binary: Path, *options: str) -> AsyncIterator[tuple[PrivateServer, redis.Redis, str]]:
    """A server, a client of its administrator, and the URL of a user `limited` without any permission."""
    with private_server(*options, binary=binary, port=0) as server:
        async with redis.Redis.from_url(server.url) as admin:
            await allow(admin, "on", f">{SECRET}")
            yield server, admin, server.url.replace("redis://", f"redis://limited:{ENCODED}@")


async def allow(admin: redis.Redis, *rules: str) -> None:
    await admin.execute_command("ACL", "SETUSER", "limited", *rules)  # type: ignore[no-untyped-call]  # redis-py


async def shut_out(admin: redis.Redis, password: str) -> None:
    """Give `limited` another password and end its connections, both at once: a login in between would be refused."""
    async with admin.pipeline(transaction=True) as pipe:
        pipe.execute_command("ACL", "SETUSER", "limited", "resetpass", f">{password}")
        pipe.execute_command("CLIENT", "KILL", "USER", "limited")
        await pipe.execute()


class NotingBroker(Broker):
    """Notes which scripts it ran, and which errors it raised."""

    def __init__(self, url: str, namespace: str) -> None:
        super().__init__(url, namespace)
        self.ran: set[Script] = set()
        self.denials: list[str] = []

    def run(self, script: Script, *args: Any, **options: Any) -> ScriptCall:
        self.ran.add(script)
        return super().run(script, *args, **options)

    async def attempt(self, what: Awaitable[Result]) -> Result | None:
        try:
            return await what
        except ev.AccessDenied as error:
            self.denials.append(error.problem)
            return None


async def use_everything(limited: NotingBroker, admin: Broker, raw: redis.Redis) -> None:
    """Run every command of the library as `limited`. What a command needs is prepared as `admin`."""
    await raw.script_flush()
    await admin.delete_all()
    group = admin.keys.group("orders", "billing")
    inspector = Inspector(raw, group)
    await limited.attempt(limited.check())
    await limited.attempt(
        PublishCommands(limited).append(NumberedBatch("orders", 1, [b"x"], [Unique(0, "e1", 60.0)]), "p1", 3600.0)
    )
    await limited.attempt(PublishCommands(limited).forget_producer("orders", "p1"))
    await limited.attempt(ConsumerCommands(limited, group, "c1").ensure_group())
    await ConsumerCommands(admin, group, "c1").ensure_group()
    await limited.attempt(read_as(limited, group, "c1", 10))
    reader = ConsumerCommands(limited, group, "c1").reader(0.01)
    await limited.attempt(reader.read_at_once(10, 1000, lambda _: None))
    await reader.close()
    await PublishCommands(admin).append(NumberedBatch("orders", 1, [b"%d" % n for n in range(9)]), "p2", 3600.0)
    await inspector.create()
    entries = [Entry(False, id_, id_, b"x") for id_ in await inspector.read_and_die()]
    await limited.attempt(ConsumerCommands(limited, group, "dead").renew(entries[-4:]))
    await limited.attempt(ConsumerCommands(limited, group, "dead").ack(entries[-1:]))
    await limited.attempt(ConsumerCommands(limited, group, "dead").retry(entries[-2], 0.0))
    await limited.attempt(ConsumerCommands(limited, group, "dead").retry(entries[-3], 0.001))
    await eventually(lambda: all_due(inspector))
    await limited.attempt(ConsumerCommands(limited, group, "c1").promote(10))
    await limited.attempt(ConsumerCommands(limited, group, "dead").to_dead_letters(entries[-4], {"reason": "rejected"}))
    await ConsumerCommands(admin, group, "dead").retry(entries[-5], 0.0)
    [*_, last] = await inspector.read_and_die(retried=True)
    await limited.attempt(ConsumerCommands(limited, group, "dead").ack([Entry(True, last, last, b"x")]))
    await limited.attempt(ConsumerCommands(limited, group, "c2").sweep(0.001, 100, 0.001))
    await raw.hset(group.sweep, "seen", "0")
    await limited.attempt(ConsumerCommands(limited, group, "c2").put_clock_right(0.0, 5.0))
    await limited.attempt(ConsumerCommands(limited, group, "c2").leave())
    await limited.attempt(ConsumerCommands(limited, group, "dead").leave())
    await raw.hdel(group.sweep, "due")
    await limited.attempt(ConsumerCommands(limited, group, "c2").sweep(0.001, 100, 0.001))  # with nothing pending
    await limited.attempt(StreamCommands(limited).backlog("orders", "billing"))
    await limited.attempt(PauseCommands(limited, group, None).put(True, "ann", "why"))
    await PauseCommands(admin, group, None).put(True, "ann", "why")
    await limited.attempt(PauseCommands(limited, group, None).put(False, "ann", "why"))
    await limited.attempt(PauseCommands(limited, group, None).paused())
    await limited.attempt(PauseCommands(limited, group, None).records())
    await use_dead_letters(limited, admin, group)
    await use_key_queues(limited, admin, group)
    await use_retention(limited, raw, group)
    await use_listening(limited)
    await use_sagas(limited, admin, raw)


async def use_dead_letters(limited: NotingBroker, admin: Broker, group: GroupKeys) -> None:
    """A dead letter looked at, edited, replayed and purged."""
    await limited.attempt(DeadLetterCommands(limited, group).state())
    await limited.attempt(DeadLetterCommands(limited, group).read("-", "+", 10))
    for _, number in zip(range(2), range(100, 102), strict=True):
        await PublishCommands(admin).append(NumberedBatch("orders", number, [b"x"]), "p3", 3600.0)
    [*_, first, second] = await read_as(admin, group, "c4", 100)
    for entry in (first, second):
        await ConsumerCommands(admin, group, "c4").to_dead_letters(entry, {"reason": "rejected"})
    [*_, one, other] = await DeadLetterCommands(admin, group).read("-", "+", 100)
    await limited.attempt(DeadLetterCommands(limited, group).edit(one.id, b"{}"))
    await limited.attempt(DeadLetterCommands(limited, group).replay([one.id], keep_attempts=False))
    await limited.attempt(DeadLetterCommands(limited, group).purge([other.id]))


async def use_key_queues(limited: NotingBroker, admin: Broker, group: GroupKeys) -> None:
    """Three entries of one key: one is handed out, those behind it are parked until it is acknowledged."""
    await PublishCommands(admin).append(NumberedBatch("orders", 1, [b'{"data":{"order_id":7}}'] * 3), "p4", 3600.0)
    reader = ConsumerCommands(limited, group, "c3").reader(0.01, "order_id")
    head = await limited.attempt(read(reader, 10))
    await limited.attempt(read(reader, 10))  # waits for what comes
    await reader.close()
    await limited.attempt(ConsumerCommands(limited, group, "c1").free_stuck())
    await limited.attempt(ConsumerCommands(limited, group, "c3").ack(head or []))


SENT = {command for journey in access.journeys_of(access.PROGRAMS) for command in journey.sent}
TASK_SCRIPTS = {script for script in vars(scripts).values() if isinstance(script, Script) and "task" in script.name}
SCHEDULE_SCRIPTS = {s for s in vars(scripts).values() if isinstance(s, Script) and "schedule" in s.name}
OTHER_SCRIPTS = (
    {script for script in vars(scripts).values() if isinstance(script, Script)} - TASK_SCRIPTS - SCHEDULE_SCRIPTS
)
ONLY_TASKS = {"HSCAN", "SMISMEMBER"}.union(*map(access.called_by, TASK_SCRIPTS)) - set[str]().union(
    SENT - {"HSCAN", "SMISMEMBER"}, *map(access.called_by, OTHER_SCRIPTS)
)
ONLY_SCHEDULES = set[str]().union(*map(access.called_by, SCHEDULE_SCRIPTS)) - set[str]().union(
    ONLY_TASKS, SENT, *map(access.called_by, OTHER_SCRIPTS)
)


async def use_tasks(limited: NotingBroker, admin: Broker, raw: redis.Redis) -> None:
    """Tasks that succeed, fail for good, are retried, delayed, limited, cancelled and given back."""
    await raw.script_flush()
    await admin.delete_all()
    queue, queue_as_admin = QueueCommands(limited, "default"), QueueCommands(admin, "default")
    worker = TaskCommands(limited, "default", "w1", [0, 1, 2, 3], {})
    worker.clock = lambda: Clock(True, None)
    by_admin = TaskCommands(admin, "default", "w1", [0, 1, 2, 3], {})
    await by_admin.ensure_group()
    limits = [{"name": "one", "at_once": 9}, {"name": "two", "starts": 1, "within": 5}]
    tasks = [waiting_task(f"t{n}", tenant=f"{n}", limits=limits if n < 2 else [], unique=f"k{n}") for n in range(6)]
    tasks = [task._replace(unique=f"k{n}", unique_until="end") for n, task in enumerate(tasks)]
    await limited.attempt(queue.enqueue([*tasks, waiting_task("later")._replace(due="+60000")]))
    await queue_as_admin.enqueue([*tasks, waiting_task("later")._replace(due="+60000")])
    await queue_as_admin.enqueue([waiting_task("timed")._replace(unique="timed", unique_until="1")])
    await limited.attempt(worker.dispatch(3, None))
    found = (await by_admin.dispatch(10, None)).entries
    [*_, first, second] = found
    await limited.attempt(worker.progress(first, {"fraction": 0.5}))
    worker.note(first.place, "succeeded", b"1")
    await limited.attempt(worker.ack([first]))
    await limited.attempt(worker.retry(second, 0.001))
    await by_admin.retry(second, 0.001)
    await limited.attempt(worker.to_dead_letters(found[0], {"reason": "rejected", "error": ""}))
    await limited.attempt(queue.cancel("t2"))
    await limited.attempt(queue.cancelling(["t2"]))
    await limited.attempt(queue.cancel("later"))
    await limited.attempt(queue.run_now("later"))
    await asyncio.sleep(0.005)
    await limited.attempt(worker.promote(10))
    await limited.attempt(queue.look("t2"))
    await limited.attempt(queue.health(30.0))
    await limited.attempt(queue.page(0, 10))
    await limited.attempt(worker.free_stuck())
    await limited.attempt(worker.sweep(0.001, 100, 0.001))
    await limited.attempt(queue.exists())
    watch = queue.watch_finished()
    await limited.attempt(watch.next(0.01))
    await watch.close()
    await limited.attempt(worker.leave())
    await limited.attempt(worker.dispatch(100, None))
    await by_admin.leave()


async def use_schedules(limited: NotingBroker, admin: Broker, raw: redis.Redis) -> None:
    """A schedule whose slots run, are skipped and wait; it is paused, resumed and removed."""
    await raw.script_flush()
    await admin.delete_all()
    commands, as_admin = ScheduleCommands(limited, "default"), ScheduleCommands(admin, "default")
    await limited.attempt(commands.put("s", "", "r1", "{}", 1.0))
    await as_admin.put("s", "", "r1", "{}", 1.0)
    for slot in range(1, 5):
        await limited.attempt(commands.read("s"))
        seen = cast(StoredSchedule, await as_admin.read("s"))
        steps = [(float(slot), waiting_task(f"s{slot}"))] if slot < 4 else [Skip(4.0, 4.0, 1, "missed")] * 2
        await limited.attempt(commands.fire(seen, "queue", steps, slot + 1.0, None))
        await as_admin.fire(seen, "queue", steps, slot + 1.0, None)
    await limited.attempt(commands.look(10, None))
    await QueueCommands(admin, "default").cancel("s1")
    await limited.attempt(commands.start_queued(seen, "queue", (2.0, waiting_task("s2")), None))
    await limited.attempt(commands.names())
    await limited.attempt(commands.history("s", 10))
    await limited.attempt(commands.halt("s", "r2", "paused", on=True))
    await limited.attempt(commands.remove("s"))


async def use_retention(limited: NotingBroker, raw: redis.Redis, group: GroupKeys) -> None:
    """A stream that is looked at, once counted because no server knows what waits, then trimmed under its group."""
    entries: Any = await raw.xrange(group.stream, count=2)
    second, _ = entries[1]
    await raw.xgroup_setid(group.stream, group.group, second)
    await limited.attempt(StreamCommands(limited).backlog("orders", "billing"))
    keep_nothing = ev.Retention(keep_s=0.0, keep_unread=False)
    await limited.attempt(StreamCommands(limited).declare_retention("orders", keep_nothing))
    await limited.attempt(StreamCommands(limited).trim("orders", keep_nothing, 0.001, 100))


async def use_listening(limited: NotingBroker) -> None:
    """A stream that is listened to without a group, and looked at in the past."""
    commands = ListeningCommands(limited, "orders")
    await limited.attempt(commands.last_id())
    await limited.attempt(commands.read("0-0", 10, 0.01, lambda _: None))
    await limited.attempt(commands.read_back("+", "-"))
    await commands.close()


async def use_sagas(limited: NotingBroker, admin: Broker, raw: redis.Redis) -> None:
    """A saga that is started, begun, ended and looked at. It ends before its time is over."""
    stores = [SagaStore(broker, "saga.order", "workers") for broker in (limited, admin)]
    for saga_id, store in zip(("A1", "A2"), stores, strict=True):
        start = Change(saga_id, "t1", 0, "running", "running", {"seq": "1"}, [b"{}"], [b"m"], alarm=(60.0, b"late"))
        await limited.attempt(store.apply(start))
    group = admin.keys.group("saga.order", "workers")
    await ConsumerCommands(admin, group, "dead").ensure_group()
    [id_, *_] = await Inspector(raw, group).read_and_die(retried=True)
    entry = Entry(True, id_, id_, b"m")
    await limited.attempt(stores[0].begin("A2", "dead", entry, "mark", 1))
    saga = await stores[1].load("A2")
    assert saga
    end = Change("A2", "t2", int(saga["revision"]), "running", "completed", {"seq": "2"}, [b"{}"], keep_s=0.001)
    await limited.attempt(stores[0].apply(end, consumer="dead", entry=entry))
    await limited.attempt(stores[0].exists())
    await limited.attempt(stores[0].load("A1"))
    await limited.attempt(stores[0].history("A1"))
    await limited.attempt(stores[0].ids("running", 0, 10))


async def all_due(inspector: Inspector) -> bool:
    return max(await inspector.due_s(), default=0.0) <= await inspector.now_s()


async def test_acl_rules_are_sufficient(binary: Path) -> None:
    async with guarded(binary) as (server, raw, url):
        limited, admin = NotingBroker(url, "shop"), Broker(server.url, "shop")
        await allow(raw, *ev.acl_rules("shop").split())
        await use_everything(limited, admin, raw)
        await use_tasks(limited, admin, raw)
        await use_schedules(limited, admin, raw)
        assert limited.denials == []
        assert limited.ran == {script for script in vars(scripts).values() if isinstance(script, Script)}
        await limited.close()
        await admin.close()


@pytest.mark.parametrize("part", range(_PARTS))
async def test_no_acl_rule_is_superfluous(part: int) -> None:
    """Without any one of them something is denied. What the library asks for does not depend on the server."""
    async with guarded(find_binaries()[0]) as (server, raw, url):
        limited, admin = NotingBroker(url, "shop"), Broker(server.url, "shop")
        await allow(raw, *ev.acl_rules("shop").split())
        needless = []
        for command in access.commands()[part::_PARTS]:
            await allow(raw, f"-{command}")
            use = use_tasks if command in ONLY_TASKS else use_everything
            await (use_schedules if command in ONLY_SCHEDULES else use)(limited, admin, raw)
            if not any(command.partition("|")[0].lower() in denial.lower() for denial in limited.denials):
                needless.append((command, limited.denials[:1]))
            limited.denials.clear()
            await allow(raw, f"+{command}")
        assert needless == []
        await limited.close()
        await admin.close()


def test_every_command_that_the_library_sends_is_in_acl_rules() -> None:
    """The source is searched, so that a command that is added to it is not forgotten."""
    folder = Path(access.__file__).parent
    sources = [path.read_text("utf-8") for path in folder.glob("*.py")]
    sent = {
        name for source in sources for name in re.findall(r"(?:ask\(\s*|_REPLY_TIMEOUT_S,\s*\*\()\"([A-Z]+)", source)
    }
    assert {"HSET", "XREAD"} <= sent  # it finds what there is, sent over any connection
    assert sent <= {name.partition("|")[0] for name in access.commands(access.ROLES)}


@pytest.mark.usefixtures("early_sweeps")
async def test_a_user_with_acl_rules_alone_can_publish_consume_and_retry(binary: Path) -> None:
    app, record = ev.App("shop"), Record()  # a lease of 30 s: a sweep that takes over its own entry uses up an attempt

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2, wait_s=0.001))
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        if event.number == 2 or delivery.attempt == 1:
            raise ValueError("no")

    async with guarded(binary) as (_, raw, url):
        await allow(raw, *ev.acl_rules("ev").split())
        async with ev.connect(app, url) as bus, bus.running(observe=record):
            await bus.publish_many(orders(1, 2))
            await eventually(lambda: record.count("acked") == 1 and record.count("dead") == 1)


async def test_keys_outside_of_the_namespace_are_refused_and_the_error_says_what_to_allow(binary: Path) -> None:
    async with guarded(binary) as (_, raw, url):
        await allow(raw, *ev.acl_rules("other").split())
        async with ev.connect(ev.App("shop"), url, namespace="shop") as bus:
            with pytest.raises(ev.AccessDenied, match="acl_rules"):
                await bus.publish(OrderPlaced(number=1))


async def test_many_refusals_at_once_raise_one_access_denied(binary: Path) -> None:
    """It is not an exception group, and the event loop reports no task whose error was not retrieved."""
    app = ev.App("shop")

    async with guarded(binary) as (_, raw, url):
        await allow(raw, *ev.acl_rules().split())

        @app.subscribe_batch(OrderPlaced, group="billing", size=50)
        async def bill(batch: ev.Batch[OrderPlaced]) -> None:
            await allow(raw, "-evalsha", "-eval")
            raise ValueError("no")

        noise = list[object]()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
        async with ev.connect(app, url) as bus:
            await bus.publish_many(orders(*range(50)))
            with pytest.raises(ev.AccessDenied):
                async with bus.running():
                    await asyncio.Event().wait()
        gc.collect()
        assert noise == []


async def test_a_permission_that_is_withdrawn_ends_the_run_at_once_and_loses_no_event(binary: Path) -> None:
    app = ev.App("shop")

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=2, wait_s=0.001))
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        raise ValueError("no")

    async with guarded(binary) as (_, raw, url):
        await allow(raw, *ev.acl_rules().split(), "-zadd")
        async with ev.connect(app, url) as bus:
            with pytest.raises(ev.AccessDenied, match=r"(?i)zadd"):  # noqa: PT012 - the block is what ends
                async with bus.running():
                    await bus.publish(OrderPlaced(number=1))
                    await asyncio.Event().wait()
            assert (await bus.backlog("orders", "billing")).total == 1


async def test_a_changed_password_ends_the_run_with_a_clear_error(
    binary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Open connections keep working after the change; the next connection is refused."""
    caplog.set_level(logging.DEBUG)
    app, handled = ev.App("shop"), list[int]()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        handled.append(event.number)

    async with guarded(binary) as (_, raw, url):
        await allow(raw, *ev.acl_rules().split())
        async with ev.connect(app, url) as bus:
            with pytest.raises(ev.AccessDenied) as caught:  # noqa: PT012 - the block is what ends
                async with bus.running():
                    await bus.publish(OrderPlaced(number=1))
                    await eventually(lambda: handled)
                    await shut_out(raw, "another")
                    await asyncio.Event().wait()
            with pytest.raises(ev.AccessDenied):
                await bus.publish(OrderPlaced(number=2))
    assert "password" in caught.value.problem
    assert not [word for word in (SECRET, ENCODED, "another") if word in caplog.text + repr(caught.value)]


async def test_the_database_number_in_the_url_is_used(binary: Path) -> None:
    with private_server(binary=binary, port=0) as server:
        async with redis.Redis.from_url(server.url.replace("/0", "/3")) as third:
            for url in (server.url.replace("/0", "/3"), f"{server.url.removesuffix('/0')}?db=3"):
                async with ev.connect(ev.App("shop"), url, namespace="shop") as bus:
                    await bus.publish(OrderPlaced(number=1))
                    assert await third.delete("shop:{orders}:events") == 1
            for wrong in ("/99", "/three", "/-1", "/0/1"):
                with pytest.raises(ev.BrokerError):
                    async with ev.connect(ev.App("shop"), server.url.replace("/0", wrong)):
                        pass


async def test_the_database_number_is_used_on_a_unix_socket(binary: Path) -> None:
    with private_server(binary=binary) as server:
        async with redis.Redis.from_url(server.url, db=3) as third:
            async with ev.connect(ev.App("shop"), f"{server.url}?db=3", namespace="shop") as bus:
                await bus.publish(OrderPlaced(number=1))
            assert await third.exists("shop:{orders}:events")


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
        return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
async def test_an_ipv6_address_in_the_url(binary: Path) -> None:
    with private_server("--bind", "127.0.0.1", "::1", binary=binary, port=0) as server:
        async with ev.connect(ev.App("shop"), server.url.replace("127.0.0.1", "[::1]")) as bus:
            assert await bus.publish(OrderPlaced(number=1))


@pytest.mark.parametrize(
    "option", ["socket_timeout=0.1", "decode_responses=True", "protocol=3", "retry_on_timeout=yes", "ssl_x=1"]
)
async def test_a_url_option_that_the_library_sets_itself_is_refused_by_name(connect: Connect, option: str) -> None:
    with pytest.raises(ev.BrokerError, match=option.partition("=")[0]):
        async with connect(ev.App("shop"), url=f"redis://localhost:6379/0?{option}"):
            pass


async def test_no_secret_is_shown_anywhere(binary: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The password is in no log record of any logger, in no `repr` and in no pickled object."""
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    async with guarded(binary) as (server, raw, url):
        await allow(raw, *ev.acl_rules().split())
        async with ev.connect(ev.App("shop"), url) as bus:
            await bus.publish(OrderPlaced(number=1))
            await allow(raw, "-@all")
            errors = [await raised(bus.publish(OrderPlaced(number=2))), await raised(bus.backlog("orders", "billing"))]
            server.kill()
            errors.append(await raised(bus.backlog("orders", "billing")))
            shown += [repr(bus), str(bus.server), repr(bus._broker), repr(bus._broker._control), *map(str, errors)]
            shown += [pickle.dumps(error).decode("latin-1") for error in errors]
            shown += ["".join(traceback.format_exception(error)) for error in errors]
    assert not [text for text in (*shown, caplog.text) for secret in (SECRET, ENCODED) if secret in text]


async def raised(call: Awaitable[object]) -> ev.BrokerError:
    with pytest.raises(ev.BrokerError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:1/0?password=s3@cr3t",
        "redis://localhost:1/0?password=s3cr3t&username=a@b",
        "redis://localhost:1/0?s3cr3t",
        "redis://localhost:1/0?s3cr3t=1&a@b",
        "unix:///nowhere/redis.sock?password=s3cr3t",
        "rediss://localhost:1/0?ssl_password=s3cr3t&ssl_keyfile=/nowhere&ssl_certfile=/nowhere",
    ],
)
async def test_a_password_in_the_query_of_a_url_is_not_shown(url: str) -> None:
    async def connect() -> None:
        async with ev.connect(ev.App("shop"), url):
            pass

    error = await raised(connect())
    assert not [text for text in (str(error), repr(error)) if "cr3t" in text]
