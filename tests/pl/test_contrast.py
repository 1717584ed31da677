"""The heatmap of one group against each other one."""

from __future__ import annotations

from itertools import combinations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pytest

import ace_scanpy as ace

from .conftest import GENES, GROUPS, SCORES


def _labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def _values(ax):
    shown = np.asarray(ax.images[0].get_array())
    return {(t, g): shown[i, j] for i, t in enumerate(_labels(ax.yaxis)) for j, g in enumerate(_labels(ax.xaxis))}


def _delta(source, target):
    return SCORES[GROUPS.index(target)] - 2 * SCORES[GROUPS.index(source)]


@pytest.mark.parametrize("group", GROUPS)
def test_cells_are_signed_shares(ranked, group):
    values = _values(ace.pl.contrast(ranked, group, n_genes=3, show=False))
    assert len(values) > 6
    for (target, gene), value in values.items():
        delta = _delta(group, target)
        assert value == pytest.approx(-delta[GENES.index(gene)] / np.abs(delta).sum(), abs=1e-6)


def test_rows_are_in_the_order_of_what_they_cost_and_so_are_the_bars(ranked):
    ranked = ranked.copy()
    distance = ranked.uns["rank_genes_groups"]["contrast_distance"]
    for target in GROUPS:  # not in the order of the distances
        distance[target] = 1 / np.where(distance[target] > 0, distance[target], 1)
    ax = ace.pl.contrast(ranked, "a", show=False)
    sizes = {target: np.abs(_delta("a", target)).sum() for target in "bcd"}
    np.testing.assert_allclose([sizes[target] for target in _labels(ax.yaxis)], sorted(sizes.values()))
    assert _labels(ax.yaxis)[0] == "c"
    heatmap, bars, _ = ax.figure.axes
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], sorted(sizes.values()), rtol=1e-6)
    ax.figure.canvas.draw()
    for row, bar in enumerate(bars.patches):
        middle = bars.transData.transform((0, bar.get_y() + bar.get_height() / 2))[1]
        assert middle == pytest.approx(heatmap.transData.transform((0, row))[1], abs=1)
    assert ax.get_ylabel() == "a vs."


def test_genes_are_the_tops_of_the_rows_each_once(ranked):
    ax = ace.pl.contrast(ranked, "a", n_genes=2, show=False)
    tops = [np.argsort(-np.abs(_delta("a", target)), kind="stable")[:2] for target in _labels(ax.yaxis)]
    assert _labels(ax.xaxis) == list(dict.fromkeys(GENES[i] for top in tops for i in top))


def test_signs_mark_the_tops_and_colours_agree(ranked):
    ax = ace.pl.contrast(ranked, "a", n_genes=2, show=False)
    values, rows, genes = _values(ax), _labels(ax.yaxis), _labels(ax.xaxis)
    found = {(rows[int(t.get_position()[1])], genes[int(t.get_position()[0])]): t.get_text() for t in ax.texts}
    assert len(found) == 6
    assert set(found.values()) == {"+", "−"}
    image = ax.images[0]
    assert image.norm(0.0) == pytest.approx(0.5)
    for where, sign in found.items():
        red, _, blue, _ = image.to_rgba(np.array([values[where]]))[0]
        assert (sign == "+") == (values[where] > 0) == (red > blue)


def test_chosen_targets_symbols_and_axes(ranked):
    figure, (left, right) = plt.subplots(1, 2)
    ax = ace.pl.contrast(ranked, "b", targets=["d", "a"], n_genes=1, gene_symbols="symbol", ax=right)
    assert ax is right
    assert sorted(_labels(ax.yaxis)) == ["a", "d"]
    assert set(_labels(ax.xaxis)) <= {f"SYM{i}" for i in range(12)}
    assert figure.axes[:2] == [left, right]
    assert not left.images


def test_a_single_reference(explained):
    ace.tl.explain(explained, "group", groups=["B"], reference="dendritic", key_added="one")
    ax = ace.pl.contrast(explained, "B", key="one", show=False)
    assert _labels(ax.yaxis) == ["dendritic"]


def test_from_a_file_with_other_names_and_fewer_cells(explained, tmp_path):
    expected = _values(ace.pl.contrast(explained, "B", show=False))
    explained.rename_categories("group", ["x", "y", "z", "ω"])
    explained[explained.obs["group"] != "ω"].copy().write_h5ad(tmp_path / "file.h5ad")
    found = _values(ace.pl.contrast(ad.read_h5ad(tmp_path / "file.h5ad"), "x", show=False))
    names = {"T/NK ζ": "y", "Mono 14⁺": "z", "dendritic": "ω"}
    assert found == {(names[target], gene): value for (target, gene), value in expected.items()}


def test_no_name_is_cut_off_or_covered(explained, names_inside):
    """29 targets with long names."""
    explained.obs["many"] = [f"a group with a long name {i % 30}" for i in range(explained.n_obs)]
    ace.tl.explain(explained, "many", groups=["a group with a long name 0"], lam=3.0, key_added="many")
    ax = ace.pl.contrast(explained, "a group with a long name 0", n_genes=2, key="many", show=False)
    assert len(_labels(ax.yaxis)) == 29
    names_inside(ax.figure)
    for axis in (ax.xaxis, ax.yaxis):
        boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    heatmap, bars, scale = (one.get_tightbbox() for one in ax.figure.axes)
    assert heatmap.x1 <= bars.x0 + 1
    assert bars.x1 <= scale.x0 + 1


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"group": "nobody"}, ValueError, r"`group`='nobody'"),
        ({"targets": ["a"]}, ValueError, r"`targets`='a' is not a group.*\['c'"),
        ({"n_genes": 0}, ValueError, r"`n_genes`"),
        ({"gene_symbols": "no"}, KeyError, r"`gene_symbols`='no'"),
        ({"key": "no"}, KeyError, r"`key`='no'"),
        ({"key": "plain"}, ValueError, r"no contrasts of single groups"),
    ],
)
def test_wrong_arguments(ranked, arguments, error, match):
    entry = ranked.uns["rank_genes_groups"]
    ranked.uns["plain"] = {name: value for name, value in entry.items() if not name.startswith("contrast_")}
    with pytest.raises(error, match=match):
        ace.pl.contrast(ranked, **{"group": "a", "show": False, **arguments})
    assert not plt.get_fignums()
