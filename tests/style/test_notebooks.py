"""The form of every notebook: a question, its answer, the method, checks, limits and the environment.

`make test` runs the notebooks; these tests read them as they are committed. Each rule is also shown to find its fault.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CELLS_MAX = 30
FUNCTION_LINES_MAX = 10
HEADINGS = ["## Method", "## Checks", "## Limits", "## Environment"]

Cell = dict[str, Any]
Notebook = dict[str, Any]


def source(cell: Cell) -> str:
    return "".join(cell["source"]).strip()


def code_of(notebook: Notebook) -> list[Cell]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def headings(notebook: Notebook) -> list[str]:
    prose = [source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    return [line.strip() for text in prose for line in text.splitlines() if line.startswith("## ")]


def section(notebook: Notebook, heading: str) -> list[Cell]:
    """The code cells under a heading, up to the next one."""
    cells, inside = [], False
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cells += [cell] if inside else []
        elif source(cell).startswith("## "):
            inside = source(cell).splitlines()[0] == heading
    return cells


def question(notebook: Notebook) -> Iterator[str]:
    cell = notebook["cells"][0]
    title = source(cell).partition("\n")[0]
    if cell["cell_type"] != "markdown" or not title.startswith("# ") or not title.endswith("?"):
        yield "the first cell is no title that asks a question: '# Does ...?'"


def answer(notebook: Notebook) -> Iterator[str]:
    cell = notebook["cells"][1]
    if cell["cell_type"] != "markdown" or source(cell).startswith("#") or not re.search(r"\d", source(cell)):
        yield "the second cell does not give the answer in words and numbers"


def order(notebook: Notebook) -> Iterator[str]:
    found = [heading for heading in headings(notebook) if heading in HEADINGS]
    if found != HEADINGS:
        yield f"it has the headings {found}; it needs {HEADINGS}, in this order"


def parameters(notebook: Notebook) -> Iterator[str]:
    tagged = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1 or tagged[0]["cell_type"] != "code":
        yield f"{len(tagged)} cells are tagged `parameters`; one code cell is"


def checks(notebook: Notebook) -> Iterator[str]:
    cells = section(notebook, "## Checks")
    if not any(isinstance(node, ast.Assert) for cell in cells for node in ast.walk(ast.parse(source(cell)))):
        yield "'## Checks' is not followed by code cells that assert something"


def size(notebook: Notebook) -> Iterator[str]:
    if len(notebook["cells"]) > CELLS_MAX:
        yield f"it has {len(notebook['cells'])} cells; ask one question in at most {CELLS_MAX}"
    for cell in code_of(notebook):
        for node in ast.walk(ast.parse(source(cell))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    yield f"{node.name} has {lines} lines; over {FUNCTION_LINES_MAX} it belongs in sim"


def run_from_top_to_bottom(notebook: Notebook) -> Iterator[str]:
    cells = code_of(notebook)
    if [cell["execution_count"] for cell in cells] != list(range(1, len(cells) + 1)):
        yield "its outputs are not those of one run from top to bottom"
    outputs = [output for cell in cells for output in cell["outputs"]]
    if not outputs:
        yield "it has no outputs"
    if any(output["output_type"] == "error" for output in outputs):
        yield "a cell ended with an error"


def no_machine_paths(notebook: Notebook) -> Iterator[str]:
    written = json.dumps([cell["outputs"] for cell in code_of(notebook)])
    for path in sorted(set(re.findall(r"(?<![\w.])/(?:work|root|home|Users|tmp|usr)/[\w.-]+", written))):
        yield f"{path} in an output exists on one machine only"


RULES = [question, answer, order, parameters, checks, size, run_from_top_to_bottom, no_machine_paths]


def faults(notebook: Notebook) -> list[str]:
    return [fault for rule in RULES for fault in rule(notebook)]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_form(path: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    nbformat.validate(notebook)
    assert not faults(notebook)


def markdown(text: str) -> Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code(count: int, text: str, *tags: str) -> Cell:
    outputs = [{"output_type": "stream", "name": "stdout", "text": "ok"}]
    return {
        "cell_type": "code",
        "execution_count": count,
        "metadata": {"tags": list(tags)},
        "outputs": outputs,
        "source": text,
    }


GOOD: Notebook = {
    "nbformat": 4,
    "nbformat_minor": 4,
    "metadata": {},
    "cells": [
        markdown("# Does it hold?"),
        markdown("Yes: 3 of 3 runs."),
        markdown("## Method\nRun it."),
        code(1, "runs = 3", "parameters"),
        code(2, "held = await run(runs)"),
        markdown("## Checks"),
        code(3, "assert held == 3"),
        markdown("## Limits"),
        markdown("## Environment"),
        code(4, "environment()"),
    ],
}


def with_output(cell: int, **output: Any) -> Callable[[Notebook], None]:
    return lambda notebook: notebook["cells"][cell]["outputs"].append(output)


def with_source(cell: int, text: str) -> Callable[[Notebook], None]:
    return lambda notebook: notebook["cells"][cell].update(source=text)


# What breaks the good notebook, and a part of the fault that is then found.
BROKEN: dict[str, tuple[Callable[[Notebook], object], str]] = {
    "statement": (with_source(0, "# It holds"), "asks a question"),
    "no numbers": (with_source(1, "Yes."), "the answer"),
    "no method": (with_source(2, "## How"), "headings"),
    "no parameters": (lambda notebook: notebook["cells"][3]["metadata"].clear(), "parameters"),
    "no assertion": (with_source(6, "print(held)"), "'## Checks'"),
    "no checks": (lambda notebook: notebook["cells"].pop(6), "'## Checks'"),
    "long": (lambda notebook: notebook["cells"].extend([markdown("more")] * 21), "31 cells"),
    "long function": (with_source(4, "def f():\n" + "    f()\n" * 10), "belongs in sim"),
    "run in another order": (lambda notebook: notebook["cells"].pop(4), "top to bottom"),
    "cleared": (lambda notebook: [cell.update(outputs=[]) for cell in code_of(notebook)], "no outputs"),
    "failed": (with_output(4, output_type="error", ename="E", evalue="", traceback=[]), "error"),
    "machine path": (with_output(4, output_type="stream", name="stdout", text="in /TMP/x".lower()), "one machine"),
}


def test_the_good_notebook_has_no_fault() -> None:
    nbformat.validate(GOOD)
    assert not faults(GOOD)


@pytest.mark.parametrize(("breaks", "said"), BROKEN.values(), ids=BROKEN)
def test_the_fault_is_found(breaks: Callable[[Notebook], object], said: str) -> None:
    notebook = deepcopy(GOOD)
    breaks(notebook)
    assert any(said in fault for fault in faults(notebook))
