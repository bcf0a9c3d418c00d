"""The repository's style, as far as no linter checks it. Each rule is also shown to find the fault it is for."""

import ast
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from tests.repository import TOP, paths

CLASS_LINES_MAX = 250
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
TEST_LINES_MAX = 70  # a test may tell a long story
LINE_LENGTH_MAX = 120
VAGUE_WORDS = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}
# Pictures where the field has a term: token bucket, fetch size, liveness, process pool, failure draw, fault proxy.
OBSCURE_WORDS = {"clerk", "crew", "luck", "outlaw", "portion", "pulse", "purse", "relay", "teller"}

Rule = Callable[[str], Iterator[str]]  # the text of a file -> what is wrong with it
Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@cache
def files() -> dict[str, str]:
    """Every text file of the repository, committed or about to be, by its path from the top."""
    texts = {}
    for name in paths():
        with contextlib.suppress(UnicodeDecodeError):  # not text
            texts[name] = (TOP / name).read_text("utf-8")
    return texts


def long_lines(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > LINE_LENGTH_MAX:
            yield f"line {number} has {len(line)} characters; at most {LINE_LENGTH_MAX} fit on a screen"


def long_functions(text: str) -> Iterator[str]:
    yield from _longer(text, FUNCTION_LINES_MAX, ast.FunctionDef, ast.AsyncFunctionDef)


def long_tests(text: str) -> Iterator[str]:
    yield from _longer(text, TEST_LINES_MAX, ast.FunctionDef, ast.AsyncFunctionDef)


def long_classes(text: str) -> Iterator[str]:
    yield from _longer(text, CLASS_LINES_MAX, ast.ClassDef)


def _longer(text: str, lines_max: int, *kinds: type[Node]) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, kinds):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > lines_max:
                where = f"line {node.lineno}: {node.name}"
                yield f"{where} has {lines} lines, over {lines_max}; split it where it does two things"


def long_files(text: str) -> Iterator[str]:
    if (lines := len(text.splitlines())) > FILE_LINES_MAX:
        yield f"{lines} lines, over {FILE_LINES_MAX}; split it by role"


def obscure_names(text: str) -> Iterator[str]:
    for name in sorted(_names(ast.parse(text))):
        if found := OBSCURE_WORDS & set(_words(name)):
            yield f"{name}: {found.pop()} is no word of the field"


