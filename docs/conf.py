"""Settings of Sphinx; build with `python -m sphinx -W -b html docs docs/_build/html`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import _notebooks

import ace_scanpy

os.environ.pop("MPLBACKEND", None)  # pictures of the tutorials go into the pages, whatever the shell is set to
for name in _notebooks.write(HERE / "tutorials"):
    print(f"tutorials/{name}.py is not run: PBMC3k is not on this machine", file=sys.stderr)

project = "ace_scanpy"
author = "The ace_scanpy authors"
version = release = ace_scanpy.__version__
extensions = [
    "_mathml",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "literal"

html_math_renderer = "mathml"
html_theme = "sphinx_book_theme"
html_title = "ace_scanpy"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_theme_options = {"show_navbar_depth": 1, "show_toc_level": 2, "navbar_persistent": []}
html_show_copyright = False

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 80
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Returns"]  # ours are prose and lists of fields, not types

myst_enable_extensions = ["amsmath", "dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(
    _notebooks.cache_folder(Path(os.environ.get("ACE_DOCS_CACHE", HERE / "_build")).resolve())
)
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
