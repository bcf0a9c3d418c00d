"""Draws the figures of docs/scenario-loads.md anew, each from the example of its section: python -m docs.draw_loads"""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter

from sim.declare.declared import FilePlaces
from sim.declare.loads import Load
from sim.declare.plain_yaml import parse
from sim.show.loads import load_over_time, svg_file

PAGE = Path(__file__).with_name("scenario-loads.md")
FIGURES = Path(__file__).with_name("loads")


def examples() -> Iterator[tuple[str, Load]]:
    """The first load that each section declares, by its kind."""
    loads: TypeAdapter[Load] = TypeAdapter(Load)
    places = FilePlaces(PAGE.parent, sample_if_missing=False)
    for section in PAGE.read_text(encoding="utf-8").split("\n### ")[1:]:
        if found := re.search(r"```yaml\n(load:.*?)```", section, re.DOTALL):
            declared = parse(found[1])["load"]
            yield declared["kind"], loads.validate_python(declared, context=places)


if __name__ == "__main__":
    FIGURES.mkdir(exist_ok=True)
    for kind, load in examples():
        (FIGURES / f"{kind}.svg").write_text(svg_file(load_over_time(load)), encoding="utf-8")
