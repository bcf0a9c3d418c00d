"""Where the pages' templates are, and how they are filled in: all text is escaped."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Shown:
    """A figure and how to read it."""

    svg: Markup
    title: str
    see: str
    caption: str


@functools.cache  # to compile a page and its parts takes as long as to fill them in
def template(name: str, **functions: Callable[..., Any]) -> jinja2.Template:
    """A page's template, with functions that it calls."""
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals.update(functions)
    return pages.get_template(name)
