"""The UpSet plot of top genes."""

from __future__ import annotations

import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scanpy as sc

import ace_scanpy as ace
from ace_scanpy import _extras

KEYS = ["rank_genes_groups", "wilcoxon", "t-test"]


@pytest.fixture
def several(explained):
    for method in KEYS[1:]:
        sc.tl.rank_genes_groups(explained, "group", method=method, key_added=method)
    return explained


def _combinations(axes):
    """Numbers on the bars, by the rankings whose dots are filled."""
    names = [text.get_text() for text in axes["names"].texts]
    dots = axes["combinations"].collections
    heights = [patch.get_height() for patch in axes["sizes"].patches]
    filled = [np.asarray(d.get_offsets()) for d in dots if hasattr(d, "get_offsets") and d.get_alpha() == 1]
    return {frozenset(names[int(y)] for _, y in points): heights[int(points[0][0])] for points in filled}


def test_numbers_are_the_genes_that_exactly_these_share(several):
    axes = ace.pl.overlap(several, "B", keys=KEYS, n_genes=8, show=False)
    tops = {key: set(several.uns[key]["names"]["B"][:8]) for key in KEYS}
    expected = {}
    for gene in set.union(*tops.values()):
        having = frozenset(key for key, top in tops.items() if gene in top)
        expected[having] = expected.get(having, 0) + 1
    assert _combinations(axes) == expected
    numbers = [text.get_text() for text in axes["sizes"].texts]
    assert numbers == [str(n) for n in sorted(expected.values(), reverse=True)]


def test_rankings_from_top_to_bottom_as_given(several):
    axes = ace.pl.overlap(several, "B", keys=KEYS[::-1], n_genes=5, show=False)
    by_height = sorted(axes["names"].texts, key=lambda text: -text.get_window_extent().y0)
    assert [text.get_text() for text in by_height] == KEYS[::-1]


def test_nothing_is_cut_off(several, names_inside):
    several.uns["a ranking with a very long name"] = several.uns["wilcoxon"]
    keys = [*KEYS, "a ranking with a very long name"]
    names_inside(ace.pl.overlap(several, "B", keys=keys, n_genes=8, show=False)["sizes"].figure)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"keys": ["wilcoxon"]}, ValueError, r"`keys`.*two or more"),
        ({"keys": ["wilcoxon", "wilcoxon"]}, ValueError, r"`keys`.*different"),
        ({"keys": "wilcoxon"}, ValueError, r"`keys`.*Got 'wilcoxon'"),
        ({"keys": ["wilcoxon", "no"]}, KeyError, r"'no' not found.*Available"),
        ({"n_genes": 100}, ValueError, r"`n_genes`=100.*only 35"),
        ({"group": "nobody"}, ValueError, r"`group`='nobody'"),
    ],
)
def test_wrong_arguments(several, arguments, error, match):
    with pytest.raises(error, match=match):
        ace.pl.overlap(several, **{"group": "B", "keys": KEYS, "show": False, **arguments})
    assert not plt.get_fignums()


def test_without_the_package_the_message_says_what_to_install(several, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(_extras.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"`ace\.pl\.overlap` needs.*'marsilea'.*ace_scanpy\[plots\]"):
        ace.pl.overlap(several, "B", keys=KEYS, show=False)


def test_matplotlibs_settings_stay(several, monkeypatch):
    """Importing the package changes them, so it is imported anew here."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("marsilea", "legendkit")]:
        monkeypatch.delitem(sys.modules, name)
    before = dict(mpl.rcParams)
    ace.pl.overlap(several, "B", keys=KEYS, n_genes=5, show=False)
    assert dict(mpl.rcParams) == before
