"""Cells by neuralised assignment and confidence."""

from __future__ import annotations

from itertools import combinations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scanpy as sc
from matplotlib.colors import to_hex

import ace_scanpy as ace

COLORS = ["#112233", "#445566", "#778899", "#aabbcc"]
pytestmark = pytest.mark.filterwarnings("ignore:n_jobs value 1 overridden to 1:UserWarning")


@pytest.fixture
def placed(explained):
    """With two coordinates per cell."""
    explained.obsm["X_place"] = np.random.default_rng(0).normal(size=(80, 2))
    explained.uns["group_colors"] = COLORS
    return explained


def _by_place(ax):
    """Colour or value of each dot, by its place."""
    (dots,) = [c for c in ax.collections if len(c.get_offsets())]  # those of the legend have no place
    values = dots.get_array()
    values = [to_hex(c) for c in dots.get_facecolors()] if values is None else list(values)
    places = [tuple(np.round(place, 6)) for place in np.asarray(dots.get_offsets())]
    return dict(zip(places, values, strict=True))


def _places(adata, basis):
    return [tuple(np.round(place, 6)) for place in adata.obsm[basis].astype(float)]


def test_colours_are_the_assignment(placed):
    """Perfect fidelity: the assignment is the label."""
    assert {v[0] for v in placed.uns["rank_genes_groups"]["fidelity"].tolist()} == {1.0}
    axes = ace.pl.embedding(placed, "group", basis="place", show=False)
    found = _by_place(axes[0])
    colors = dict(zip(placed.obs["group"].cat.categories, COLORS, strict=True))
    for place, group in zip(_places(placed, "X_place"), placed.obs["group"], strict=True):
        assert found[place] == colors[group]


def test_assignment_and_not_label_is_drawn(placed):
    """Cells that are labelled against their expression have the colour of their label only where assigned to it."""
    placed.obs["group"] = placed.obs["group"].where(np.arange(80) >= 6, "B")
    placed.obs["group"] = placed.obs["group"].astype("category")
    ace.tl.explain(placed, "group", lam=1.0)
    fidelity = placed.uns["rank_genes_groups"]["fidelity"]
    found = _by_place(ace.pl.embedding(placed, "group", basis="place", show=False)[0])
    for group, color in zip(placed.obs["group"].cat.categories, COLORS, strict=True):
        labelled = [p for p, g in zip(_places(placed, "X_place"), placed.obs["group"], strict=True) if g == group]
        assert np.mean([found[p] == color for p in labelled]) == pytest.approx(fidelity[group][0])
    assert fidelity["B"][0] < 1


def test_confidence_is_that_of_the_clusters(placed):
    ace.tl.cluster(placed, n_clusters=3)
    axes = ace.pl.embedding(placed, basis="place", show=False)  # the clusters, without being asked for
    assert [ax.get_title() for ax in axes[:2]] == ["ace_cluster, as assigned", "confidence"]
    found = _by_place(axes[1])
    expected = dict(zip(_places(placed, "X_place"), placed.obs["ace_cluster_confidence"], strict=True))
    assert found.keys() == expected.keys()
    for place, value in expected.items():
        assert found[place] == pytest.approx(value)
    (dots,) = axes[1].collections
    assert dots.get_clim() == (0, 1)
    assert dots.get_cmap().name == "cividis"


def test_without_clusters_the_groups_of_the_ranking(placed):
    axes = ace.pl.embedding(placed, basis="X_place", show=False)
    assert axes[0].get_title() == "group, as assigned"
    values = list(_by_place(axes[1]).values())
    assert 0 <= min(values) <= max(values) <= 1
    assert max(values) > 0.5


def test_umap_of_the_latent_space_is_not_stored(placed, contents, assert_same_contents):
    before = contents(placed)
    axes = ace.pl.embedding(placed, "group", show=False)
    assert_same_contents(contents(placed), before)
    kept = placed.copy()
    sc.pp.neighbors(kept, use_rep="X_ace")
    sc.tl.umap(kept)
    assert set(_by_place(axes[1])) == set(_places(kept, "X_umap"))


def test_after_a_file(placed, tmp_path):
    first = _by_place(ace.pl.embedding(placed, "group", basis="place", show=False)[1])
    placed.write_h5ad(tmp_path / "file.h5ad")
    axes = ace.pl.embedding(ad.read_h5ad(tmp_path / "file.h5ad"), "group", basis="place", show=False)
    assert _by_place(axes[1]) == first
    assert set(_by_place(axes[0]).values()) == set(COLORS)


def test_options_go_to_scanpy(placed):
    axes = ace.pl.embedding(placed, "group", basis="place", title=["one", "two"], size=7, show=False)
    assert [ax.get_title() for ax in axes[:2]] == ["one", "two"]
    assert axes[0].collections[0].get_sizes()[0] == 7


def test_the_figure_on_demand(placed):
    figure = ace.pl.embedding(placed, "group", basis="place", return_fig=True)
    assert figure is plt.gcf()
    assert [ax.get_title() for ax in figure.axes[:2]] == ["group, as assigned", "confidence"]


def test_the_legend_covers_no_axes(placed):
    placed.obs["group"] = placed.obs["group"].cat.rename_categories([f"a long name of group {i}" for i in range(4)])
    axes = ace.pl.embedding(placed, "group", basis="place", show=False)
    axes[0].figure.canvas.draw()
    legend = axes[0].get_legend().get_window_extent()
    assert not any(legend.overlaps(ax.get_window_extent()) for ax in axes)


def test_many_short_names_stand_on_the_cells_and_apart(placed):
    """More groups than colours that can be told apart: numbers on the cells, also where groups lie in one place."""
    placed.obsm["X_place"][:40] *= 1e-3
    ace.tl.cluster(placed, n_clusters=16, key_added="many")
    axes = ace.pl.embedding(placed, "many", basis="place", show=False)
    assert axes[0].get_legend() is None
    texts = axes[0].texts
    assert {text.get_text() for text in texts} == set(placed.obs["many"].cat.categories)
    boxes = [text.get_window_extent() for text in texts]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"groupby": "no"}, KeyError, r"`groupby`='no' not found.*'group'"),
        ({"basis": "no"}, KeyError, r"`basis`='no' not found.*'X_place'"),
        ({"use_rep": "no"}, KeyError, r"`use_rep`='no' not found"),
        ({"groupby": "other"}, ValueError, r"not been fitted to obs\['other'\].*ace\.tl\.explain\(adata, 'other'\)"),
    ],
)
def test_what_is_missing(placed, arguments, error, match):
    placed.obs["other"] = (np.arange(80) % 2).astype(str)
    with pytest.raises(error, match=match):
        ace.pl.embedding(placed, **{"groupby": "group", "basis": "place", "show": False, **arguments})
    assert not plt.get_fignums()


def test_nothing_to_draw(planted):
    with pytest.raises(KeyError, match=r"`groupby`='ace_cluster' not found"):
        ace.pl.embedding(planted, show=False)
