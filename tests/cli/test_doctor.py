"""workbench doctor on real servers that are wrong on purpose: it finds what is wrong, and only reads."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from eventlib.broker.examining import Examination, Examiner, SlowCommand
from eventlib.operate.defects import KEY_BYPASS, defects_of
from eventlib.operate.diagnosis import diagnose
from eventlib.testing import PrivateServer, private_server
from eventlib.thresholds import Thresholds
from sim.cli.commands import app

READS = {"info", "time", "acl|whoami", "acl|list", "command|getkeys", "slowlog|get", "dbsize", "config|get", "scan"}
READS |= {"memory|usage", "xinfo|stream", "xinfo|groups", "xinfo|consumers", "xpending", "xrange"}
CONNECTING = {"client|setinfo", "client|setname", "hello", "auth", "select"}
SECRET = "s3cret-word"
PATIENT = ("--set", "latency_s=30", "--set", "slow_command_s=30")  # a busy machine is no fault of the server


def doctor(url: str, *options: str) -> tuple[int, dict[str, Any], str]:
    """The exit status, the document, and what is printed for people."""
    done = CliRunner().invoke(app, ["doctor", url, "--json", "-", *options])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, json.loads(done.stdout) if done.stdout else {}, done.stderr


def names(document: dict[str, Any], severity: str) -> set[str]:
    return {finding["name"] for finding in document["findings"] if finding["severity"] == severity}


def test_what_is_wrong_on_purpose_is_found_with_its_mend(binary: Path) -> None:
    wrong = ("--appendonly", "no", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    slow = ("--slowlog-log-slower-than", "0", "--timeout", "300")
    with private_server(*wrong, *slow, binary=binary) as server, redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "limited", "on", f">{SECRET}", "~S*", "+xreadgroup")
        for number in range(20):
            admin.xadd("orders", {"number": number})
        admin.xgroup_create("orders", "billing", "0")
        admin.xtrim("orders", maxlen=4, approximate=False)
        admin.set("large", "x" * 3_000_000)
        admin.eval("for i = 1, 3000000 do end return 1", 0)
        status, document, told = doctor(
            server.url, "--set", "slow_command_s=0.001", "--set", "big_key_bytes=2000000", *PATIENT[:2]
        )
    assert status == 1 and document["healthy"] is False
    assert names(document, "critical") == {"persistence", "KeysMayBeEvicted", "GroupWithoutReaders", "UnreadNearLoss"}
    assert names(document, "warning") >= {"access", "slow command", "big key", KEY_BYPASS}
    assert names(document, "info") >= {"connections"}
    assert all(finding["mend"] for finding in document["findings"])
    assert "nothing is written to disk" in told and "'STREAMS'" in told  # the key that is checked instead
    assert {"clock", "latency"} <= set(document["in_order"]) and not {"slow log", "big keys"} & set(
        document["in_order"]
    )
    assert SECRET not in told and SECRET not in json.dumps(document) and "#" not in json.dumps(document)


def test_a_server_in_order_has_status_0(binary: Path) -> None:
    with private_server("--maxmemory", "1gb", binary=binary, port=0) as server:
        with redis.Redis.from_url(server.url) as admin:
            admin.execute_command("ACL", "SETUSER", "default", f">{SECRET}")
        url = server.url.replace("redis://", f"redis://:{SECRET}@")
        status, document, told = doctor(url, *PATIENT)
    assert status == 0 and document["healthy"] is True, told
    assert names(document, "critical") == names(document, "warning") == set()
    assert {"maxmemory", "clock", "latency", "slow log", "big keys", "streams and groups"} <= set(document["in_order"])
    assert SECRET not in told


@pytest.fixture(scope="module")
def small() -> Iterator[PrivateServer]:
    with private_server(port=0) as server:
        yield server


def test_it_only_reads(small: PrivateServer) -> None:
    with redis.Redis.from_url(small.url) as admin:
        admin.xadd("orders", {"a": 1})
        admin.xgroup_create("orders", "billing", "0")
        admin.xreadgroup("billing", "c1", {"orders": ">"})
        admin.config_resetstat()
        assert doctor(small.url)[0] == 1
        sent = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")} - {"config|resetstat"}
    assert sent - CONNECTING <= READS


def test_a_user_who_may_do_little_is_told_what_was_not_seen(small: PrivateServer) -> None:
    with redis.Redis.from_url(small.url) as admin:
        admin.execute_command("ACL", "SETUSER", "little", "on", ">p", "%R~mine:*", "+info", "+time", "+acl|whoami")
    status, document, told = doctor(small.url.replace("redis://", "redis://little:p@"), *PATIENT)
    assert status == 1 and names(document, "warning") == {"maxmemory", KEY_BYPASS}
    assert "user little lacks +acl|list +command|getkeys +slowlog|get +dbsize +scan +config|get" in told
    assert any(line.startswith("streams and groups: ") and "'scan'" in line.lower() for line in document["unseen"])
    assert not {"access", "slow log", "big keys", "streams and groups"} & set(document["in_order"])


def test_no_server_and_bad_input_have_status_2(small: PrivateServer) -> None:
    status, _, told = doctor("redis://127.0.0.1:1")
    assert status == 2 and told.count("\n") == 1
    status, _, told = doctor(small.url, "--set", "oldest_age=3")
    assert status == 2 and told.startswith("error: threshold oldest_age: is no threshold; there are oldest_age_s")
    status, _, told = doctor(small.url.replace("redis://", "redis://nobody:p@"))
    assert status == 2 and told.startswith("`ps` shows the password") and told.count("\n") == 2


def test_who_may_see_nothing_learns_nothing(small: PrivateServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis.Redis.from_url(small.url) as admin:
        admin.execute_command("ACL", "SETUSER", "blind", "on", ">p", "-@all")
    status, document, told = doctor(small.url.replace("redis://", "redis://blind:p@"))
    assert status == 2 and not document["healthy"] and "error: user blind may see nothing here" in told
    assert document["server"]["user"] == "blind"
    monkeypatch.delenv("REDIS_URL", raising=False)
    status, _, told = doctor("")  # as "$REDIS_URL" is, where it is not set
    assert status == 2 and told.startswith("error: Invalid value for 'REDIS_URL': the URL is empty")


async def examined(server: PrivateServer) -> Examination:
    examiner = Examiner(server.url, 1000.0, 10, 1)
    try:
        return await examiner.examine()
    finally:
        await examiner.close()


async def test_clock_latency_failed_writes_and_old_slow_commands(small: PrivateServer) -> None:
    told_of = await examined(small)
    assert told_of.users and not [part for rule in told_of.users for part in rule.split() if part.startswith("#")]
    seen = replace(told_of, slow=(SlowCommand("KEYS", 9.0, ago_s=2 * 86_400.0),), big_keys={})
    wrong = replace(
        seen,
        ahead_s=-3600.0,
        round_trips_s=(0.5, 0.4, 2.0),
        told={**seen.told, "aof_last_write_status": "err", "role": "slave", "rejected_connections": "7"},
    )
    before, after = (set(diagnose(each, None, Thresholds()).findings) for each in (seen, wrong))
    told = {finding.name: finding.problem for finding in after - before}
    assert told["clock"] == "the server's clock is 3600.0 s behind this machine's"
    assert told["latency"] == "a small question takes 500.0 ms, the slowest 2000.0 ms"
    assert set(told) == {"clock", "latency", "persistence", "role", "connections"}
    assert "slow log" in diagnose(seen, None, Thresholds()).in_order  # what was slow two days ago is past


@pytest.mark.parametrize(
    ("product", "version", "has"),
    [
        ("Redis", "7.0.15", True),
        ("Redis", "7.2.15", True),
        ("Redis", "7.2.16", False),
        ("Redis", "8.2.3", True),
        ("Redis", "8.2.9", False),
        ("Redis", "8.10.0", False),
        ("Valkey", "9.1.2", True),
        ("Redis", "unknown", False),
    ],
)
def test_the_key_bypass_by_version(product: str, version: str, has: bool) -> None:
    assert (KEY_BYPASS in {defect.name for defect in defects_of(product, version)}) is has


def test_the_keys_are_bounded_and_the_rate_is_kept(small: PrivateServer) -> None:
    with redis.Redis.from_url(small.url) as admin:
        admin.mset({f"key:{number}": number for number in range(100)})
        begun_s = time.monotonic()
        _, document, told = doctor(small.url, "--keys-max", "10", "--rate", "60")
        took_s = time.monotonic() - begun_s
    assert document["keys"]["measured"] == 10 and "keys were not measured (--keys-max)" in told
    assert took_s > 25 / 60.0


def test_keys_out_of_reach_cost_no_more(small: PrivateServer) -> None:
    with redis.Redis.from_url(small.url) as admin:
        admin.mset({f"key:{number}": number for number in range(100)})
        rights = ("%R~mine:*", "+info", "+scan", "+memory|usage", "+dbsize")
        admin.execute_command("ACL", "SETUSER", "elsewhere", "on", ">p", *rights)
        admin.config_resetstat()
        _, document, _ = doctor(small.url.replace("redis://", "redis://elsewhere:p@"), "--keys-max", "10")
        asked = admin.info("commandstats")["cmdstat_memory|usage"]
    assert document["keys"]["measured"] == 0 and asked["rejected_calls"] == 10
