"""Which commands and keys each role of a Redis user needs: for ACL rules, and for messages about what is missing.

What a script calls is found in its text. Who runs which script is declared here, by journeys. A test carries out every
journey as a user with no more than its rights, and compares what is sent with what is declared.
"""

import re
from collections.abc import Collection, Mapping
from functools import cache
from typing import Literal, NamedTuple, get_args

from eventlib.broker import scripts
from eventlib.broker.keys import Keys, below
from eventlib.broker.scripts import Script

Role = Literal["publisher", "consumer", "operator", "monitor", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
# Without these nothing is seen of a group, whichever library made it.
LOOK = ("TIME", "XINFO|GROUPS", "XINFO|CONSUMERS", "XINFO|STREAM", "XPENDING", "XRANGE")
PROGRAMS: tuple[Role, ...] = ("publisher", "consumer", "operator")  # who works with the library, and does not only look
Part = Literal["all", "events", "tasks", "sagas"]  # what a program declares or uses, so that it needs a journey

_CALL = re.compile(r"(?:redis\.p?call\(|call_with\(|= \{)'([A-Z]{2,})'(?:, *'([A-Z]+)')?")
_WITH_SUBCOMMANDS = ("XGROUP", "XINFO")
_NAME = re.compile(r"\b(\w+)\(")
_FUNCTION = re.compile(r"^local function (\w+)\([^\n]*(?: end\n|\n(?:.*?\n)??end\n)", re.MULTILINE | re.DOTALL)


Scope = Mapping[Part, Mapping[str, Collection[str]]]  # the streams of each part that is used, with their groups


class Journey(NamedTuple):
    """What some roles do, and an admin too. `sent` are commands that go out without a script.

    `keys` are key patterns behind the prefix of a stream; {group} stands for the names of groups.
    """

    about: str
    part: Part
    roles: tuple[Role, ...]
    scripts: tuple[Script, ...]
    sent: tuple[str, ...]
    keys: tuple[str, ...]


_GROUP = ("events", "retention", "group:{group}:*")
_QUEUE = ("queue:*", "group:{group}:*")
_SAGA = ("events", "saga*", "group:{group}:*")
_SCHEDULE = ("schedules*", *_QUEUE)
JOURNEYS = (
    Journey(
        "connect, and ask whether the server answers",
        "all",
        ("publisher", "consumer", "operator", "monitor"),
        (),
        ("COMMAND|LIST", "EVAL", "EVALSHA", "EXISTS", "INFO"),
        (),
    ),
    Journey(
        "publish events", "events", ("publisher",), (scripts.PUBLISH,), ("DEL",), ("events", "producer:*", "unique:*")
    ),
    Journey("declare what a stream keeps", "events", ("publisher", "consumer"), (), ("HGET", "HSET"), ("retention",)),
    Journey(
        "wait for events, request and reply",
        "events",
        ("publisher",),
        (scripts.LAST_ID, scripts.READ_BACK),
        ("XREAD",),
        ("events",),
    ),
    Journey(
        "handle events: read, acknowledge, retry, dead-letter, take over",
        "events",
        ("consumer",),
        (
            *(scripts.JOIN, scripts.READ, scripts.ACK, scripts.RETRY, scripts.TO_DEAD_LETTERS, scripts.PROMOTE),
            *(scripts.RENEW, scripts.SWEEP, scripts.PUT_CLOCK_RIGHT, scripts.LEAVE),
        ),
        ("XREADGROUP",),
        _GROUP,
    ),
    Journey(
        "handle events of each key in order",
        "events",
        ("consumer",),
        (scripts.READ_ORDERED, scripts.FREE_KEY_QUEUES),
        (),
        _GROUP,
    ),
    Journey(
        "drop what a stream no longer keeps, but nothing that a declared group has not read",
        "events",
        ("publisher", "consumer"),
        (scripts.TRIM, scripts.JOIN),
        (),
        _GROUP,
    ),
    Journey(
        "look at backlogs",
        "events",
        ("publisher", "consumer", "operator", "monitor"),
        (scripts.BACKLOG, scripts.COUNT),
        (),
        _GROUP,
    ),
    Journey(
        "look at streams: what they keep, and how their groups stand",  # script trim, which then drops nothing
        "events",
        ("publisher", "consumer", "operator", "monitor"),
        (),
        ("EXISTS", "HGETALL", "TIME", "XINFO|CONSUMERS", "XINFO|GROUPS", "XLEN", "XPENDING", "XRANGE"),
        _GROUP,
    ),
    Journey(
        "find out whether the server counts what waits",
        "events",
        ("consumer", "operator"),
        (scripts.PROBE,),
        (),
        ("probe",),
    ),
    Journey(
        "look at dead letters",
        "events",
        ("operator", "monitor"),
        (scripts.DEAD_LETTER_QUEUE, scripts.DEAD_LETTERS),
        (),
        _GROUP,
    ),
    Journey(
        "edit, replay and purge dead letters",
        "events",
        ("operator",),
        (scripts.EDIT, scripts.REPLAY, scripts.PURGE),
        (),
        _GROUP,
    ),
    Journey("pause groups, and let them go on", "events", ("operator",), (scripts.PAUSE,), ("HGET", "LRANGE"), _GROUP),
    Journey("pause queues, and let them go on", "tasks", ("operator",), (scripts.PAUSE,), ("HGET", "LRANGE"), _QUEUE),
    Journey("pause sagas, and let them go on", "sagas", ("operator",), (scripts.PAUSE,), ("HGET", "LRANGE"), _SAGA),
    Journey(
        "enqueue tasks, wait for results, cancel",
        "tasks",
        ("publisher", "operator"),
        (scripts.TASK_ENQUEUE, scripts.TASK_LOOK, scripts.TASK_CANCEL),
        ("XREAD", "XREVRANGE"),
        _QUEUE,
    ),
    Journey(
        "work on tasks",
        "tasks",
        ("consumer",),
        (
            *(scripts.JOIN, scripts.RENEW, scripts.PUT_CLOCK_RIGHT, scripts.TASK_DISPATCH, scripts.TASK_PROMOTE),
            *(scripts.TASK_ACK, scripts.TASK_RETRY, scripts.TASK_DEAD, scripts.TASK_SWEEP, scripts.TASK_LEAVE),
            *(scripts.TASK_REPAIR, scripts.TASK_PROGRESS),
        ),
        ("SMISMEMBER", "XREAD", "XREVRANGE"),
        ("events", *_QUEUE),
    ),
    Journey(
        "look at task queues",
        "tasks",
        ("publisher", "consumer", "operator", "monitor"),
        (scripts.TASK_HEALTH,),
        ("EXISTS", "HSCAN"),
        _SCHEDULE,
    ),
    Journey("run waiting tasks at once", "tasks", ("operator",), (scripts.TASK_RUN_NOW,), (), _QUEUE),
    Journey(
        "run schedules",
        "tasks",
        ("consumer",),
        (scripts.SCHEDULE_PUT, scripts.SCHEDULE_LOOK, scripts.SCHEDULE_READ, scripts.SCHEDULE_FIRE),
        ("ZRANGE",),
        _SCHEDULE,
    ),
    Journey(
        "add, pause, resume, remove and run schedules",
        "tasks",
        ("operator",),
        (
            *(scripts.SCHEDULE_PUT, scripts.SCHEDULE_READ, scripts.SCHEDULE_HALT, scripts.SCHEDULE_REMOVE),
            scripts.SCHEDULE_FIRE,
        ),
        ("XREVRANGE", "ZRANGE"),
        _SCHEDULE,
    ),
    Journey(
        "look at schedules",
        "tasks",
        ("operator", "monitor"),
        (scripts.SCHEDULE_READ,),
        ("XREVRANGE", "ZRANGE"),
        _SCHEDULE,
    ),
    Journey(
        "start sagas, wait for their ends, cancel",
        "sagas",
        ("publisher", "operator"),
        (scripts.SAGA_APPLY,),
        ("EXISTS", "HGETALL", "XREAD", "XREVRANGE"),
        _SAGA,
    ),
    Journey(
        "run sagas",
        "sagas",
        ("consumer",),
        (scripts.SAGA_BEGIN, scripts.SAGA_APPLY),
        ("HGETALL",),
        (*_GROUP, "saga*"),
    ),
    Journey("look at sagas", "sagas", ("operator", "monitor"), (), ("EXISTS", "HGETALL", "LRANGE", "ZRANGE"), _SAGA),
    Journey(
        "look at streams of any library: workbench exporter, workbench learn",
        "all",
        ("monitor",),
        (),
        (*LOOK, "EXISTS", "HGET", "MEMORY|USAGE", "SCAN", "ZCARD"),
        (),
    ),
    Journey(
        "examine the server: workbench doctor",  # passwords and their hashes are among what it may read
        "all",
        (),
        (),
        (
            "ACL|LIST",
            "ACL|WHOAMI",
            "COMMAND|GETKEYS",
            "CONFIG|GET",
            "DBSIZE",
            "MEMORY|USAGE",
            "SCAN",
            "SLOWLOG|GET",
            "TIME",
        ),
        (),
    ),
    Journey("delete everything below the prefix", "all", (), (), ("SCAN", "UNLINK"), ()),
)


def commands(roles: Collection[Role] = PROGRAMS, parts: Collection[Part] = get_args(Part)) -> list[str]:
    """The commands that some roles use, as ACL rules name them: `XADD`, `XGROUP|CREATE`. Sorted."""
    return sorted(set[str]().union(*(commands_of(journey) for journey in journeys_of(roles, parts))))


def journeys_of(roles: Collection[Role], parts: Collection[Part] = get_args(Part)) -> list[Journey]:
    """What a user with some roles does with some parts of the library."""
    wanted = [each for each in JOURNEYS if each.part in {"all", *parts}]
    return wanted if "admin" in roles else [each for each in wanted if {*roles} & {*each.roles}]


def roles_of(script: Script) -> list[Role]:
    """The roles that run a script."""
    return [role for role in ROLES if any(script in journey.scripts for journey in journeys_of([role]))]


def commands_of(journey: Journey) -> set[str]:
    """All commands of a journey: those that are sent, and those that its scripts call."""
    return set(journey.sent).union(*map(called_by, journey.scripts))


@cache
def called_by(script: Script) -> frozenset[str]:
    """The commands that a script calls.

    A script begins with functions that it shares with others. Those that it does not use do not count.
    """
    functions = {found[1]: found[0] for found in _FUNCTION.finditer(script.text)}
    called, parts = set[str](), [_FUNCTION.sub("", script.text)]
    while parts:
        commands, names = _said_in(parts.pop())
        called |= commands
        parts += [functions.pop(name) for name in functions.keys() & names]
    return frozenset(called)


@cache
def _said_in(part: str) -> tuple[frozenset[str], frozenset[str]]:
    """The commands and the functions that a part of a script calls. Kept, because many scripts share it."""
    code = re.sub("--.*", "", part)
    calls = (f"{name}|{sub}" if name in _WITH_SUBCOMMANDS else name for name, sub in _CALL.findall(code))
    return frozenset(calls), frozenset(_NAME.findall(code))


def patterns(namespace: str, roles: Collection[Role], scope: Scope | None) -> list[str]:
    """The key patterns that some roles need: for the whole namespace, or for the streams of a scope. Sorted."""
    if scope is None or "admin" in roles:
        return [f"~{namespace}:*"]
    found = {f"~{Keys(namespace).probe('health')}"}
    for journey in journeys_of(roles, scope):
        for stream, groups in scope.get(journey.part, {}).items():
            found.update(f"~{below(namespace, stream, name)}" for key in journey.keys for name in _named(key, groups))
    return sorted(found)


def _named(key: str, groups: Collection[str]) -> list[str]:
    return [key.replace("{group}", group) for group in groups] if "{group}" in key else [key]
