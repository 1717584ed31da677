"""Scanpy's plots: of the matrix that was ranked, one direction at a time."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import anndata as ad
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import ace_scanpy as ace

GRIDS = ["dotplot", "matrixplot", "stacked_violin", "heatmap", "tracksplot"]
ENRICHED = {"a": ["g0", "g1"], "b": ["g5", "g6"], "c": ["g0", "g2"], "d": ["g6", "g5"]}
DEPLETED = {"a": ["g4"], "b": ["g9"], "c": ["g4"], "d": ["g9"]}
BOTH = {"a": ["g0", "g4"], "b": ["g5", "g6"], "c": ["g0", "g4"], "d": ["g6", "g5"]}


@pytest.fixture(params=["X", "layer", "raw"])
def matrix(request, ranked):
    """The AnnData with a ranking said to be of one of its matrices, and that matrix."""
    params = ranked.uns["rank_genes_groups"]["params"]
    params["layer"] = "double" if request.param == "layer" else None
    params["use_raw"] = request.param == "raw"
    return ranked, ranked.X * {"X": 1, "layer": 2, "raw": 10}[request.param]


def _draw(kind, adata, **options):
    return getattr(ace.pl, f"rank_genes_groups_{kind}")(
        adata, n_genes=options.pop("n_genes", 2), dendrogram=False, **options
    )


def _flat(genes):
    return [name for names in genes.values() for name in names]


def _means(adata, values, names):
    groups = adata.obs["group"].to_numpy()
    columns = adata.var_names.get_indexer(names)
    return np.stack([values[groups == group][:, columns].mean(axis=0) for group in "abcd"])


@pytest.mark.parametrize("kind", ["dotplot", "matrixplot"])
def test_means_are_of_the_ranked_matrix(matrix, kind):
    adata, values = matrix
    figure = _draw(kind, adata, return_fig=True)
    shown = figure.dot_color_df if kind == "dotplot" else figure.values_df
    np.testing.assert_allclose(shown.to_numpy(), _means(adata, values, _flat(BOTH)), rtol=1e-5)


def test_stacked_violins_are_of_the_ranked_matrix(matrix):
    adata, values = matrix
    figure = _draw("stacked_violin", adata, return_fig=True)
    columns = adata.var_names.get_indexer(_flat(BOTH))
    np.testing.assert_allclose(np.sort(figure.obs_tidy.to_numpy(), axis=0), np.sort(values[:, columns], axis=0))


def test_heatmap_is_of_the_ranked_matrix(matrix):
    adata, values = matrix
    axes = _draw("heatmap", adata, show=False)
    shown = np.asarray(axes["heatmap_ax"].images[0].get_array()).reshape(4, 10, -1)
    columns = adata.var_names.get_indexer(_flat(BOTH))
    for cells, group in zip(shown, "abcd", strict=True):  # Scanpy sorts by group, in no order inside
        expected = values[(adata.obs["group"] == group).to_numpy()][:, columns]
        np.testing.assert_allclose(np.sort(cells, axis=0), np.sort(expected, axis=0), rtol=1e-6)


def test_tracks_are_of_the_ranked_matrix(matrix):
    adata, values = matrix
    axes = _draw("tracksplot", adata, show=False)
    tops = [ax.get_ylim()[1] for ax in axes["track_axes"]]
    highest = values[:, adata.var_names.get_indexer(_flat(BOTH))].max(axis=0)
    np.testing.assert_allclose(tops, 1.05 * highest, rtol=1e-5)  # a margin of 5 %


def test_violins_are_of_the_ranked_matrix(matrix):
    """Strip points, the group's and the others', are the values of the gene."""
    adata, values = matrix
    axes = ace.pl.rank_genes_groups_violin(adata, ["b", "d"], n_genes=2, show=False)
    for ax, group in zip(axes, "bd", strict=True):
        points = [c.get_offsets() for c in ax.collections if isinstance(c, mpl.collections.PathCollection)]
        places = np.concatenate([np.asarray(p) for p in points if len(p)])
        inside = (adata.obs["group"] == group).to_numpy()
        for position, name in enumerate(BOTH[group]):
            gene = values[:, adata.var_names.get_loc(name)]
            near = places[np.abs(places[:, 0] - position) < 0.5]
            for side, cells in ((near[:, 0] < position, inside), (near[:, 0] > position, ~inside)):
                np.testing.assert_allclose(np.sort(near[side][:, 1]), np.sort(gene[cells]), rtol=1e-5)


def test_another_matrix_on_demand(ranked):
    figure = _draw("matrixplot", ranked, layer="double", return_fig=True)
    np.testing.assert_allclose(figure.values_df.to_numpy(), _means(ranked, 2 * ranked.X, _flat(BOTH)), rtol=1e-5)
    figure = _draw("matrixplot", ranked, use_raw=True, return_fig=True)
    np.testing.assert_allclose(figure.values_df.to_numpy(), _means(ranked, 10 * ranked.X, _flat(BOTH)), rtol=1e-5)


def _genes_of(kind, adata, **options):
    """Names on the axis of a grid plot, in order."""
    if kind == "heatmap":
        axes = _draw(kind, adata, show=False, show_gene_labels=True, **options)
        return [label.get_text() for label in axes["heatmap_ax"].get_xticklabels()]
    if kind == "tracksplot":
        return [ax.get_ylabel() for ax in _draw(kind, adata, show=False, **options)["track_axes"] if ax.get_ylabel()]
    axes = _draw(kind, adata, show=False, **options)
    return [label.get_text() for label in axes["mainplot_ax"].get_xticklabels()]


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize(("direction", "genes"), [("enriched", ENRICHED), ("both", BOTH)])
def test_directions(ranked, kind, direction, genes):
    assert _genes_of(kind, ranked, direction=direction) == _flat(genes)


@pytest.mark.parametrize("kind", GRIDS)
def test_depleted_genes(ranked, kind):
    assert _genes_of(kind, ranked, direction="depleted", n_genes=1) == _flat(DEPLETED)


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("use_raw", [False, True])
def test_symbols_and_chosen_groups(ranked, kind, use_raw):
    ranked.uns["rank_genes_groups"]["params"]["use_raw"] = use_raw
    found = _genes_of(kind, ranked, groups=["d", "a"], gene_symbols="symbol")
    assert found == ["SYM6", "SYM5", "SYM0", "SYM4"]


def test_fold_changes_leave_genes_out(ranked, logged):
    with logged() as log:
        figure = _draw("dotplot", ranked, min_logfoldchange=1.3, return_fig=True)
    assert list(figure.var_names) == ["g0", "g5", "g6"]  # a's, b's and d's
    assert log.getvalue().count("No genes to draw") == 1
    assert "No genes to draw for 'c'" in log.getvalue()
    with pytest.raises(ValueError, match=r"No group has a gene"):
        _draw("dotplot", ranked, min_logfoldchange=100.0, show=False)


def test_scanpys_ranking_by_the_sign_of_its_scores(ranked):
    sc.tl.rank_genes_groups(ranked, "group", method="t-test", use_raw=False, rankby_abs=True, key_added="t")
    entry = ranked.uns["t"]
    for direction, sign in (("enriched", 1), ("depleted", -1)):
        figure = _draw("dotplot", ranked, key="t", direction=direction, n_genes=1, return_fig=True)
        expected = [entry["names"][g][np.sign(entry["scores"][g]) == sign][0] for g in "abcd"]
        assert list(figure.var_names) == expected


@pytest.mark.parametrize(("kind", "options"), [("heatmap", {}), ("heatmap", {"swap_axes": True}), ("tracksplot", {})])
def test_names_of_groups_of_few_cells_do_not_cover_each_other(ranked, kind, options):
    """Groups of 37, 1, 1 and 1 of 40 cells, in this order: Scanpy's names are at the middle of each."""
    codes = np.repeat([0, 1, 2, 3], [37, 1, 1, 1])
    names = ["long name of a", "b", "longer name of c", "d"]
    ranked.obs["group"] = pd.Categorical.from_codes(codes, list("abcd"))
    ranked.rename_categories("group", names)
    ax = _draw(kind, ranked, show=False, **options)["groupby_ax"]
    plt.gcf().canvas.draw()
    sideways = kind == "tracksplot" or bool(options)
    labels = ax.get_xticklabels() if sideways else ax.get_yticklabels()
    assert [label.get_text() for label in labels] == names
    boxes = [label.get_window_extent() for label in labels]
    for one, other in pairwise(boxes):
        assert (one.x1 <= other.x0 + 0.5) if sideways else (one.y0 >= other.y1 - 0.5)
    places = (ax.get_xticks() if sideways else ax.get_yticks()).tolist()
    assert places[0] == pytest.approx(18.5)  # what is not in the way stays
    assert max(places) <= 40