def _names(tree: ast.Module) -> set[str]:
    """Every name that the source gives to something, or uses."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.alias(name=name, asname=other):
                found |= {name, other or name}
            case ast.ImportFrom(module=str(name)):
                found.add(name)
    return found


def _words(name: str) -> Iterator[str]:
    """The words of a name, in lower case and in the singular: `_CREWS`, `crewOf` and `Crew` all have `crew`."""
    for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name):
        yield word.lower()
        yield word.lower().removesuffix("s")


def unfinished_notes(text: str) -> Iterator[str]:
    for note in re.finditer(r"\b(TO[D]O|FIX[M]E)\b.*", text):
        yield f"{note[0]!r}: do it, or file it"


def machine_paths(text: str) -> Iterator[str]:
    for path in re.finditer(r"(?<![\w.}*])/(work|root|home|Users)/[\w.-]+", text):
        yield f"{path[0]} exists on one machine only"


def unpinned(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==\d[\w.!]*", line):
            yield f"{line!r} is not name==version"


def everywhere(*endings: str) -> Callable[[str], bool]:
    return lambda name: name.endswith(endings)


def outside_tests(*endings: str) -> Callable[[str], bool]:
    return lambda name: name.endswith(endings) and not name.startswith("tests/")


def in_tests(*endings: str) -> Callable[[str], bool]:
    return lambda name: name.endswith(endings) and name.startswith("tests/")


# A rule, the files that it is for, and a text that breaks it.
RULES: list[tuple[Rule, Callable[[str], bool], str]] = [
    (long_lines, everywhere(".lua", ".css", ".html", "Makefile"), "x" * 121),  # ruff checks Python's
    (long_functions, outside_tests(".py"), "def f():\n" + "    f()\n" * 60),
    (long_tests, in_tests(".py"), "async def f():\n" + "    f()\n" * 70),
    (long_classes, outside_tests(".py"), "class A:\n" + "    a = 1\n" * 250),
    (long_files, outside_tests(".py", ".lua", ".html", "Makefile"), "x\n" * 401),
    (obscure_names, everywhere(".py"), "def f(crews): ..."),
    (unfinished_notes, everywhere(""), "# todo: retry".upper()),
    (machine_paths, everywhere(""), "open('/ROOT/data.csv')".lower()),
    (unpinned, everywhere("constraints.txt"), "redis @ file:///redis.whl"),
]


NAMES = [rule.__name__ for rule, _, _ in RULES]


@pytest.mark.parametrize(("rule", "is_for"), [rule[:2] for rule in RULES], ids=NAMES)
def test_files_keep(rule: Rule, is_for: Callable[[str], bool]) -> None:
    chosen = {name: text for name, text in files().items() if is_for(name)}
    assert chosen
    faults = [f"{name}: {fault}" for name, text in chosen.items() for fault in rule(text)]
    assert not faults, "\n".join(["", *faults])


@pytest.mark.parametrize(("rule", "broken"), [(rule, broken) for rule, _, broken in RULES], ids=NAMES)
def test_the_rule_finds_its_fault(rule: Rule, broken: str) -> None:
    assert list(rule(broken))


@pytest.mark.parametrize(
    "source",
    [
        "def relay(): ...",
        "async def pass_relay(): ...",
        "class Outlaw: ...",
        "class OutlawConsumer: ...",
        "_CREW = 1",
        "purse.take()",
        "run.portion_max",
        "f(teller=1)",
        "lambda pulses: 1",
        "import shop.clerk",
        "from shop.clerk import name",
        "from shop import name as luck",
    ],
)
def test_an_obscure_word_is_found_wherever_it_stands_in_a_name(source: str) -> None:
    assert list(obscure_names(source))


def test_a_name_that_only_contains_the_letters_is_none() -> None:
    assert not list(obscure_names("proportion = impulse = unlucky = storyteller = 'relay'  # crew"))


def vague_names(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if VAGUE_WORDS & set(re.split(r"[/_.]", path.lower()))]


def test_names_say_what_is_inside() -> None:
    assert not vague_names(name for name in files() if name.endswith(".py"))
    assert vague_names(["sim/utils.py", "sim/queue_manager.py", "sim/common/load.py", "sim/load.py"]) == [
        "sim/utils.py",
        "sim/queue_manager.py",
        "sim/common/load.py",
    ]


def mentions(source: str) -> set[str]:
    """Every module that the source imports, and every string in it: a module may be started by its name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def dead(parts: Iterable[str], sources: Mapping[str, str]) -> list[str]:
    """The files of the packages that no other source mentions, by module, by file name or by its stem."""
    mentioned = {name: mentions(source) for name, source in sources.items()}

    def alive(part: str) -> bool:
        path = Path(part)
        names = {path.name} if path.suffix == ".py" else {path.name, path.stem}
        names.add(part.removesuffix(".py").replace("/", ".").removesuffix(".__init__"))
        return any(names & found for name, found in mentioned.items() if name != part)

    return [part for part in parts if not alive(part)]


def python_of(notebook: str) -> str:
    """The notebook's imports as one source."""
    lines = "".join("".join(cell["source"]) + "\n" for cell in json.loads(notebook)["cells"]).splitlines()
    return "\n".join(line for line in lines if re.match(r"(import|from) [\w., ]+( as \w+)?$", line))


def templates_of(template: str) -> str:
    """The names of the templates that it uses, as one source."""
    return "\n".join(re.findall(r'\{%-? (?:from|import|include|extends) ("[^"]+")', template))


FOR_TESTS = {"sim/infer/theory.py"}  # the known answers: tests/model compares the simulated world with them
FOR_USERS = {"eventlib/catalog/__init__.py", "eventlib/opentelemetry/__init__.py"}  # no module here needs them


