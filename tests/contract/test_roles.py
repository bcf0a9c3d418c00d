"""ACL users by role: what a role needs is permitted, and nothing else is."""

import asyncio
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from typer.testing import CliRunner

import eventlib as ev
from eventlib.broker import acl, scripts
from eventlib.broker.connections import Broker
from eventlib.broker.examining import Examiner
from eventlib.broker.scripts import Script
from eventlib.broker.surveying import SurveyLimits, Surveyor
from eventlib.broker.watching import GroupWatcher
from eventlib.testing import private_server
from eventlib.testing.waiting import eventually
from sim.cli.commands import app as workbench
from tests.conftest import BINARIES
from tests.contract.test_access import NotingBroker, allow, guarded, use_everything, use_schedules, use_tasks
from tests.saga_shop import Order
from tests.shop import OrderPlaced, OrderShipped, StockCounted, new_app

SCRIPTS = {script for script in vars(scripts).values() if isinstance(script, Script)}
DANGEROUS = ("--enable-debug-command", "yes", "--enable-module-command", "yes")  # refused by the ACL, not by these


@pytest.mark.parametrize("role", acl.ROLES)
async def test_a_role_may_run_its_scripts_and_send_its_commands(role: acl.Role) -> None:
    """Everything is tried. What is refused is of other roles."""
    binary = next(iter(BINARIES.values()))  # that all servers permit the same is tested below and in `test_access`
    journeys = acl.journeys_of([role])
    mine = {f"script {script.name}," for journey in journeys for script in journey.scripts}
    mine |= {f"'{name.lower()}' command" for name in acl.commands([role])}
    async with guarded(binary) as (server, raw, url):
        limited, admin = NotingBroker(url, "shop"), Broker(server.url, "shop")
        await allow(raw, *ev.acl_rules("shop", roles=[role]).split())
        for use in (use_everything, use_tasks, use_schedules):
            await use(limited, admin, raw)
        assert limited.ran == SCRIPTS
        wrong = [denial for denial in limited.denials if any(each in denial for each in mine)]
        assert wrong == []
        assert bool(limited.denials) == (role != "admin")
        await limited.close()
        await admin.close()


@pytest.mark.parametrize("role", acl.ROLES)
async def test_a_role_is_refused_every_other_command_of_the_server(binary: Path, role: acl.Role) -> None:
    async with guarded(binary, *DANGEROUS) as (server, raw, url):
        limited, admin = Broker(url, "shop"), Broker(server.url, "shop")
        await allow(raw, *ev.acl_rules("shop", roles=[role]).split())
        permitted = {name.lower() for name in acl.commands([role])}
        others = {name: line for name, line in _each_command(await admin.ask("COMMAND")) if name not in permitted}
        asked = await asyncio.gather(*(limited.ask(*line) for line in others.values()), return_exceptions=True)
        told = dict(zip(others, map(str, asked), strict=True))
        assert len(told) > 200
        assert {name: text for name, text in told.items() if "NOPERM" not in text} == {}
        await limited.close()
        await admin.close()


def _each_command(told: Any) -> list[tuple[str, list[str]]]:
    """Every command and subcommand of the server, but for those that need no permission, with as few arguments."""
    found = []
    for row in told:
        for name, arity, flags, *_ in row[9] or [row]:
            words = name.decode().split("|")
            if b"no_auth" not in flags:
                found.append((name.decode(), words + ["x"] * (abs(arity) - len(words))))
    return found


class Shop:
    """A server with a user for each role, permitted what an App needs and no more."""

    def __init__(self, raw: redis.Redis, urls: dict[acl.Role, str], app: ev.App) -> None:
        self.raw = raw
        self.urls = urls
        self.app = app

    async def refused(self) -> list[str]:
        """What the server has refused to anyone: its own list."""
        rows: Any = await self.raw.acl_log()
        return [f"{row['username']} {row['reason']} {row['object']} {row['context']}" for row in rows]


