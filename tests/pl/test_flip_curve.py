"""How many genes are enough, as a curve."""

from __future__ import annotations

from itertools import pairwise

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

import ace_scanpy as ace
from ace_scanpy.pl import _flip_curve
from ace_scanpy.pl._figures import OKABE_ITO

GROUPS = ["B", "T/NK ζ", "Mono 14⁺", "dendritic"]


def _lines(axes):
    """Curves by group."""
    return {line.get_label().rsplit(" (", 1)[0]: line for ax in axes for line in ax.get_lines()[:-1]}


def _sizes(adata, key="rank_genes_groups"):
    entry = adata.uns[key]
    return {group: int(entry["panel_size"][group][0]) for group in entry["names"].dtype.names}


def _slow(adata, group, size):
    """The smallest share of the group's cells that the first genes move, over all targets, cell by cell."""
    record = adata.uns["ace"]["X_ace"]
    genes, weights = list(record["genes"]), record["fits"]["group"]["weights"]
    layers = ["encoder.first", *sorted({k.rsplit(".", 1)[0] for k in weights if k.startswith("encoder.rest.")})]

    def encode(hidden):
        for i, layer in enumerate(layers):
            hidden = hidden @ np.asarray(weights[f"{layer}.weight"], float).T + weights[f"{layer}.bias"]
            hidden = hidden if i + 1 == len(layers) else np.where(hidden > 0, hidden, 0.2 * hidden)
        return hidden

    z = (adata[:, genes].X.toarray() - weights["encoder.mean"]) / weights["encoder.scale"]
    labels = adata.obs["group"].astype(str).to_numpy()
    means = {name: encode(z)[labels == name].mean(axis=0) for name in np.unique(labels)}
    top = list(adata.uns["rank_genes_groups"]["names"][group][:size])
    rates = []
    for target, changes in ace.get.contrasts(adata, group=group).groupby("target", observed=True):
        delta = np.zeros(len(genes))
        for name, change in zip(changes["names"], changes["delta"], strict=True):
            delta[genes.index(name)] = change if name in top else 0.0
        moved = encode(z[labels == group] + delta)
        nearest = [min(means, key=lambda name: ((cell - means[name]) ** 2).sum()) for cell in moved]
        rates.append(np.mean(np.array(nearest) == target))
    return min(rates)


def test_curves_are_those_of_a_slow_loop(explained):
    lines = _lines(ace.pl.flip_curve(explained, show=False))
    assert sorted(lines) == sorted(GROUPS)
    for group, line in lines.items():
        x, y = line.get_data()
        np.testing.assert_array_equal(x, np.arange(len(x)))  # few genes: every size
        np.testing.assert_allclose(y, [_slow(explained, group, size) for size in x], atol=1e-6)
        assert len(set(np.round(y, 3))) > 2


def test_the_mark_is_the_stored_size_and_the_first_that_is_enough(explained):
    for group, line in _lines(ace.pl.flip_curve(explained, show=False)).items():
        x, y = line.get_data()
        (at,) = line.get_markevery()
        assert x[at] == _sizes(explained)[group] > 1
        assert y[at] >= 0.95
        assert (y[:at] < 0.95).all()
        assert line.get_marker() not in ("", "None")
        assert line.get_label() == f"{group} ({x[at]})"


def test_the_mark_with_sampled_cells_another_seed_and_a_level(make_planted, small_network):
    """More than 60 cells of each group: the same ones are drawn again."""
    adata = make_planted(n_per_group=150, n_groups=3)
    adata.obs["half"] = np.where(np.arange(adata.n_obs) % 5 < 3, "one", "two")
    ace.tl.embed(adata, **small_network)
    ace.tl.explain(adata, "group", rng=7, beta=0.2, key_added="seed")
    ace.tl.explain(adata, "group", by="half", rng=3, key_added="by")
    for key in ("seed", "by_one", "by_two"):
        for group, line in _lines(ace.pl.flip_curve(adata, key=key, show=False)).items():
            x, y = line.get_data()
            assert x[y >= 0.95][0] == _sizes(adata, key)[group]