def test_no_file_of_the_packages_is_dead() -> None:
    parts = {
        name
        for name in files()
        if name.startswith(("eventlib/", "sim/")) and not name.endswith(("py.typed", "__init__.py"))
    }
    sources = {name: text for name, text in files().items() if name.endswith(".py") and not name.startswith("tests/")}
    sources |= {name: python_of(text) for name, text in files().items() if name.endswith(".ipynb")}
    sources |= {name: templates_of(text) for name, text in files().items() if name.endswith(".html")}
    scripts = tomllib.loads(files()["pyproject.toml"])["project"]["scripts"].values()
    sources["pyproject.toml"] = "\n".join(f"import {script.partition(':')[0]}" for script in scripts)
    assert not dead(sorted(parts - FOR_TESTS - FOR_USERS), sources)


def test_a_dead_file_is_found() -> None:
    sources = {"sim/a.py": "import sim.b", "sim/b.py": "from sim import c", "sim/lost.py": "import sim.lost"}
    parts = ["sim/b.py", "sim/c.py", "sim/lost.py", "sim/page.html"]
    assert dead(parts, sources) == ["sim/lost.py", "sim/page.html"]


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads(files()["pyproject.toml"])["project"]
    wanted = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]

    def normal(requirement: str) -> str:
        return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0].lower())

    pinned = {normal(line) for line in files()["constraints.txt"].splitlines()}
    assert {normal(requirement) for requirement in wanted} - pinned == {project["name"]}  # an extra may include others


# CI runs in a clone. A ZIP has no history and may lose what is executable: these tests have nothing to see there.
of_a_clone = pytest.mark.skipif(not (TOP / ".git").exists(), reason="this is no clone")

SCHEMAS = [
    (["docker-compose.yml"], "vendor.compose-spec"),
    ([".github/workflows/ci.yml", ".github/workflows/nightly.yml", "examples/first/ci.yml"], "vendor.github-workflows"),
    ([f".github/ISSUE_TEMPLATE/{name}.yml" for name in ("defect", "claim", "idea")], "vendor.github-issue-forms"),
    ([".github/ISSUE_TEMPLATE/config.yml"], "vendor.github-issue-config"),
]


@pytest.mark.parametrize(("names", "schema"), SCHEMAS)
def test_configuration_follows_its_schema(names: list[str], schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *names]
    verdict = subprocess.run(command, cwd=TOP, check=False, capture_output=True, text=True)
    assert verdict.returncode == 0, verdict.stdout


def test_make_help_names_the_commands() -> None:
    # Without the flags of the make that runs this test: they (-j, -n) are not meant for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--no-print-directory"]
    lines = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=True).stdout
    commands = [line.split(maxsplit=2) for line in lines.splitlines()]
    assert [name for _, name, _ in commands] == [
        "report",
        "test",
        "notebooks",
        "loops",
        "check",
        "lowest",
        "lab",
        "docs",
        "fidelity",
        "bench",
        "campaign",
        "release-check",
    ]


ODD_COPIES = {".git": "gitdir: elsewhere", "a/.venv/x.py": "", "data/x.csv": "", "reports/x.html": "", "x.whl": ""}


def test_files_are_found_without_git(tmp_path: Path) -> None:
    there = {"data/sample/x.csv": "", "other/data/x.csv": "", "reports.py": "", "a/b.py": ""}
    for name, text in (there | ODD_COPIES).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    shutil.copy(TOP / ".gitignore", tmp_path)
    assert set(paths(tmp_path)) == {*there, ".gitignore"}


def git(*arguments: str) -> list[str]:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True).stdout.splitlines()


@of_a_clone
def test_git_lists_the_same_files() -> None:
    listed = git("ls-files", "--cached", "--others", "--exclude-standard")
    assert sorted(paths()) == sorted(name for name in listed if (TOP / name).exists())


@of_a_clone
def test_every_clone_has_the_same_line_ends() -> None:
    """Also where git is set to write CRLF: bash and the stored events know none."""
    ends = dict.fromkeys(line.rpartition(": ")[2] for line in git("check-attr", "eol", "--", *sorted(files())))
    assert set(ends) == {"lf"}
    assert not [name for name in files() if b"\r" in (TOP / name).read_bytes()]


@of_a_clone
def test_the_gate_can_be_started() -> None:
    assert os.access(TOP / ".ci" / "run", os.X_OK)
