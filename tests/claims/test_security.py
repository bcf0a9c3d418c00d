"""The claim about foreign addresses notices one, wherever the process goes to it."""

import math

import pytest

from sim.claims import runner, security
from sim.claims.runner import measure_one


@pytest.mark.parametrize(
    ("planted", "stranger"),
    [
        ("socket.socket().connect_ex(('127.0.0.2', 9))", "127.0.0.2"),
        ("socket.getaddrinfo('localhost', 9)", "localhost"),
        ("socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.3', 9))", "127.0.0.3"),
    ],
)
def test_another_address_is_noticed(planted: str, stranger: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = f"import socket\n\ndef work(url, namespace):\n    {planted}\n"
    monkeypatch.setattr(security, "_USES", program)
    monkeypatch.setattr(runner, "_STILL_S", math.inf)  # it is noticed, also where the machine stands still meanwhile
    row = measure_one(security.no_corporate_api, url)
    assert row.verdict == "false" and f"of ['{stranger}']" in row.finding.measured


def test_nothing_but_the_server_is_met(url: str) -> None:
    row = measure_one(security.no_corporate_api, url)
    assert row.verdict == "true", row.finding