def _texts(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


@pytest.mark.parametrize(("direction", "signs"), [("enriched", {1}), ("depleted", {-1}), ("both", {1, -1})])
def test_scores_against_rank(ranked, direction, signs):
    axes = ace.pl.rank_genes_groups(ranked, n_genes=3, direction=direction, show=False)
    assert [ax.get_title() for ax in axes] == [f"{group} vs. rest" for group in "abcd"]
    entry = ranked.uns["rank_genes_groups"]
    found = set()
    for ax, group in zip(axes, "abcd", strict=True):
        scores = dict(zip(entry["names"][group], entry["scores"][group], strict=True))
        for text in ax.texts:
            y = text.get_position()[1]
            assert y == pytest.approx(scores[text.get_text()])
            assert ax.get_ylim()[0] < y < ax.get_ylim()[1]
            found.add(np.sign(y))
        assert not any(tick % 1 for tick in ax.get_xticks())
        assert any(np.allclose(line.get_ydata(), 0) for line in ax.lines)
    assert found - {0} == signs


def test_groups_with_fewer_genes_of_a_direction_show_fewer(ranked):
    entry = ranked.uns["rank_genes_groups"]
    entry["enriched"]["a"][:] = entry["names"]["a"] == "g0"
    axes = ace.pl.rank_genes_groups(ranked, n_genes=3, direction="enriched", gene_symbols="symbol", show=False)
    assert _texts(axes[0]) == ["SYM0"]
    assert len(_texts(axes[1])) == 3


def test_violins_of_each_group_on_axes_of_its_own(ranked):
    axes = ace.pl.rank_genes_groups_violin(ranked, n_genes=1, direction="depleted", gene_symbols="symbol", show=False)
    assert [ax.get_title() for ax in axes] == [f"{group} vs. rest" for group in "abcd"]
    names = [[label.get_text() for label in ax.get_xticklabels()] for ax in axes]
    assert names == [["SYM4"], ["SYM9"], ["SYM4"], ["SYM9"]]


def test_a_legend_says_whose_half_of_a_violin_is_whose(ranked):
    axes = ace.pl.rank_genes_groups_violin(ranked, ["a", "b"], n_genes=2, show=False)
    (legend,) = plt.gcf().legends
    assert [text.get_text() for text in legend.get_texts()] == ["left: the group", "right: the others"]
    for handle, leftmost in zip(legend.get_patches(), (True, False), strict=True):
        for ax in axes:  # g0 or g5, the first gene, at 0
            halves = [c for c in ax.collections if isinstance(c, mpl.collections.PolyCollection)]
            (half,) = [c for c in halves if tuple(c.get_facecolor()[0]) == handle.get_facecolor()][:1]
            points = half.get_paths()[0].vertices[:, 0]
            assert (points.min() < -0.05) == leftmost
            assert (points.max() > 0.05) != leftmost


def test_violin_on_given_axes(ranked):
    _, ax = plt.subplots()
    assert ace.pl.rank_genes_groups_violin(ranked, ["a"], n_genes=2, ax=ax) == [ax]
    assert ax.get_title() == "a vs. rest"
    assert len(ax.get_legend().get_texts()) == 2
    assert not plt.gcf().legends
    with pytest.raises(ValueError, match=r"`ax`.*4 are asked for"):
        ace.pl.rank_genes_groups_violin(ranked, ax=ax)


@pytest.mark.parametrize("name", ["", "_violin", *(f"_{kind}" for kind in GRIDS)])
class TestEveryPlot:
    def test_named_and_described(self, ranked, name):
        function = getattr(ace.pl, f"rank_genes_groups{name}")
        assert function.__name__ == f"rank_genes_groups{name}"
        assert f"scanpy.pl.rank_genes_groups{name}`" in function.__doc__
        assert "%(" not in function.__doc__

    def test_shows_by_default(self, ranked, name, monkeypatch):
        shown = []
        monkeypatch.setattr(plt, "show", lambda *_args, **_kwargs: shown.append(True))
        function = getattr(ace.pl, f"rank_genes_groups{name}")
        options = {} if name in ("", "_violin") else {"dendrogram": False}
        assert function(ranked, ["a"], n_genes=2, **options) is None
        assert shown == [True]
        sc.settings.autoshow = False
        try:
            assert function(ranked, ["a"], n_genes=2, **options) is not None
        finally:
            sc.settings.autoshow = True
        assert shown == [True]

    def test_after_a_file(self, ranked, name, tmp_path):
        ranked.write_h5ad(tmp_path / "file.h5ad")
        again = ad.read_h5ad(tmp_path / "file.h5ad")
        function = getattr(ace.pl, f"rank_genes_groups{name}")
        options = {} if name in ("", "_violin") else {"dendrogram": False}
        pictures = []
        for adata in (ranked, again):
            np.random.seed(0)  # noqa: NPY002 the jitter of seaborn's points
            function(adata, ["a", "b"], n_genes=2, show=False, **options)
            plt.gcf().canvas.draw()
            pictures.append(np.asarray(plt.gcf().canvas.buffer_rgba()))
        assert pictures[0].std() > 1
        np.testing.assert_array_equal(*pictures)

    @pytest.mark.parametrize(
        ("arguments", "error", "match"),
        [
            ({"direction": "up"}, ValueError, r"`direction`.*'enriched', 'depleted'.*Got 'up'"),
            ({"groups": ["nobody"]}, ValueError, r"`groups`='nobody'"),
            ({"n_genes": -2}, ValueError, r"`n_genes`.*at least 1"),
            ({"gene_symbols": "no"}, KeyError, r"`gene_symbols`='no'.*\['symbol'\]"),
            ({"key": "no"}, KeyError, r"`key`='no'"),
        ],
    )
    def test_wrong_arguments(self, ranked, name, arguments, error, match):
        with pytest.raises(error, match=match):
            getattr(ace.pl, f"rank_genes_groups{name}")(ranked, show=False, **arguments)
        assert not plt.get_fignums()

    def test_a_direction_of_a_method_that_has_none(self, unsigned, name):
        with pytest.raises(ValueError, match=r"`direction`='enriched'.*method='grs' have no direction"):
            getattr(ace.pl, f"rank_genes_groups{name}")(unsigned, direction="enriched", show=False)

    def test_where_scanpys_next_plots_are_switched_on(self, ranked, name, monkeypatch):
        """The plots of a ranking are then in a namespace of their own."""
        called = []

        def scanpys(adata, groups, **options):
            called.append(list(groups))
            ax = plt.figure().add_subplot()
            return {"groupby_ax": ax} if name in ("_heatmap", "_tracksplot") else [ax]

        names = [f"rank_genes_groups{n}" for n in ("", "_violin", *(f"_{kind}" for kind in GRIDS))]
        monkeypatch.setattr(sc.pl, "legacy", SimpleNamespace(**dict.fromkeys(names, scanpys)), raising=False)
        getattr(ace.pl, f"rank_genes_groups{name}")(ranked, ["a"], show=False)
        assert called == [["a"]]
