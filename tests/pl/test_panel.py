"""The plot of signed panels."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scanpy as sc
from matplotlib.colors import to_hex, to_rgb

import ace_scanpy as ace

COLORS = ["#112233", "#445566", "#778899", "#aabbcc"]


def _bars(ax):
    """Widths from the top of the axes down."""
    downwards = np.sign(np.subtract(*ax.get_ylim()))
    return [p.get_width() for p in sorted(ax.patches, key=lambda p: downwards * p.get_y())]


def _names(ax):
    downwards = np.sign(np.subtract(*ax.get_ylim()))
    return [t.get_text() for t in sorted(ax.texts, key=lambda t: downwards * t.get_position()[1])]


def test_one_axes_per_group_in_order(explained):
    axes = ace.pl.panel(explained, show=False)
    groups = list(explained.obs["group"].cat.categories)
    assert [ax.get_title() for ax in axes] == [f"{group} vs. rest" for group in groups]
    assert len({id(ax.figure) for ax in axes}) == 1
    assert plt.gcf().axes == axes


@pytest.mark.parametrize("n_genes", [1, 5, 10])
def test_bars_are_the_scores_from_the_top_down(explained, n_genes):
    axes = ace.pl.panel(explained, n_genes=n_genes, show=False)
    for ax, group in zip(axes, explained.obs["group"].cat.categories, strict=True):
        table = ace.get.panel(explained, group, size=n_genes)
        assert _names(ax) == list(table["names"])
        np.testing.assert_allclose(_bars(ax), table["scores"], rtol=1e-6)
        low, high = ax.get_xlim()
        assert low < min(0, table["scores"].min())
        assert high > max(0, table["scores"].max())
        assert -low == pytest.approx(high)


def test_all_axes_have_one_scale(explained):
    limits = {ax.get_xlim() for ax in ace.pl.panel(explained, n_genes=4, show=False)}
    assert len(limits) == 1


def test_names_stand_on_the_free_side(explained):
    for ax in ace.pl.panel(explained, n_genes=6, show=False):
        widths = dict(zip(_names(ax), _bars(ax), strict=True))
        for text in ax.texts:
            assert np.sign(text.get_position()[0]) == -np.sign(widths[text.get_text()])


def test_colours_are_those_of_the_groups(explained):
    explained.uns["group_colors"] = COLORS
    chosen = ["Mono 14⁺", "B"]
    axes = ace.pl.panel(explained, groups=chosen, n_genes=4, show=False)
    assert [ax.get_title() for ax in axes] == [f"{group} vs. rest" for group in chosen]
    for ax, expected in zip(axes, (COLORS[2], COLORS[0]), strict=True):
        for patch in ax.patches:
            assert to_hex(patch.get_edgecolor()) == expected
            # direction does not rest on colour: depleted genes are white and hatched
            enriched = patch.get_width() > 0
            assert to_hex(patch.get_facecolor()) == (expected if enriched else "#ffffff")
            assert bool(patch.get_hatch()) != enriched


def test_without_stored_colours_groups_differ_and_nothing_is_stored(explained, contents, assert_same_contents):
    before = contents(explained)
    axes = ace.pl.panel(explained, n_genes=2, show=False)
    assert len({to_hex(ax.patches[0].get_edgecolor()) for ax in axes}) == 4
    assert_same_contents(contents(explained), before)


def test_colour_of_a_group_does_not_depend_on_the_others(embedded):
    """Against a reference that group has no field, but keeps its colour in the order of the categories."""
    embedded.uns["group_colors"] = COLORS
    ace.tl.explain(embedded, "group", groups=["dendritic"], reference="B")
    (ax,) = ace.pl.panel(embedded, n_genes=2, show=False)
    assert ax.get_title() == "dendritic vs. B"
    assert to_hex(ax.patches[0].get_edgecolor()) == COLORS[3]


def test_draws_on_given_axes(explained):
    figure, (left, right) = plt.subplots(1, 2)
    found = ace.pl.panel(explained, groups=["B"], n_genes=3, ax=right)
    assert found is right
    assert figure.axes == [left, right]
    assert _names(right) == list(ace.get.panel(explained, "B", size=3)["names"])
    assert not left.patches


def test_shows_by_default(explained, monkeypatch):
    shown = []
    monkeypatch.setattr(mpl.pyplot, "show", lambda *_args, **_kwargs: shown.append(True))
    assert ace.pl.panel(explained, n_genes=2, show=True) is None
    assert shown == [True]
    assert len(ace.pl.panel(explained, n_genes=2, show=False)) == 4
    assert shown == [True]


def test_many_groups_wrap(explained):
    explained.obs["many"] = np.array([f"g{i:02d}" for i in range(10)])[np.arange(80) % 10]
    ace.tl.explain(explained, "many", lam=1.0)
    axes = ace.pl.panel(explained, n_genes=2, show=False)
    assert len(axes) == 10
    assert len(plt.gcf().axes) == 10
    rows = {round(ax.get_subplotspec().get_position(ax.figure).y0, 3) for ax in axes}
    assert len(rows) == 3


def test_fewer_genes_stored_than_asked_for(explained):
    ace.tl.explain(explained, "group", n_genes=2, key_added="short")
    for ax in ace.pl.panel(explained, key="short", n_genes=10, show=False):
        assert len(ax.patches) == 2


def test_file_with_letters_of_any_script(explained, tmp_path):
    """Bars for names beyond ASCII come out in a picture."""
    axes = ace.pl.panel(explained, groups=["T/NK ζ"], n_genes=6, show=False)
    path = tmp_path / "panel.png"
    axes[0].figure.savefig(path, dpi=40)
    picture = mpl.image.imread(path)
    assert picture.std() > 0.01


def test_no_such_ranking(explained):
    with pytest.raises(KeyError, match=r"`key`='no'.*\['rank_genes_groups'\]"):
        ace.pl.panel(explained, key="no", show=False)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"groups": ["nobody"]}, ValueError, r"`groups`='nobody'.*'B', 'T/NK ζ'"),
        ({"groups": "B"}, TypeError, r"`groups`.*\['B'\]"),
        ({"groups": []}, ValueError, r"`groups`"),
        ({"n_genes": 0}, ValueError, r"`n_genes`.*at least 1"),
        ({"n_genes": 1.5}, TypeError, r"`n_genes`.*1\.5"),
    ],
    ids=str,
)
def test_wrong_arguments(explained, arguments, error, match):
    with pytest.raises(error, match=match):
        ace.pl.panel(explained, show=False, **arguments)
    assert not plt.get_fignums()


def test_one_axes_for_several_groups(explained):
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match=r"`ax`.*4 are asked for.*`groups`"):
        ace.pl.panel(explained, ax=ax)


def test_scanpys_ranking_is_refused_by_name(planted):
    """It has no directions to draw; its own plots show it."""
    sc.tl.rank_genes_groups(planted, "group")
    with pytest.raises(ValueError, match=r"ace\.tl\.explain"):
        ace.pl.panel(planted, show=False)
    assert not plt.get_fignums()


def test_symbols_of_the_matrix_that_was_ranked(explained):
    explained.var["symbol"] = [f"S{i}" for i in range(explained.n_vars)]
    (ax,) = ace.pl.panel(explained, groups=["B"], n_genes=4, gene_symbols="symbol", show=False)
    assert _names(ax) == list(explained.var["symbol"][ace.get.panel(explained, "B", size=4)["names"]])
    explained.raw = explained.copy()
    explained.uns["rank_genes_groups"]["params"]["use_raw"] = True
    explained.var["other"] = "x"  # not in raw
    with pytest.raises(KeyError, match=r"`gene_symbols`='other'.*adata\.raw\.var.*'symbol'"):
        ace.pl.panel(explained, gene_symbols="other", show=False)
    assert not plt.get_fignums()[1:]


def test_scanpys_settings_decide_whether_to_show(explained, monkeypatch):
    shown = []
    monkeypatch.setattr(mpl.pyplot, "show", lambda *_args, **_kwargs: shown.append(True))
    assert ace.pl.panel(explained, n_genes=2) is None
    sc.settings.autoshow = False
    try:
        assert len(ace.pl.panel(explained, n_genes=2)) == 4
    finally:
        sc.settings.autoshow = True
    assert shown == [True]


def test_given_axes_say_what_the_sides_mean(explained):
    _, ax = plt.subplots()
    ace.pl.panel(explained, groups=["B"], ax=ax)
    assert "← depleted, enriched →" in ax.get_xlabel()


def test_colours_of_up_to_eight_groups_are_for_any_vision(explained):
    axes = ace.pl.panel(explained, n_genes=2, show=False)
    okabe_ito = ["#e69f00", "#0072b2", "#009e73", "#d55e00"]
    assert [to_hex(ax.patches[0].get_edgecolor()) for ax in axes] == okabe_ito


def test_hatches_of_pale_colours_are_darkened(explained):
    explained.uns["group_colors"] = ["#ffffff", "#ffdbe5", "#000000", "#0000ff"]
    edges = [to_rgb(ax.patches[0].get_edgecolor()) for ax in ace.pl.panel(explained, n_genes=8, show=False)]
    assert all(np.dot(edge, (0.299, 0.587, 0.114)) < 0.76 for edge in edges)
    assert edges[3] == (0, 0, 1)
