"""The scripts of `tutorials/` as notebooks that MyST-NB runs, without the cells that only a script needs."""

from __future__ import annotations

import hashlib
import shutil
from importlib.metadata import version
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parents[1]
SCRIPT_ONLY = "script"
"""Tag of the cells that read the command line and save pictures."""

_PBMC3K = "ace.datasets.pbmc3k()"
_NUMERICAL = (
    "anndata",
    "captum",
    "marsilea",
    "matplotlib",
    "numpy",
    "pandas",
    "pydeseq2",
    "scanpy",
    "scikit-learn",
    "scipy",
    "torch",
)
_SETUP = """\
import warnings

# what other packages warn of names files of the machine that built the page; ours go through Scanpy's logger
warnings.filterwarnings("ignore", module="(?!ace_scanpy)")
%config InlineBackend.figure_formats = ["retina"]"""
_NOT_RUN = """\
```{admonition} Not run
This page was built where PBMC3k was neither on the disk nor could be downloaded, so it has no output and no pictures.
Run it with a network, or with ACE_DATA_DIR set to a folder that holds `pbmc3k_raw.h5ad`.
```"""


def write(folder: Path) -> list[str]:
    """Write one notebook per script to `folder`; the names of those that cannot run for want of data."""
    folder.mkdir(exist_ok=True)
    not_run = []
    for script in sorted((ROOT / "tutorials").glob("*.py")):
        notebook = jupytext.read(script)
        notebook.cells = [cell for cell in notebook.cells if SCRIPT_ONLY not in cell.metadata.get("tags", [])]
        notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        notebook.cells.insert(1, nbformat.v4.new_code_cell(_SETUP, metadata={"tags": ["remove-cell"]}))
        if _PBMC3K in script.read_text() and not _has_pbmc3k():
            notebook.metadata["mystnb"] = {"execution_mode": "off"}
            notebook.cells.insert(1, nbformat.v4.new_markdown_cell(_NOT_RUN))
            not_run.append(script.stem)
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{number}"
        nbformat.write(nbformat.from_dict(notebook), folder / f"{script.stem}.ipynb")
    return not_run


def cache_folder(parent: Path) -> Path:
    """Where executed notebooks are kept: a new folder, and the old one removed, when code or versions have changed."""
    digest = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in _NUMERICAL).encode())
    for module in sorted((ROOT / "ace_scanpy").rglob("*.py")):
        digest.update(module.read_bytes())
    folder = parent / f"notebooks-{digest.hexdigest()[:16]}"
    for stale in set(parent.glob("notebooks-*")) - {folder}:
        shutil.rmtree(stale)
    return folder


def _has_pbmc3k() -> bool:
    import ace_scanpy as ace

    try:
        ace.datasets.pbmc3k()
    except FileNotFoundError:
        return False
    return True
