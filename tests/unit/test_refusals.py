"""Which error of the library each error reply of the server becomes."""

import pytest

import eventlib as ev
from eventlib.broker.connection import UnknownScript, refusal
from eventlib.errors import MissingGroup


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN.", ev.BrokerUnavailable),
        ("LOADING Redis is loading the dataset in memory", ev.BrokerUnavailable),
        ("READONLY You can't write against a read only replica.", ev.BrokerUnavailable),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", ev.BrokerUnavailable),
        ("CLUSTERDOWN The cluster is down", ev.BrokerUnavailable),
        ("TRYAGAIN Multiple keys request during rehashing of slot", ev.BrokerUnavailable),
        ("NOREPLICAS Not enough good replicas to write.", ev.BrokerUnavailable),
        ("MISCONF Errors writing to the AOF file: No space left on device", ev.BrokerUnavailable),
        ("UNBLOCKED force unblock from blocking operation, instance state changed", ev.BrokerUnavailable),
        ("OOM command not allowed when used memory > 'maxmemory'.", ev.BrokerFull),
        ("NOGROUP No such key 'a' or consumer group 'b'", MissingGroup),
        ("NOSCRIPT No matching script.", UnknownScript),
        ("NOPERM this user has no permissions to run the 'xadd' command", ev.AccessDenied),
        ("WRONGPASS invalid username-password pair or user is disabled.", ev.AccessDenied),
        ("ERR The user executing the script can't run this command or subcommand", ev.AccessDenied),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", ev.BrokerError),
        ("BUSYGROUP Consumer Group name already exists", ev.BrokerError),
        ("", ev.BrokerError),
    ],
)
def test_an_error_reply_becomes_an_error_of_the_library(text: str, kind: type[ev.BrokerError]) -> None:
    error = refusal(text, "redis://here")
    assert type(error) is kind
    assert text in str(error)
    assert "redis://here" in str(error)
