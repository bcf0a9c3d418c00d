"""Key names: one place, one hash tag a stream, nothing outside of the namespace."""

import hashlib
import inspect
import re
from importlib import resources

import pytest

import eventlib as ev
from eventlib.broker import scripts
from eventlib.broker.keys import Keys
from eventlib.broker.scripts import Script

SCRIPTS = [value for value in vars(scripts).values() if isinstance(value, Script)]


def all_keys(namespace: str = "ev", stream: str = "orders", group: str = "billing") -> list[str]:
    """One of each kind of key of a stream: whatever `Keys` can make, later additions too."""
    known = {"stream": stream, "group": group, "producer": "p1"}
    found: list[str] = []
    for name, make in inspect.getmembers(Keys, inspect.isfunction):
        parameters = list(inspect.signature(make).parameters)[1:]
        if name.startswith("_") or "stream" not in parameters:
            continue
        arguments = [known.get(parameter, "x") for parameter in parameters]
        made = make(Keys(namespace), *arguments)
        found += [made] if isinstance(made, str) else [key for field, key in made._asdict().items() if field != "group"]
    return found


def test_trap_29_one_stream_has_one_hash_tag() -> None:
    assert {re.findall(r"{(.*?)}", key)[0] for key in all_keys()} == {"orders"}


def test_every_key_is_in_the_namespace_and_has_one_meaning() -> None:
    made = all_keys()
    assert all(key.startswith("ev:") for key in made)
    assert len(set(made)) == len(made) - 1  # the stream is the group's stream too


def test_two_groups_share_the_stream_and_nothing_else() -> None:
    shared = set(all_keys(group="a")) & set(all_keys(group="b"))
    assert "ev:{orders}:events" in shared
    assert not [key for key in shared if ":group:" in key]


def test_two_namespaces_share_nothing() -> None:
    assert not set(all_keys("a")) & set(all_keys("a.b"))


@pytest.mark.parametrize("namespace", ["", "a:b", "{a}", "a*", "a b"])
def test_a_namespace_that_cannot_be_part_of_a_key_is_refused(namespace: str) -> None:
    with pytest.raises(ev.InvalidDeclaration, match="namespace"):
        Keys(namespace)


def test_every_script_is_loaded_and_known_by_the_hash_that_redis_gives_it() -> None:
    files = {
        f.name.removesuffix(".lua")
        for f in resources.files("eventlib.broker.scripts").iterdir()
        if f.name.endswith(".lua")
    }
    parts = {name for script in SCRIPTS for name in script.after}
    assert {script.name for script in SCRIPTS} | parts == files
    assert all(script.sha == hashlib.sha1(script.text.encode()).hexdigest() for script in SCRIPTS)


IN_KEY_QUEUES = {"stream", "retry", "delayed", "heads", "queues", "source", "sweep"}  # names of KEYS in `key_queues`
OF_TASKS = re.compile(r"^local (.*?) = unpack\(KEYS, \d+, \d+\)|^local (.*?) = {unpack\(KEYS", re.DOTALL | re.MULTILINE)


def made_up_keys(text: str) -> set[str]:
    """The keys that a script passes to commands and that are not in KEYS."""
    code = re.sub(r"--[^\n]*", "", text)
    of_tasks = set[str]()
    for found in OF_TASKS.findall(code):
        names = re.findall(r"\w+", "".join(found))
        of_tasks |= {*names, *(f"{name}[{priority}]" for name in names for priority in ("priority", "record.priority"))}
    # A name is as good where all that it is ever given is one of KEYS, directly or as an argument of a function.
    named = set(re.findall(r"local (\w+)[^=\n]*= *KEYS\[", code))
    named |= set(re.findall(r"function \w+\((\w+)", code))
    for function, name in re.findall(r"function (\w+)\((\w+)", code):
        given = set(re.findall(rf"(?<!function ){function}\(([^,)]+)", code))
        if not all(argument in of_tasks or re.fullmatch(r"KEYS\[\w+\]", argument) for argument in given):
            named.discard(name)
    named |= IN_KEY_QUEUES | of_tasks
    keys_ = re.findall(r"redis\.p?call\('(?!TIME|XREADGROUP)\w+',\s*(?:'[A-Z]+',\s*)?([^,)]+)", code)
    return {key for key in keys_ if not re.fullmatch(r"KEYS\[\w+\]", key) and key not in named}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_trap_29_a_script_declares_all_of_its_keys_and_builds_none(script: Script) -> None:
    said = re.search(r"-- KEYS +(.*?)(?= {2,}ARGV|\n)", script.text)
    assert said, "its first lines say which keys it takes"
    used = {int(number) for number in re.findall(r"KEYS\[(\d+)\]", script.text)}
    assert len(re.sub(r"\(.*?\)", "", said[1]).split(",")) >= max(used, default=0)
    assert not made_up_keys(script.text)


@pytest.mark.parametrize(
    "script",
    [
        "redis.call('GET', ARGV[1])",
        "redis.call('GET', KEYS[1] .. ':more')",
        "redis.pcall('XINFO', 'GROUPS', 'ev:orders')",
        "local key = 'ev:' .. ARGV[1]\nredis.call('DEL', key)",
        "local function f(key) redis.call('DEL', key) end\nf(ARGV[1])",
    ],
)
def test_a_script_that_builds_a_key_is_found(script: str) -> None:
    assert made_up_keys(script)
