"""The heatmap of signed scores."""

from __future__ import annotations

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scanpy as sc
from matplotlib.colors import to_rgb
from scipy.cluster import hierarchy

import ace_scanpy as ace


def _groups(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def _genes(ax):
    return [label.get_text() for label in ax.get_xticklabels()]


def _values(ax):
    """Scores by group and gene, as drawn."""
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    return {(g, n): shown[i, j] for i, g in enumerate(_groups(ax)) for j, n in enumerate(_genes(ax))}


def test_cells_are_the_scores(ranked):
    ax = ace.pl.importance(ranked, n_genes=2, show=False)
    assert sorted(_groups(ax)) == ["a", "b", "c", "d"]
    entry = ranked.uns["rank_genes_groups"]
    for (group, name), value in _values(ax).items():
        expected = dict(zip(entry["names"][group], entry["scores"][group], strict=True))[name]
        assert value == pytest.approx(expected)


def test_genes_are_the_union_of_the_tops_each_once(ranked):
    ax = ace.pl.importance(ranked, n_genes=2, show=False)
    assert sorted(_genes(ax)) == ["g0", "g4", "g5", "g6"]
    # in the order of the groups that have them
    entry = ranked.uns["rank_genes_groups"]
    expected = dict.fromkeys(name for group in _groups(ax) for name in entry["names"][group][:2])
    assert _genes(ax) == list(expected)


def test_like_groups_are_neighbours(ranked):
    """a is like c and b like d, though they are not neighbours among the categories."""
    order = _groups(ace.pl.importance(ranked, show=False))
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset("ac"), frozenset("bd")}


def test_the_dendrogram_of_scanpy_is_used_where_there_is_one(ranked):
    linkage = np.array([[0, 3, 0.1, 2], [1, 2, 0.2, 2], [4, 5, 1.0, 4]])
    ranked.uns["dendrogram_group"] = {"linkage": linkage}
    expected = [list("abcd")[leaf] for leaf in hierarchy.leaves_list(linkage)]
    assert _groups(ace.pl.importance(ranked, show=False)) == expected
    # it knows nothing of some of the groups alone
    assert set(_groups(ace.pl.importance(ranked, groups=["a", "c", "b"], show=False))[:2]) != {"a", "b"}


def test_scanpys_dendrogram_as_scanpy_makes_it(ranked):
    sc.tl.dendrogram(ranked, "group", use_rep="X")
    expected = list(ranked.uns["dendrogram_group"]["categories_ordered"])
    assert _groups(ace.pl.importance(ranked, show=False)) == expected


def test_leaves_of_the_drawn_tree_stand_beside_their_rows(ranked):
    ax = ace.pl.importance(ranked, show=False)
    heatmap, tree, bar = ax.figure.axes
    assert heatmap is ax
    ax.figure.canvas.draw()
    rows = [ax.transData.transform((0, row))[1] for row in range(4)]
    lines = [line for path in tree.collections[0].get_paths() for line in [path.vertices]]
    ends = {round(float(y), 1) for line in lines for x, y in tree.transData.transform(line[line[:, 0] == 0])}
    np.testing.assert_allclose(sorted(ends), sorted(rows), atol=1.0)
    # the pair that is drawn as joined is one of like groups
    order = _groups(ax)
    first = min(lines, key=lambda line: line[:, 0].max())
    joined = {order[round((y - 5) / 10)] for x, y in first if x == 0}
    assert joined in ({"a", "c"}, {"b", "d"})
    assert bar.get_position().x0 > tree.get_position().x0


def test_colours_are_centred_at_zero_and_tell_the_signs(ranked):
    ax = ace.pl.importance(ranked, show=False)
    image = ax.images[0]
    low, high = image.get_clim()
    assert low == -high
    assert high == pytest.approx(0.6)
    assert image.norm(0.0) == pytest.approx(0.5)
    colors = {score: image.to_rgba(np.array([score]))[0] for score in (-0.3, 0.0, 0.3)}
    assert colors[0.3][0] > colors[0.3][2] + 0.3  # red
    assert colors[-0.3][2] > colors[-0.3][0] + 0.3  # blue
    assert min(colors[0.0][:3]) > 0.95  # white


def test_colours_differ_for_colour_blind_readers(ranked):
    """Simulated deuteranopia (Machado et al. 2009, severity 1): enriched and depleted stay far apart."""
    deuteranopia = np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    )
    image = ace.pl.importance(ranked, show=False).images[0]
    for size in (0.05, 0.2, 0.6):
        up, down = (deuteranopia @ image.to_rgba(np.array([sign * size]))[0][:3] for sign in (1, -1))
        assert np.linalg.norm(up - down) > 0.2


def test_signs_mark_the_top_genes_of_a_group_and_no_other(ranked):
    ax = ace.pl.importance(ranked, n_genes=3, show=False)
    entry = ranked.uns["rank_genes_groups"]
    found = {}
    for text in ax.texts:
        x, y = text.get_position()
        found[_groups(ax)[int(y)], _genes(ax)[int(x)]] = text.get_text()
    expected = {
        (group, name): "+" if score > 0 else "−"
        for group in "abcd"
        for name, score in zip(entry["names"][group][:3], entry["scores"][group][:3], strict=True)
        if score != 0
    }
    assert found == expected
    assert "−" in found.values()


