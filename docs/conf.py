"""Sphinx: pages in Markdown, the interface from docstrings."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

project = "kexue_jax"
copyright = "the authors of kexue_jax"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "kexue_jax"
myst_heading_anchors = 3

autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Numerics", "Source", "Run"]
napoleon_use_ivar = True


def own_sections(app, what, name, obj, options, lines):
    """Turns ``Source: text`` into a section with its text below, before napoleon."""
    del app, what, name, obj, options  # of no interest
    for place in range(len(lines) - 1, -1, -1):
        head, colon, text = lines[place].partition(": ")
        if head in napoleon_custom_sections and colon:
            lines[place : place + 1] = ["", f"{head}:", f"  {text}"]


def setup(app):
    """Connects what this file adds; napoleon listens with priority 500."""
    app.connect("autodoc-process-docstring", own_sections, priority=400)