@asynccontextmanager
async def shop(binary: Path) -> AsyncIterator[Shop]:
    app = ev.App("shop")
    app.stream("orders", retention=ev.Retention(keep_s=3600.0))
    app.group("billing", lease_s=0.2)
    app.group("packing", lease_s=0.2, ordered_by="number")
    once = ev.Retry(attempts=2, wait_s=0.001)

    @app.subscribe(OrderPlaced, group="billing", retry=once)
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        if event.number == 2 or delivery.attempt == 1:
            raise ValueError("no")

    @app.subscribe(OrderPlaced, group="packing", retry=once)
    async def pack(event: OrderPlaced, _: ev.Delivery) -> None: ...

    @app.task(retry=once)
    async def send(order_id: str) -> str:
        if order_id == "bad":
            raise ValueError("no")
        return order_id

    async def reserve(saga: ev.SagaContext[Order]) -> int:
        return saga.input.number

    app.saga("order", ev.Step(reserve, undo=ev.NOTHING_TO_UNDO), input=Order)
    app.schedule("often", send, every_s=0.1, args=("S1",))

    async with guarded(binary) as (_, raw, url):
        urls = {}
        for role in acl.ROLES:
            urls[role] = url.replace("limited", role)
            rules = ev.acl_rules(roles=[role], app=app).split()
            await raw.execute_command("ACL", "SETUSER", role, "reset", "on", f">{_password(url)}", *rules)  # type: ignore[no-untyped-call]
        yield Shop(raw, urls, app)


def _password(url: str) -> str:
    return str(redis.ConnectionPool.from_url(url).connection_kwargs["password"])


async def test_each_role_does_its_work_with_the_rights_of_its_app_alone(binary: Path) -> None:
    async with shop(binary) as at:
        app, send = at.app, at.app.tasks["send"]
        saga = at.app.sagas["order", 1]
        async with ev.connect(app, at.urls["consumer"]) as bus, bus.running():
            async with ev.connect(app, at.urls["publisher"]) as publisher:
                async with publisher.waiting_for(OrderShipped, correlation_id="c1", timeout_s=30.0) as shipped:
                    await publisher.publish_many([OrderPlaced(number=1), OrderPlaced(number=2)])
                    await publisher.publish(OrderShipped(number=1), correlation_id="c1", id="e1", unique_for_s=60.0)
                assert shipped.event.number == 1
                handle = await publisher.enqueue(send)("A1")
                assert await handle.result(timeout_s=30.0) == "A1"
                assert await (await publisher.enqueue(send, delay_s=60.0)("A2")).cancel() == "cancelled"
                bad = await publisher.enqueue(send)("bad")
                saga_id = await publisher.start(saga, Order(number=1))
                assert (await publisher.sagas(saga).wait(saga_id, timeout_s=30.0)).status == "completed"
                await publisher.backlog("orders", "billing")
            await _operate(at.urls["operator"], bad.id)
            await _look(at.urls["monitor"])
            await _examine(at.urls["admin"])
        # Who may not write a probe is refused once, and counts what waits by reading it.
        assert set(await at.refused()) == {
            f"{role} key ev:{{orders}}:probe toplevel" for role in ("monitor", "publisher")
        }


async def _examine(url: str) -> None:
    examiner = Examiner(url, 10_000.0, 100, 1)
    assert (await examiner.examine()).unseen == ()
    await examiner.close()
    async with ev.connect(ev.App("workbench"), url) as bus:
        assert await bus.delete_all() > 0


@pytest.mark.parametrize("command", [["monitor", "--once"], ["exporter", "--once"]], ids=" ".join)
async def test_the_commands_that_look_need_no_more_than_a_monitor_may(binary: Path, command: list[str]) -> None:
    async with guarded(binary) as (server, raw, url):
        async with ev.connect(new_app()[0], server.url) as bus, bus.running():
            await bus.publish_many([OrderPlaced(number=1), OrderPlaced(number=2)])
        await allow(raw, *ev.acl_rules(roles=["monitor"]).split())
        result = await asyncio.to_thread(CliRunner(env={"REDIS_URL": url}).invoke, workbench, command)
        assert result.exit_code == 0 and "orders" in result.output, result.output
        rows: Any = await raw.acl_log()
        assert [(row["reason"], row["object"]) for row in rows] == []


def test_rules_name_what_an_app_declares_and_no_more() -> None:
    app, _ = new_app()
    keys = {rule for rule in ev.acl_rules(roles=["consumer"], app=app, streams=["sent"]).split() if rule[0] == "~"}
    assert keys == {
        "~ev:{health}:probe",
        *(f"~ev:{{{stream}}}:{key}" for stream in ("orders", "sent") for key in ("events", "retention", "probe")),
        "~ev:{orders}:group:billing:*",
    }
    assert "+smismember" not in ev.acl_rules(roles=["consumer"], app=app)  # it declares no tasks
    assert ev.acl_rules("shop", roles=["admin"], app=app).startswith("~shop:* ")
    assert "~ev:{sent}:group:*:*" in ev.acl_rules(roles=["consumer"], streams=["sent"]).split()


