"""Claims about documents and tests: they are there, they are right, and they run."""

import ast
import asyncio
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import eventlib as ev
from sim.claims.claim import claim, counted, holds, unknown
from sim.claims.manifests import in_clone
from sim.claims.site import Site
from sim.evidence.claims import Finding
from sim.infer.compare import compare
from sim.infer.validate import steady_load
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate

_NO_CLONE = "documents and tests are in the clone, and this is none"
_PATTERNS = {
    "request/response": r"\.request\(",
    "fire-and-forget": r"Spool\(|publish_notification",
    "saga": r"\.saga\(",
    "fan-out": r"(?s)subscribe\(.*subscribe\(.*subscribe\(",
}


def _pages(*patterns: str) -> list[Path]:
    top = in_clone()
    return sorted({file for pattern in patterns for file in top.glob(pattern)}) if top else []


def _programs(pages: Iterable[Path]) -> list[str]:
    """The blocks of Python that are whole programs."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    blocks: list[str] = re.findall(
        r"^```(?:python|\{code-block\} python)[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    return [block for block in blocks if "asyncio.run(" in block]


async def _failures(site: Site, programs: Iterable[str]) -> list[str]:
    """Run programs as a reader would, in an empty folder. Returns the last line of each that fails."""
    failed = []
    for number, program in enumerate(programs):
        folder = site.folder / str(number)
        folder.mkdir()
        command = [sys.executable, "-c", program]
        environment = os.environ | {"REDIS_URL": site.url}
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=25,
            check=False,
        )
        if done.returncode:
            failed.append((done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200])
    return failed


def _unknown_names(programs: Iterable[str]) -> set[str]:
    """The names of the library that the programs use and that it does not have."""
    used = {
        node.attr
        for program in programs
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ev"
    }
    return {name for name in used if not hasattr(ev, name)}


@claim(
    "S21",
    "ADR-006: the formal record of the architectural decision",
    theme="documents",
    how="The record number 006 is looked for and read for the parts that such a record has.",
    threshold="it has context, decision and consequences, and it is about events on Redis Streams",
)
async def adr(site: Site) -> Finding:
    if in_clone() is None:
        return unknown(_NO_CLONE)
    found = _pages("docs/adr/*006*.md")
    if not found:
        return holds(False, "there is no docs/adr/*006*.md")
    text = found[0].read_text(encoding="utf-8").lower()
    parts = ("context", "decision", "consequences", "redis streams")
    missing = [part for part in parts if part not in text]
    return holds(not missing, f"{found[0].name}: {f'no {missing}' if missing else 'has all parts'}")


@claim(
    "S22",
    "A usage guide",
    theme="documents",
    how="Every whole program of the guide is run as it stands in the page, in an empty folder; every name of the "
    "library that it uses is looked up.",
    threshold="at least two programs; each ends without an error, and each name exists",
    limit_s=60.0,
)
async def guide(site: Site) -> Finding:
    pages = _pages("docs/usage*.md", "docs/*/usage*.md") or _pages("README.md")
    if not pages:
        return unknown(_NO_CLONE)
    programs = [program for program in _programs(pages) if "sim." not in program]
    wrong = sorted(_unknown_names(programs))
    failed = await _failures(site, programs[: site.samples(2, 20)])
    text = f"{', '.join(page.name for page in pages)}: {len(programs)} programs, {len(failed)} fail"
    text += f", unknown names {wrong}" if wrong else ""
    return holds(len(programs) >= 2 and not failed and not wrong, text, evidence=tuple(failed))


@claim(
    "S23",
    "A validation report with results and metrics",
    theme="documents",
    how="A steady load is simulated and run live for a short time, and the report is made of that; the page is "
    "searched for the numbers of both worlds.",
    threshold="the page has the throughput of both worlds, needs nothing outside of itself, and has less than 3 MB",
    limit_s=60.0,
)
async def report(site: Site) -> Finding:
    from sim.show.report import render  # above this package: it is what is measured here

    declared = steady_load()
    load = declared.offered_load.model_copy(update={"rate_per_s": 200, "duration_s": 1.0})
    scenario = declared.model_copy(update={"load": load})
    simulated = await asyncio.to_thread(simulate, scenario, range(2))
    live = await run_live(scenario, range(1), url=site.url)
    page = render([compare(simulated, live)], [], command="workbench report")
    outside = re.findall(r'(?:src|href)="(https?:[^"]+)"', page)
    rows = page.count("throughput_per_s")
    size = len(page.encode()) / 1e6
    text = f"a page of {size:.2f} MB with {page.count('<svg')} figures; throughput in {rows} row, "
    text += f"{len(outside)} things from outside"
    return holds(rows > 0 and not outside and size < 3, text, size_mb=size)


@claim(
    "S24",
    "Integration examples of all patterns",
    theme="documents",
    how="Whole programs that show request/response, fire-and-forget, a saga and a fan-out are looked for in the pages, "
    "and each that is found is run as it stands.",
    threshold="each of the four patterns has a program, and each ends without an error",
    limit_s=60.0,
)
async def examples(site: Site) -> Finding:
    if in_clone() is None:
        return unknown(_NO_CLONE)
    pages = _pages("README.md", "docs/*.md", "docs/*/*.md")
    programs = [program for program in _programs(pages) if "sim." not in program]
    chosen = {
        name: next((each for each in programs if re.search(sign, each)), None) for name, sign in _PATTERNS.items()
    }
    missing = [name for name, program in chosen.items() if program is None]
    failed = await _failures(site, list(dict.fromkeys(each for each in chosen.values() if each is not None)))
    text = f"{4 - len(missing)} of 4 patterns have a program, {len(failed)} fail"
    text += f"; none shows {', '.join(missing)}" if missing else ""
    return holds(not missing and not failed, text, evidence=tuple(failed))


@claim(
    "S29",
    "19 or more integration tests pass on a real server",
    theme="documents",
    how="The tests of tests/fundamentals, one for each concept of the library, are run on this server; passed ones are "
    "counted.",
    threshold="19 tests pass, and none fails",
    limit_s=90.0,
)
async def tests(site: Site) -> Finding:
    top = in_clone()
    if top is None or not (top / "tests/fundamentals").is_dir():
        return unknown(_NO_CLONE)
    if importlib.util.find_spec("pytest") is None:
        return unknown("pytest is not installed; `make` installs it")
    result = site.folder / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={result}"]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "tests/fundamentals"],
        cwd=top,
        env=os.environ | {"REDIS_URL": site.url},
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )
    if not result.is_file():
        return unknown(f"the tests could not be run: {(done.stdout + done.stderr).strip()[-200:]}")
    suite = ElementTree.parse(result).getroot()[0]
    total, bad = int(suite.get("tests", 0)), int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    passed = total - bad - int(suite.get("skipped", 0))
    found = counted(passed, 19, f"tests passed, {bad} failed", failed=bad)
    return found if not bad else holds(False, found.measured, evidence=(done.stdout.strip()[-300:],))