def test_groups_in_the_order_of_their_size_in_colours_for_any_vision(explained):
    (ax,) = ace.pl.flip_curve(explained, show=False)
    names = [text.get_text().rsplit(" (", 1)[0] for text in ax.get_legend().get_texts()]
    sizes = _sizes(explained)
    assert names == sorted(GROUPS, key=sizes.get)
    lines = ax.get_lines()[:-1]
    assert [to_hex(line.get_color()).upper() for line in lines] == list(OKABE_ITO[:4])
    assert len({line.get_marker() for line in lines}) == 4
    assert ax.get_lines()[-1].get_ydata()[0] == 0.95
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("genes", "cells moved")


def test_a_group_that_is_never_moved_has_no_mark(explained):
    entry = explained.uns["rank_genes_groups"]
    entry["panel_size"]["B"] = 0
    lines = _lines(ace.pl.flip_curve(explained, groups=["B", "dendritic"], show=False))
    assert lines["B"].get_markevery() == []
    assert lines["B"].get_label() == "B (never)"
    assert list(lines) == ["dendritic", "B"]


def test_eight_lines_to_an_axes(explained, names_inside):
    explained.obs["many"] = [f"group {i % 19}" for i in range(explained.n_obs)]
    ace.tl.explain(explained, "many", lam=3.0, key_added="many")
    axes = ace.pl.flip_curve(explained, key="many", n_genes=4, show=False)
    assert [len(ax.get_lines()) - 1 for ax in axes] == [8, 8, 3]
    assert {ax.get_xlim() for ax in axes} == {(0.0, 4.0)}
    names_inside(axes[0].figure)
    legends = [ax.get_legend().get_window_extent() for ax in axes]
    for ax, legend in zip(axes, legends, strict=True):
        assert legend.y1 <= ax.xaxis.label.get_window_extent().y0
        assert legend.y0 >= 0
    assert not any(one.overlaps(other) for one, other in pairwise(legends))


def test_long_curves_are_drawn_at_some_sizes_and_at_the_mark():
    sizes = _flip_curve._sizes(800, 523)
    assert len(sizes) < 70
    assert {0, 1, 2, 29, 522, 523, 800} <= set(sizes.tolist())
    assert (np.diff(sizes) > 0).all()


def test_given_axes_and_a_file(explained, tmp_path):
    explained.write_h5ad(tmp_path / "file.h5ad")
    _, ax = plt.subplots()
    assert ace.pl.flip_curve(ad.read_h5ad(tmp_path / "file.h5ad"), groups=["B"], ax=ax) == [ax]
    found = ax.get_lines()[0].get_ydata()
    np.testing.assert_array_equal(
        found, _lines(ace.pl.flip_curve(explained, groups=["B"], show=False))["B"].get_ydata()
    )


def test_a_short_ranking_is_cut_to_its_genes(explained):
    ace.tl.explain(explained, "group", n_genes=3, key_added="short")
    lines = _lines(ace.pl.flip_curve(explained, key="short", n_genes=6, show=False))
    whole = _lines(ace.pl.flip_curve(explained, n_genes=6, show=False))
    for group in GROUPS:
        np.testing.assert_array_equal(lines[group].get_ydata()[:4], whole[group].get_ydata()[:4])
        assert len(set(lines[group].get_ydata()[3:])) == 1


@pytest.mark.parametrize(
    ("change", "arguments", "error", "match"),
    [
        (None, {"groups": ["nobody"]}, ValueError, r"`groups`='nobody'"),
        (None, {"n_genes": 0}, ValueError, r"`n_genes`"),
        (None, {"key": "no"}, KeyError, r"`key`='no'"),
        ("max", {"key": "max"}, ValueError, r"rest='max'"),
        ("cells", {}, ValueError, r"not been fitted.*these cells and labels"),
        ("encoder", {}, KeyError, r"'X_ace'.*no differentiable encoder"),
    ],
)
def test_refused(explained, change, arguments, error, match):
    if change == "max":
        ace.tl.explain(explained, "group", groups=["B"], rest="max", key_added="max")
    if change == "encoder":
        del explained.uns["ace"]
    adata = explained[:60].copy() if change == "cells" else explained
    with pytest.raises(error, match=match):
        ace.pl.flip_curve(adata, show=False, **arguments)
    assert not plt.get_fignums()
