"""Key names: one place, one hash tag a stream, nothing outside of the namespace."""

import hashlib
import re
from dataclasses import asdict
from importlib import resources

import pytest

import eventlib as ev
from eventlib import keys
from eventlib.keys import Keys, Script

SCRIPTS = [value for value in vars(keys).values() if isinstance(value, Script)]


def all_keys(namespace: str = "ev", stream: str = "orders", group: str = "billing") -> list[str]:
    made = Keys(namespace)
    of_group = {name: key for name, key in asdict(made.group(stream, group)).items() if name != "group"}
    return [
        made.stream(stream),
        made.retention(stream),
        made.probe(stream),
        made.producer(stream, "p1"),
        made.unique(stream, "e1"),
        *of_group.values(),
    ]


def test_trap_29_one_stream_has_one_hash_tag() -> None:
    assert {re.findall(r"{(.*?)}", key)[0] for key in all_keys()} == {"orders"}


def test_every_key_is_in_the_namespace_and_has_one_meaning() -> None:
    made = all_keys()
    assert all(key.startswith("ev:") for key in made)
    assert len(set(made)) == len(made) - 1  # the stream is the group's stream too


def test_two_groups_share_the_stream_and_nothing_else() -> None:
    assert set(all_keys(group="a")) & set(all_keys(group="b")) == {
        "ev:{orders}:events",
        "ev:{orders}:retention",
        "ev:{orders}:probe",
        "ev:{orders}:producer:p1",
        "ev:{orders}:unique:e1",
    }


def test_two_namespaces_share_nothing() -> None:
    assert not set(all_keys("a")) & set(all_keys("a.b"))


@pytest.mark.parametrize("namespace", ["", "a:b", "{a}", "a*", "a b"])
def test_a_namespace_that_cannot_stand_in_a_key_is_refused(namespace: str) -> None:
    with pytest.raises(ev.InvalidDeclaration, match="namespace"):
        Keys(namespace)


def test_every_script_is_loaded_and_known_by_the_hash_that_redis_gives_it() -> None:
    files = {
        f.name.removesuffix(".lua") for f in resources.files("eventlib.scripts").iterdir() if f.name.endswith(".lua")
    }
    assert {script.name for script in SCRIPTS} | {"fields", "lanes"} == files  # those two stand before others
    assert all(script.sha == hashlib.sha1(script.text.encode()).hexdigest() for script in SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_trap_29_a_script_says_which_keys_it_takes_and_makes_up_none(script: Script) -> None:
    assert "-- KEYS" in script.text
    used = re.findall(r"redis\.call\('(?!TIME|XREADGROUP)\w+',\s*(?:'[A-Z]+',\s*)?([^,)]+)", script.text)
    used += re.findall(r"'STREAMS',\s*([^,)]+)", script.text)
    assert used
    named = {"source", "stream", "retry", "delayed", "heads", "lanes", "sweep", "key"}  # one of KEYS, in a variable
    assert set(used) <= {*(f"KEYS[{n}]" for n in range(1, 7)), "KEYS[source]", "KEYS[unique]", *named}
