"""Claims about documents and tests: they are there, they are right, and they run."""

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from eventlib.testing import private_server
from sim.claims.claim import claim, counted, holds, unknown
from sim.claims.loads import steady_load
from sim.claims.manifests import in_clone
from sim.claims.site import Site
from sim.evidence.claims import Finding
from sim.infer.compare import compare
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate

_NO_CLONE = "documents and tests are in the clone, and this is none"
_PATTERNS = {
    "request/response": r"\.request\(",
    "fire-and-forget": r"Spool\(|publish_notification",
    "saga": r"\.saga\(",
    "fan-out": r"(?s)subscribe\((\w+), group=\"(\w+)\".*subscribe\(\1, group=\"(?!\2\")",
}


def _pages(*patterns: str) -> list[Path]:
    top = in_clone()
    return sorted({file for pattern in patterns for file in top.glob(pattern)}) if top else []


# Runs the blocks of a page as `python -m asyncio` does, in one namespace, with `await` at the top level.
_RUN = """
import ast, asyncio, inspect, json, sys
names = {"__name__": "__main__"}
with asyncio.Runner() as runner:
    for block in json.load(sys.stdin):
        made = eval(compile(block, "block", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if inspect.isawaitable(made):
            runner.run(made)
"""


@dataclass(frozen=True, slots=True)
class _Page:
    """The blocks of Python of a page, and the lines that it says are printed."""

    name: str
    blocks: tuple[str, ...]
    printed: tuple[str, ...]

    @classmethod
    def of(cls, file: Path) -> "_Page":
        fences = re.findall(r"^```(\w+)[^\n]*\n(.*?)^```$", file.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        blocks = tuple(text for language, text in fences if language == "python" and not text.startswith("# "))
        lines = (line for language, text in fences if language == "text" for line in text.splitlines())
        return cls(file.name, blocks, tuple(line.strip() for line in lines if line.strip()))

    def problem(self, folder: Path) -> str | None:
        """Run it in an empty folder, on a server of its own. Returns what is wrong; None where all runs as it says."""
        folder.mkdir()
        with private_server() as server:
            done = subprocess.run(
                [sys.executable, "-c", _RUN],
                cwd=folder,
                env=os.environ | {"REDIS_URL": server.url},
                input=json.dumps(self.blocks),
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        if done.returncode:
            return f"{self.name}: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1][:200]}"
        told = iter(done.stdout.splitlines())
        missing = next((line for line in self.printed if not any(line in each for each in told)), None)
        return None if missing is None else f"{self.name}: {missing!r} is not printed"


async def _problems(pages: Iterable[_Page], site: Site) -> tuple[str, ...]:
    found = [await asyncio.to_thread(page.problem, site.folder / page.name) for page in pages]
    return tuple(problem for problem in found if problem is not None)


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
    how="Every block of Python in the guide is run as it stands in the page, one after the other, on a server of its "
    "own, and what is printed is compared with what the page says.",
    threshold="at least five blocks; all run, and what the page says is printed",
    limit_s=60.0,
    elsewhere=True,
)
async def guide(site: Site) -> Finding:
    if in_clone() is None:
        return unknown(_NO_CLONE)
    pages = [_Page.of(file) for file in _pages("docs/usage-guide.md")]
    wrong = await _problems(pages, site)
    blocks, lines = (sum(len(getattr(page, of)) for page in pages) for of in ("blocks", "printed"))
    text = f"{blocks} blocks run, {lines} lines printed as the page says" if not wrong else "; ".join(wrong)
    return holds(blocks >= 5 and not wrong, text if pages else "there is no docs/usage-guide.md", blocks=blocks)


@claim(
    "S23",
    "A validation report with results and metrics",
    theme="documents",
    how="A steady load is simulated and run live for a short time, and the report is made of that; the page is "
    "searched for the numbers of both worlds.",
    threshold="the page shows the throughput that was measured in each world, to 1 %, needs nothing outside of itself, "
    "and has less than 3 MB",
    limit_s=60.0,
)
async def report(site: Site) -> Finding:
    from sim.show.report import render  # it brings the figures

    declared = steady_load()
    load = declared.offered_load.model_copy(update={"rate_per_s": 200, "duration_s": 1.0})
    scenario = declared.model_copy(update={"offered_load": load})
    simulated = await asyncio.to_thread(simulate, scenario, range(2))
    live = await run_live(scenario, range(1), repeats=1, url=site.url)
    compared = compare(simulated, live)
    page = render([compared], [], command="workbench report")
    outside = re.findall(r'(?:src|href)="(https?:[^"]+)"', page)
    measured, shown = (compared["throughput_per_s"].simulated, compared["throughput_per_s"].live), throughputs(page)
    right = len(shown) == 2 and all(abs(a - b) <= 0.01 * b for a, b in zip(shown, measured, strict=True))
    size = len(page.encode()) / 1e6
    text = f"a page of {size:.2f} MB with {page.count('<svg')} figures and {len(outside)} things from outside; "
    text += f"throughputs shown: {shown or 'none'}, measured: {[round(each, 1) for each in measured]}"
    return holds(right and not outside and size < 3, text, size_mb=size)


def throughputs(page: str) -> list[float]:
    """The simulated and the live throughput that a report shows; nothing where it shows none."""
    cell = r'.*?data-label="{}"><span>([\d.,]+)'
    found = re.search(f"<code>throughput_per_s</code>{cell.format('Simulated')}{cell.format('Live')}", page, re.DOTALL)
    return [float(each.replace(",", "")) for each in found.groups()] if found else []


@claim(
    "S24",
    "Integration examples of all patterns",
    theme="documents",
    how="The pages of request/response, fire-and-forget, saga and fan-out are looked for; each program in them is run "
    "as it stands, on a server of its own, and what is printed is compared with what the page says.",
    threshold="each of the four patterns has a page with a program; all run, and what the pages say is printed",
    limit_s=60.0,
    elsewhere=True,
)
async def examples(site: Site) -> Finding:
    if in_clone() is None:
        return unknown(_NO_CLONE)
    pages = [_Page.of(file) for file in _pages("docs/patterns/*.md")]
    missing = [
        pattern
        for pattern, sign in _PATTERNS.items()
        if not any(re.search(sign, "\n".join(page.blocks)) for page in pages)
    ]
    wrong = await _problems([page for page in pages if page.blocks], site)
    text = f"{4 - len(missing)} of 4 patterns have a page; {'; '.join(wrong) or 'all run and print what they say'}"
    text += f"; none shows {', '.join(missing)}" if missing else ""
    return holds(not missing and not wrong, text, pages=len(pages))


@claim(
    "S29",
    "19 or more integration tests pass on a real server",
    theme="documents",
    how="The tests of tests/fundamentals, one for each concept of the library, are run on a server of their own, "
    "because they look for keys that are left; passed ones are counted.",
    threshold="19 tests pass, and none fails",
    limit_s=90.0,
    elsewhere=True,
)
async def tests(site: Site) -> Finding:
    top = in_clone()
    if top is None or not (top / "tests/fundamentals").is_dir():
        return unknown(_NO_CLONE)
    if importlib.util.find_spec("pytest") is None:
        return unknown("pytest is not installed; `make` installs it")
    result = site.folder / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={result}"]
    with private_server() as server:
        done = await asyncio.to_thread(
            subprocess.run,
            [*command, "tests/fundamentals"],
            cwd=top,
            env=os.environ | {"REDIS_URL": server.url},
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
