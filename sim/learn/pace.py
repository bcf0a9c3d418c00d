"""How fast a server is looked at: never more commands or entries a second than allowed, and at uneven moments."""

import random
from collections import deque

ENTRIES_PER_S = 20_000  # rows of replies: each costs the server about as much as a command


class Pace:
    """Says how long to wait before the next look. Times are seconds of any monotonic clock.

    The looks are uneven on purpose: even ones would meet a consumer with a period of its own always at the same place.
    """

    def __init__(self, commands_per_s: float, rng: random.Random) -> None:
        self._commands_per_s = commands_per_s
        self._rng = rng
        self._spent: deque[tuple[float, int, int]] = deque()

    def spend(self, now_s: float, commands: int, entries: int) -> None:
        """So much was asked for."""
        self._spent.append((now_s, commands, entries))

    def wait_s(self, now_s: float, commands: int) -> float:
        """Seconds until a look of so many commands may begin. Within any second, the limits are kept."""
        while self._spent and self._spent[0][0] <= now_s - 1.0:
            self._spent.popleft()
        used, rows = commands, 0
        free_at = now_s
        for at_s, spent, entries in reversed(self._spent):
            used, rows = used + spent, rows + entries
            if used > self._commands_per_s or rows > ENTRIES_PER_S:
                free_at = at_s + 1.0
                break
        last = self._spent[-1] if self._spent else (now_s, 0, 0)
        usual = max(commands / (0.9 * self._commands_per_s), last[2] / (0.9 * ENTRIES_PER_S))
        uneven = last[0] + usual * self._rng.uniform(0.5, 1.5) if self._spent else now_s
        return max(0.0, free_at - now_s, uneven - now_s)
