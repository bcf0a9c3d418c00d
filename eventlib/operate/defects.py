"""Known defects of servers that concern those who run eventlib, and the releases that mend them. Pure.

A distribution may mend a defect without a new version number, so a finding by version is a hint. Lines of releases
that are not named here are not judged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Defect:
    """One defect. `mended` has, by line of releases, the first patch that mends it; None: no such release is known."""

    name: str
    product: str
    problem: str
    mended: Mapping[tuple[int, int], int | None]

    def is_in(self, product: str, version: Version) -> bool:
        """Whether this release has it, as far as version numbers tell."""
        line, patch = version[:2], version[2]
        if product != self.product or line not in self.mended:
            return False
        first = self.mended[line]
        return first is None or patch < first

    def releases(self) -> str:
        """The releases that mend it."""
        return ", ".join(f"{a}.{b}.{patch}" for (a, b), patch in sorted(self.mended.items()) if patch is not None)


# A user who is limited to some keys reads streams of other keys: the key that ACL checks is not the one that is read.
# Source: https://github.com/redis/redis/pull/15478 and the release notes of August 2026 (15658 to 15663). For the lines
# 7.0 and 8.0, and for Valkey up to 9.1.2, no release that mends it was found in November 2026.
KEY_BYPASS = "XREADGROUP key check"
_LUA = "a script of an authenticated user can take the server over (CVE-2025-49844)"
_UNBLOCK = "a blocked read of a client that is evicted can take the server over (CVE-2026-23479)"
DEFECTS = (
    Defect(
        *(KEY_BYPASS, "Redis", "a user limited to some keys can read streams of others with XREAD and XREADGROUP"),
        {(7, 0): None, (7, 2): 16, (7, 4): 11, (8, 0): None, (8, 2): 9, (8, 4): 6, (8, 6): 6, (8, 8): 2},
    ),
    Defect(
        *(KEY_BYPASS, "Valkey", "a user limited to some keys can read streams of others with XREAD and XREADGROUP"),
        {(7, 2): None, (8, 0): None, (8, 1): None, (9, 0): None, (9, 1): None},
    ),
    # Source: https://github.com/docker-library/official-images/pull/20011, https://github.com/valkey-io/valkey/issues/3473
    Defect("CVE-2025-49844", "Redis", _LUA, {(7, 0): None, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2}),
    Defect("CVE-2025-49844", "Valkey", _LUA, {(8, 1): 4}),
    # Source: https://github.com/docker-library/official-images/pull/20204, https://github.com/redis/redis/issues/15090
    Defect("CVE-2025-62507", "Redis", "XACKDEL with many ids can take the server over (CVE-2025-62507)", {(8, 2): 3}),
    # Source: release notes of Redis 8.6.3; https://github.com/valkey-io/valkey/pull/3632 to 3634
    Defect("CVE-2026-23479", "Redis", _UNBLOCK, {(8, 6): 3}),
    Defect("CVE-2026-23479", "Valkey", _UNBLOCK, {(8, 0): 8, (8, 1): 7, (9, 0): 4}),
)


def defects_of(product: str, version: str) -> Iterator[Defect]:
    """The known defects of a release, such as ("Redis", "8.2.3")."""
    numbers = [int(part) for part in version.split(".")[:3] if part.isdigit()]
    if len(numbers) == 3:
        yield from (each for each in DEFECTS if each.is_in(product, (numbers[0], numbers[1], numbers[2])))