async def test_what_the_command_prints_is_what_a_user_gets(binary: Path, tmp_path: Path) -> None:
    """Both lines give the same user, who publishes to one stream and to no other."""
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t\n")
    arguments = ["acl", "publisher", "--user", "shop", "--stream", "orders", "--password-file", str(secret)]
    printed = CliRunner().invoke(workbench, arguments)
    assert printed.exit_code == 0 and "s3cr3t" not in printed.output
    command, line, *_ = printed.output.splitlines()
    aclfile = tmp_path / "users.acl"
    aclfile.write_text(f"user default on nopass ~* &* +@all\n{line}\n")
    with private_server("--aclfile", str(aclfile), binary=binary, port=0) as server:
        url = server.url.replace("//", "//shop:s3cr3t@")
        async with redis.Redis.from_url(server.url) as raw, ev.connect(ev.App("shop"), url) as bus:
            await bus.publish(OrderPlaced(number=1))
            from_file = await raw.acl_getuser("shop")
            await raw.execute_command(*shlex.split(command))  # type: ignore[no-untyped-call]  # redis-py
            assert await raw.acl_getuser("shop") == from_file
            await bus.publish(OrderPlaced(number=2))
            with pytest.raises(ev.AccessDenied):
                await bus.publish(StockCounted(number=3))


async def test_a_missing_command_is_named_with_the_user_and_the_mend_and_nothing_is_lost(binary: Path) -> None:
    async with guarded(binary) as (_, raw, url):
        await allow(raw, *ev.acl_rules(roles=["publisher"]).split(), "-xadd")
        async with ev.connect(ev.App("shop"), url) as bus:
            with pytest.raises(ev.AccessDenied) as refused:
                await bus.publish(OrderPlaced(number=1))
            for word in ("limited", "XADD", "workbench acl", "publisher"):
                assert word in refused.value.problem
            await allow(raw, "+xadd")
            await bus.publish(OrderPlaced(number=1))
            assert (await bus.backlog("orders", "billing")).waiting == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["boss"], "'boss' is no role; give publisher, consumer, operator, monitor, admin"),
        (["monitor", "--app", "tests.shop"], "write module:name"),
        (["monitor", "--app", "no.such:app"], "there is no module 'no'"),
        (["monitor", "--app", "tests.shop:Record"], "is a type, not an App"),
        (["monitor", "--user", "a b"], "no spaces"),
        (["monitor", "--namespace", "a:b"], "'a:b' is not a valid name"),
        (["monitor", "--stream", "a*"], "'a*' is not a valid name"),
        (["monitor", "--password-file", "/nowhere"], "the password file /nowhere cannot be read (No such file"),
        (["monitor", "--password-file", "/dev/null"], "the password file /dev/null is empty"),
    ],
)
def test_bad_input_of_the_command_is_one_line(arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(workbench, ["acl", *arguments])
    assert result.exit_code == 2 and told in " ".join(result.output.split())
    assert result.output.count("error:") == 1


async def _operate(url: str, task_id: str) -> None:
    async with ev.connect(ev.App("workbench"), url) as bus:
        letters = bus.dead_letters("orders", "billing")
        await eventually(letters.size)
        [letter, *_] = await letters.find()
        await letters.edit(letter.id, event=letter.event)
        await letters.replay(ev.Selection(ids=[letter.id]))
        await eventually(letters.size)
        await letters.purge(ev.Selection())
        await bus.pause("billing", stream="orders")
        await bus.resume("billing", stream="orders")
        await bus.pause(queue="default")
        await bus.resume(queue="default")
        await bus.backlog("orders", "billing")
        await bus.stream_health("orders")
        await bus.queue_health()
        await bus.tasks.find("default")
        await bus.tasks.state("default", task_id)
        await bus.schedules.pause("often")
        await bus.schedules.run_now("often")
        await bus.schedules.resume("often")
        await bus.schedules.history("often")
        await bus.schedules.list()
        [saga, *_] = await bus.sagas("order").list()
        await bus.sagas("order").history(saga.id)


async def _look(url: str) -> None:
    async with ev.connect(ev.App("workbench"), url) as bus:
        await bus.backlog("orders", "billing")
        await bus.backlog("orders", "billing")
        await bus.stream_health("orders")
        await bus.queue_health()
        await bus.dead_letters("orders", "billing").find()
        await bus.schedules.list()
        await bus.sagas("order").list()
    surveyor = Surveyor(url, SurveyLimits(commands_per_s=10_000.0, keys=("ev:{orders}:events",)))
    assert len((await surveyor.survey()).streams) == 1
    await surveyor.close()
    watcher = GroupWatcher(url, "ev:{orders}:events", "billing")
    await watcher.look(None, 10)
    await watcher.close()