def test_signs_can_be_read_on_their_colour(ranked):
    ax = ace.pl.importance(ranked, show=False)

    def brightness(color):
        return float(np.dot(to_rgb(color), (0.2126, 0.7152, 0.0722)))

    for text in ax.texts:
        column, row = map(int, text.get_position())
        score = ax.images[0].get_array()[row, column]
        cell = ax.images[0].to_rgba(np.array([score]))[0][:3]
        assert abs(brightness(text.get_color()) - brightness(cell)) > 0.3


def test_no_directions_no_signs(unsigned):
    ax = ace.pl.importance(unsigned, show=False)
    assert not ax.texts
    assert ax.images[0].get_clim()[0] == 0
    assert len({text.get_text() for text in ax.figure.axes[-1].texts} & {"enriched", "depleted"}) == 0


def test_genes_that_a_short_ranking_does_not_list_are_grey(ranked):
    entry = ranked.uns["rank_genes_groups"]
    for name, value in entry.items():
        if name in ("names", "scores", "enriched", "delta", "logfoldchanges", "pvals", "pvals_adj"):
            entry[name] = value[:2]
    ax = ace.pl.importance(ranked, n_genes=2, show=False)
    values = _values(ax)
    assert np.isnan(values["a", "g5"])
    assert values["a", "g0"] == pytest.approx(0.5)
    bad = ax.images[0].get_cmap().get_bad()
    np.testing.assert_allclose(bad, (0.85, 0.85, 0.85, 1))


def test_symbols_and_chosen_groups(ranked):
    ax = ace.pl.importance(ranked, groups=["b", "d"], n_genes=1, gene_symbols="symbol", show=False)
    assert set(_groups(ax)) == {"b", "d"}
    assert set(_genes(ax)) == {"SYM5", "SYM6"}


def test_stems_are_cut_where_all_branches_are_far_from_the_leaves(ranked):
    """The branches have most of the width, at whatever heights they meet."""
    for lift in (0.0, 10.0):
        linkage = np.array([[0, 3, 0.1 + lift, 2], [1, 2, 0.2 + lift, 2], [4, 5, 1.0 + lift, 4]])
        ranked.uns["dendrogram_group"] = {"linkage": linkage}
        tree = ace.pl.importance(ranked, show=False).figure.axes[1]
        left, right = tree.get_xlim()
        assert 0.0 <= left < 0.1 + lift
        assert right > 1.0 + lift
        assert (1.0 - 0.1) / (right - left) > 0.6


def test_a_single_group_has_no_tree(ranked):
    ax = ace.pl.importance(ranked, groups=["b"], n_genes=3, show=False)
    assert _groups(ax) == ["b"]
    assert len(ax.figure.axes) == 2


def test_given_axes(ranked):
    figure, (left, right) = plt.subplots(1, 2)
    assert ace.pl.importance(ranked, ax=right) is right
    assert figure.axes[:2] == [left, right]
    assert not left.images
    assert len(right.images) == 1


@pytest.mark.parametrize(("n_groups", "n_genes"), [(2, 1), (4, 3), (30, 5)])
def test_no_name_is_cut_off_or_covered(explained, names_inside, n_groups, n_genes):
    rng = np.random.default_rng(0)
    names = [f"a group with a long name {i}" for i in range(n_groups)]
    scores = rng.normal(size=(n_groups, explained.n_vars)) ** 3
    fields = {"names": "O", "scores": "f4", "enriched": "?"}
    order = np.argsort(-np.abs(scores), axis=1)
    values = {
        "names": explained.var_names.to_numpy(dtype=object)[order],
        "scores": np.take_along_axis(scores, order, axis=1),
        "enriched": np.take_along_axis(scores, order, axis=1) > 0,
    }
    entry = {n: np.rec.fromarrays(list(values[n]), dtype=[(g, t) for g in names]) for n, t in fields.items()}
    explained.uns["many"] = {"params": {"groupby": "group", "reference": "rest"}, "panel_size": None, **entry}
    ax = ace.pl.importance(explained, key="many", n_genes=n_genes, show=False)
    names_inside(ax.figure)
    for axis in (ax.xaxis, ax.yaxis):
        boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    heatmap, tree, bar = (one.get_tightbbox() for one in ax.figure.axes)
    beside = tree if tree is not None else ax.figure.axes[1].get_window_extent()
    assert heatmap.x1 <= beside.x0 + 1
    assert beside.x1 <= bar.x0 + 1


def test_scanpys_ranking(ranked):
    """Its scores are signed too."""
    sc.tl.rank_genes_groups(ranked, "group", method="wilcoxon", use_raw=False, key_added="w", rankby_abs=True)
    ax = ace.pl.importance(ranked, key="w", n_genes=2, show=False)
    assert {text.get_text() for text in ax.texts} <= {"+", "−"}
    assert _values(ax)["b", "g5"] > 0


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"groups": ["nobody"]}, ValueError, r"`groups`='nobody'"),
        ({"n_genes": 0}, ValueError, r"`n_genes`"),
        ({"gene_symbols": "no"}, KeyError, r"`gene_symbols`='no'.*adata\.var.*\['symbol'\]"),
        ({"key": "no"}, KeyError, r"`key`='no'"),
    ],
)
def test_wrong_arguments(ranked, arguments, error, match):
    with pytest.raises(error, match=match):
        ace.pl.importance(ranked, show=False, **arguments)
    assert not plt.get_fignums()
