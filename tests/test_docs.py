"""The site names everything that is public, and its notebooks are the tutorials."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import ace_scanpy as ace

ROOT = Path(__file__).parents[1]
MODULES = [name for name in ace.__all__ if not name.startswith("__")]
TUTORIALS = sorted((ROOT / "tutorials").glob("*.py"))


def _listed(module):
    """Names in the autosummaries of one module on the API page."""
    page = (ROOT / "docs" / "api.md").read_text()
    head = rf"\.\. currentmodule:: ace_scanpy\.{module}\n\n\.\. autosummary::\n(?:   :.+\n)+\n"
    return [name for names in re.findall(head + r"((?:   \w+\n)+)", page) for name in names.split()]


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_on_the_api_page_once(module):
    listed = _listed(module)
    assert sorted(listed) == sorted(getattr(ace, module).__all__)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_function_and_class_has_a_docstring(module):
    for name in getattr(ace, module).__all__:
        thing = getattr(getattr(ace, module), name)
        if hasattr(thing, "__module__") and thing.__module__.startswith("ace_scanpy"):
            assert thing.__doc__, name


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda script: script.stem)
def test_every_tutorial_is_in_the_site(script):
    index = (ROOT / "docs" / "tutorials" / "index.md").read_text()
    assert f"]({script.stem}.ipynb)" in index
    assert f"\n{script.stem}\n" in index.partition("```{toctree}")[2]


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda script: script.stem)
def test_pages_do_without_the_cells_of_the_script(script, tmp_path, monkeypatch):
    pytest.importorskip("jupytext")
    monkeypatch.syspath_prepend(ROOT / "docs")
    import _notebooks
    import nbformat

    monkeypatch.setattr(ace.datasets, "pbmc3k", lambda: None)
    assert _notebooks.write(tmp_path) == []
    notebook = nbformat.read(tmp_path / f"{script.stem}.ipynb", as_version=4)
    assert notebook.cells[0].source.startswith("# ")
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "import ace_scanpy as ace" in code
    assert "sys.argv" not in code
    assert "savefig" not in code


def test_equations_need_no_script_and_unknown_commands_are_seen(monkeypatch):
    pytest.importorskip("latex2mathml")
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(ROOT / "docs")
    import _mathml

    space = "{http://www.w3.org/1998/Math/MathML}"
    root = ET.fromstring(_mathml.mathml(r"\lVert\delta\rVert_1+\frac{a}{b}+\overline{x+y}", block=True))
    assert (root.tag, root.attrib["display"]) == (f"{space}math", "block")
    (fraction,) = root.iter(f"{space}mfrac")
    assert [part.text for part in fraction.iter(f"{space}mi")] == ["a", "b"]
    assert {part.get("stretchy") for part in root.iter(f"{space}mo") if part.text == "‖"} == {"false"}
    (mean,) = (part for part in root.iter() if part.get("class") == "mean")
    assert "".join(mean.itertext()) == "x+y"
    with pytest.raises(ValueError, match=r"no MathML for .*nosuchcommand"):
        _mathml.mathml(r"a+\nosuchcommand b", block=False)


def test_without_pbmc3k_its_page_says_so_and_is_not_run(tmp_path, monkeypatch):
    pytest.importorskip("jupytext")
    monkeypatch.syspath_prepend(ROOT / "docs")
    import _notebooks
    import nbformat

    def missing():
        raise FileNotFoundError

    monkeypatch.setattr(ace.datasets, "pbmc3k", missing)
    assert _notebooks.write(tmp_path) == ["pbmc3k"]
    notebook = nbformat.read(tmp_path / "pbmc3k.ipynb", as_version=4)
    assert notebook.metadata["mystnb"] == {"execution_mode": "off"}
    assert "Not run" in notebook.cells[1].source
    assert "mystnb" not in nbformat.read(tmp_path / "quickstart.ipynb", as_version=4).metadata
