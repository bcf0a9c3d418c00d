"""The commands that eventlib sends and that its scripts call. A server must have and permit them."""

import re

from eventlib.broker import scripts
from eventlib.broker.keys import Keys
from eventlib.broker.scripts import Script

SENT = frozenset(
    {
        "COMMAND|LIST",
        "DEL",
        "EVAL",
        "EVALSHA",
        "EXISTS",
        "HGET",
        "HGETALL",
        "HSCAN",
        "HSET",
        "INFO",
        "LRANGE",
        "SMISMEMBER",
        "XREAD",
        "XREADGROUP",
        "XREVRANGE",
        "ZRANGE",
    }
)
_WITH_SUBCOMMANDS = ("XGROUP", "XINFO")
_CALL = re.compile(r"redis\.p?call\('(\w+)'(?:, *'(\w+)')?")


def commands() -> list[str]:
    """The commands that eventlib uses, as ACL rules name them: `XADD`, `XGROUP|CREATE`."""
    called = (called_by(script) for script in vars(scripts).values() if isinstance(script, Script))
    return sorted(SENT.union(*called))


def called_by(script: Script) -> set[str]:
    """The commands that a script calls."""
    return {f"{name}|{sub}" if name in _WITH_SUBCOMMANDS else name for name, sub in _CALL.findall(script.text)}


def acl_rules(namespace: str = "ev") -> str:
    """The rules that a Redis user needs for eventlib under one namespace: for `ACL SETUSER name on >password ...`.

    They permit no more. A database other than 0 also needs `+select`. `Bus.delete_all`, which is for tests and
    experiments, also needs `+scan +unlink`.
    """
    allowed = " ".join(f"+{command.lower()}" for command in commands())
    return f"~{Keys(namespace).namespace}:* {allowed}"
