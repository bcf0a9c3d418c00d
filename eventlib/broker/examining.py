"""What a server tells of itself: its settings, its memory, its users, its clock. Only commands that read are sent."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eventlib.broker.paced import PacedConnection, is_of_a_key, is_of_permission
from eventlib.broker.replies import SCAN_COUNT, info, text
from eventlib.errors import AccessDenied, BrokerError, BrokerUnavailable
from eventlib.records import ServerInfo

_ROUND_TRIPS = 11
_SLOW_COMMANDS = 20
_SETTINGS = ("save", "appendfsync", "maxmemory", "maxmemory-policy", "timeout", "protected-mode")
_MEMORY_SAMPLES = 5
# The option STREAMS of this command is its fifth argument: what is before it is the name of a consumer. A server that
# takes the name for the option checks the permission for another key than the one that it reads.
_KEYS_OF = ("XREADGROUP", "NOACK", "GROUP", "g", "STREAMS", "STREAMS", "key", ">")


@dataclass(frozen=True, slots=True)
class SlowCommand:
    """A command of the slow log. Its arguments are left out: they may hold personal data."""

    command: str
    took_s: float
    ago_s: float


@dataclass(frozen=True, slots=True)
class Examination:
    """What a server told. What its user may not ask is None or empty, and `unseen` names the command.

    `told` are the fields of INFO, `settings` some of CONFIG. `users` are ACL rules without passwords. `round_trips_s`
    are the times of small questions. The server's clock is `ahead_s` ahead of this machine's. `big_keys` are by name
    the bytes of the largest of `keys_looked_at` keys out of `keys`.
    """

    where: str
    told: Mapping[str, str]
    settings: Mapping[str, str]
    user: str
    users: tuple[str, ...] | None
    keys_that_xreadgroup_checks: tuple[str, ...] | None
    round_trips_s: tuple[float, ...]
    ahead_s: float | None
    slow: tuple[SlowCommand, ...]
    keys: int | None
    keys_looked_at: int
    big_keys: Mapping[str, int]
    unseen: tuple[str, ...]

    @property
    def product(self) -> str:
        return ServerInfo.of(self.told).product

    @property
    def version(self) -> str:
        return ServerInfo.of(self.told).version


class Examiner:
    """Examines one server, once. It looks at `keys_max` keys at most, and keeps the largest above `big_bytes`.

    Raises:
        BrokerError: the URL is wrong.
    """

    def __init__(self, url: str, commands_per_s: float, keys_max: int, big_bytes: int) -> None:
        self.where = url
        self._connection = PacedConnection(url, commands_per_s)
        self._keys_max = keys_max
        self._big_bytes = big_bytes
        self._unseen = list[str]()

    async def examine(self) -> Examination:
        """Ask all there is to ask.

        Raises:
            BrokerUnavailable: no answer.
            AccessDenied: the server refuses the login.
        """
        told = info(await self._ask("INFO") or b"")
        round_trips_s, ahead_s = await self._clock()
        user, users = await self._ask("ACL", "WHOAMI"), await self._ask("ACL", "LIST")
        checked = await self._ask("COMMAND", "GETKEYS", *_KEYS_OF)
        slow = await self._slow(told)
        keys = await self._ask("DBSIZE")
        looked_at, big = await self._big_keys()
        return Examination(
            where=self._connection.where,
            told=told,
            settings=await self._settings(),
            user=self._connection.user if user is None else text(user),
            users=None if users is None else tuple(_without_passwords(text(rule)) for rule in users),
            keys_that_xreadgroup_checks=None if checked is None else tuple(map(text, checked)),
            round_trips_s=round_trips_s,
            ahead_s=ahead_s,
            slow=slow,
            keys=keys,
            keys_looked_at=looked_at,
            big_keys=big,
            unseen=tuple(dict.fromkeys(self._unseen)),
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _ask(self, *command: str | bytes | int) -> Any:
        """The reply; None where it is refused, or where the server does not know it, as many rented ones do not."""
        subcommands = ("ACL", "CONFIG", "COMMAND", "SLOWLOG", "MEMORY")
        name = " ".join(map(str, command[: 2 if command[0] in subcommands else 1]))
        if name in self._unseen:
            return None
        try:
            return await self._connection.ask(*command)
        except BrokerUnavailable:
            raise
        except BrokerError as error:
            if isinstance(error, AccessDenied) and not is_of_permission(error):
                raise
            if not is_of_a_key(error):
                self._unseen.append(name)
            return None

    async def _clock(self) -> tuple[tuple[float, ...], float | None]:
        """Times of small questions, and how far the server's clock is ahead: as the quickest of them tells."""
        found = list[tuple[float, float]]()
        for _ in range(_ROUND_TRIPS):
            asked_s, asked_at_s = time.monotonic(), time.time()
            if (now := await self._ask("TIME")) is None:
                return (), None
            took_s = time.monotonic() - asked_s
            seconds, microseconds = map(int, now)
            found.append((took_s, seconds + microseconds / 1e6 - (asked_at_s + took_s / 2.0)))
        return tuple(took_s for took_s, _ in found), min(found)[1]

    async def _settings(self) -> dict[str, str]:
        found = dict[str, str]()
        for name in _SETTINGS:
            reply: Sequence[bytes] = await self._ask("CONFIG", "GET", name) or ()
            found |= dict(zip(map(text, reply[::2]), map(text, reply[1::2]), strict=True))
        return found

    async def _slow(self, told: Mapping[str, str]) -> tuple[SlowCommand, ...]:
        now_s = float(told.get("server_time_usec", time.time() * 1e6)) / 1e6
        rows = await self._ask("SLOWLOG", "GET", _SLOW_COMMANDS) or ()
        return tuple(SlowCommand(text(row[3][0]).upper(), row[2] / 1e6, now_s - row[1]) for row in rows)

    async def _big_keys(self) -> tuple[int, dict[str, int]]:
        """How many keys were looked at, and the largest of them."""
        looked_at, left, cursor, found = 0, self._keys_max, b"0", dict[str, int]()
        while left > 0:
            if (reply := await self._ask("SCAN", cursor, "COUNT", min(SCAN_COUNT, self._keys_max))) is None:
                break
            cursor, keys = reply
            asked = keys[:left]
            left -= max(1, len(asked))  # an empty page costs too, and so does a key that may not be asked for
            for key in asked:
                if (size := await self._ask("MEMORY", "USAGE", key, "SAMPLES", _MEMORY_SAMPLES)) is None:
                    continue  # it expired meanwhile, or may not be asked for
                looked_at += 1
                if size > self._big_bytes:
                    found[text(key)] = size
            if int(cursor) == 0 or "MEMORY USAGE" in self._unseen:
                break
        return looked_at, found


def _without_passwords(rule: str) -> str:
    return " ".join(part for part in rule.split(" ") if not part.startswith(("#", ">", "<", "!")))
