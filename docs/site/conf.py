"""How Sphinx makes the site: `make docs`. The whole repository is its source, so every link works in a clone too."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # docs.site, which is no part of the package

project = "Event Workbench"
release = metadata.version("event-workbench")
copyright = "the authors of Event Workbench"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_copybutton",
    "docs.site.accessible",
    "docs.site.diagrams",
    "docs.site.docstrings",
    "docs.site.pages",
]
root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/*.md",
    "docs/**/*.md",
    "data/README.md",
    "examples/own_service/README.md",
    "notebooks/*.ipynb",
]

# Markdown as GitHub reads it.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

# Notebooks are shown as they were stored: the figures of a live run are those of the run.
nb_execution_mode = "off"
nb_merge_streams = True

# Docstrings are plain text in which `...` is code.
default_role = "code"
smartquotes = False  # what is quoted is often typed
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "Event Workbench"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
copybutton_exclude = ".linenos, .gp, .go"
