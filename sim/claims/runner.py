"""Measuring claims one by one. What goes wrong with one makes its row unknown; the others are measured all the same."""

import asyncio
import contextlib
import fnmatch
import logging
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import eventlib as ev
from eventlib.errors import EventlibError
from sim.claims.claim import Claim, unknown
from sim.claims.site import Site
from sim.claims.standstill import still
from sim.errors import SimError
from sim.evidence.claims import THEMES, Finding, Measured, Row
from sim.infer.processes import cores

Progress = Callable[[str, float], None]  # is called with the theme that is measured, and the share of it that is done


_CORES = cores()
_WAITING = "Programs that run beside"
_LINES_MAX = 3  # of the log, in a row's evidence
_TRIES = 3
_STILL_S = 0.25  # the shortest of the times that claims allow is four times as long


class NoSuchClaim(SimError):
    """A pattern that no claim has."""


def chosen(claims: Sequence[Claim], pattern: str | None) -> list[Claim]:
    """The claims that a pattern names: by number (`S9`, `S1*`), by theme, or by words of the sentence.

    Several patterns are set apart by commas.

    Raises:
        NoSuchClaim: it names none.
    """
    if pattern is None:
        return list(claims)
    found: set[str] = set()
    for each in filter(None, map(str.strip, pattern.split(","))):
        own = {one.id for one in claims if _is_named(one, each.lower())}
        if not own:
            themes = ", ".join(dict.fromkeys(one.theme for one in claims))
            raise NoSuchClaim(f"--only {each}", f"no claim has it; give a number such as S9, or a theme: {themes}")
        found |= own
    return [one for one in claims if one.id in found]


def _is_named(one: Claim, pattern: str) -> bool:
    if re.fullmatch(r"s[\d?*\[\]-]+", pattern):
        return fnmatch.fnmatchcase(one.id.lower(), pattern)
    if fnmatch.filter(THEMES, pattern):
        return fnmatch.fnmatchcase(one.theme, pattern)
    return pattern in one.sentence.lower()


def measure(claims: Sequence[Claim], url: str, *, full: bool = False, progress: Progress = lambda *_: None) -> Measured:
    """Measure claims on the server at `url`. Ctrl-C ends it early, with the rows that are finished.

    Claims whose programs judge no time are measured one after the other, beside those that mostly wait.

    Raises:
        BrokerError: the server does not answer.
    """
    server = asyncio.run(_server_at(url))
    elsewhere = [one for one in claims if one.elsewhere and _CORES > 1]
    here = sorted((one for one in claims if one not in elsewhere), key=lambda one: one.noisy)
    rows, pool = list[Row](), ThreadPoolExecutor(1, "claims measured beside others")
    beside = [pool.submit(measure_one, one, url, full=full) for one in elsewhere]
    try:
        for one in here:
            if one.noisy and not all(each.done() for each in beside):
                progress(_WAITING, sum(each.done() for each in beside) / len(beside))
                wait(beside)
            of_theme = [each for each in here if each.theme == one.theme]
            progress(THEMES[one.theme], of_theme.index(one) / len(of_theme))
            rows.append(measure_one(one, url, full=full))
        rows += [each.result() for each in beside]
    except KeyboardInterrupt:
        pool.shutdown(cancel_futures=True)
        rows += _believed([each.result() for each in beside if not each.cancelled()])
    finally:  # what is measured now ends, and what waits for its turn is not begun
        pool.shutdown(cancel_futures=True)
    places = {one.id: place for place, one in enumerate(claims)}
    return Measured(tuple(sorted(rows, key=lambda row: places[row.id])), len(claims), server, full)


def _believed(rows: Sequence[Row]) -> list[Row]:
    """What can be believed of the rows that were measured beside others until Ctrl-C.

    It reaches the programs of a claim too. The last two rows may have been measured then: only what is true all the
    same counts.
    """
    return [*rows[:-2], *(row for row in rows[-2:] if row.verdict == "true")]


def measure_one(one: Claim, url: str, *, full: bool = False) -> Row:
    """Measure one claim, in an event loop, a folder and a namespace of its own.

    Where this process stood still meanwhile, for want of a processor, what is false is measured again. If it stood
    still each time, it is unknown.
    """
    begun_s = time.perf_counter()
    for _ in range(_TRIES):
        with still() as stood_still:
            finding = _measured(one, url, full=full)
        if finding.verdict != "false" or stood_still.longest_s < _STILL_S:
            break
    else:
        why = f"; the machine let this process stand still for {stood_still.longest_s:.1f} s meanwhile"
        finding = replace(finding, verdict="unknown", measured=finding.measured + why)
    return Row(one.id, one.theme, one.sentence, one.how, one.threshold, finding, time.perf_counter() - begun_s)


def _measured(one: Claim, url: str, *, full: bool) -> Finding:
    # The log is of this process, and what is measured elsewhere may be so beside another claim.
    logged = contextlib.nullcontext(list[str]()) if one.elsewhere else _logged()
    with tempfile.TemporaryDirectory(prefix="workbench-claim-") as folder, logged as lines:
        site = Site(url, f"claim-{secrets.token_hex(6)}", Path(folder), full)
        finding = asyncio.run(_found(one, site))
    return replace(finding, evidence=(*finding.evidence, *(f"log: {line}" for line in lines[:_LINES_MAX])))


@contextlib.contextmanager
def _logged() -> Iterator[list[str]]:
    """What the library logs meanwhile: evidence, and nothing to print, because claims make things go wrong."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("eventlib")
    log.addHandler(handler)
    before, log.propagate = log.propagate, False
    try:
        yield lines
    finally:
        log.propagate = before
        log.removeHandler(handler)


async def _found(one: Claim, site: Site) -> Finding:
    limit_s = one.limit_s * (4.0 if site.full else 1.0)
    try:
        async with asyncio.timeout(limit_s):
            return await one.measure(site)
    except TimeoutError:
        return unknown(f"the measurement did not end within {limit_s:g} s")
    except Exception as error:  # of any kind: the measurement is what failed, and the other rows count
        return unknown(f"the measurement failed: {_told(error)}")
    finally:
        with contextlib.suppress(EventlibError, TimeoutError):
            async with asyncio.timeout(10.0), ev.connect(ev.App("claims"), site.url, namespace=site.namespace) as bus:
                await bus.delete_all()


def _told(error: BaseException) -> str:
    """The error in a line; of a group, the first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]


async def _server_at(url: str) -> str:
    async with ev.connect(ev.App("claims"), url, namespace="claim") as bus:
        return str(bus.server)
