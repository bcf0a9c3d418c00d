"""What a server must be able and willing to do for eventlib: the commands that it sends and that its scripts call."""

import re

from eventlib.broker import scripts
from eventlib.broker.keys import Keys
from eventlib.broker.scripts import Script

SENT = frozenset({"COMMAND|LIST", "DEL", "EVAL", "EVALSHA", "HGET", "HSET", "INFO", "XREAD", "XREADGROUP"})
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
    """What a Redis user needs for eventlib under one namespace, and no more, for `ACL SETUSER name on >password ...`.

    A database other than 0 needs `+select` too, and `Bus.delete_all`, for tests and experiments, `+scan +unlink`.
    """
    allowed = " ".join(f"+{command.lower()}" for command in commands())
    return f"~{Keys(namespace).namespace}:* {allowed}"
