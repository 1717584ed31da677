"""The plot of a comparison of rankings."""

from __future__ import annotations

from itertools import combinations, product

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import ace_scanpy as ace

METRICS = ["auroc", "knn_jaccard", "abs_r", "flip_rate"]
KEYS = ["ace", "t-test", "wilcoxon"]


@pytest.fixture
def table():
    """As `ace.tl.compare` gives it, with values at random."""
    rng = np.random.default_rng(0)
    grid = product(KEYS, [*METRICS, "signed_r", "shared"], (5, 20, 100), ("B", "T", "NK"), (0, 1, 2))
    found = pd.DataFrame(grid, columns=["key", "metric", "n_genes", "group", "fold"])
    found = found[(found["metric"] == "auroc") | (found["fold"] == 0)].reset_index(drop=True)
    found["fold"] = found["fold"].where(found["metric"] == "auroc").astype("Int64")
    found["value"] = rng.random(len(found))
    return found


def _lines(ax):
    return {container.get_label(): container for container in ax.containers}


def test_one_axes_per_measure(table):
    axes = ace.pl.compare(table, show=False)
    labels = [ax.get_ylabel() for ax in axes]
    assert [label.split("\n(")[0] for label in labels] == ["AUROC", "Jaccard distance", "mean |r|", "cells flipped"]
    assert ["higher" in label for label in labels] == [True, False, False, True]
    assert ["lower" in label for label in labels] == [False, True, True, False]
    assert plt.gcf().axes == axes


def test_points_are_means_and_bars_standard_errors(table):
    for ax, metric in zip(ace.pl.compare(table, show=False), METRICS, strict=True):
        lines = _lines(ax)
        assert list(lines) == KEYS
        for key, line in lines.items():
            points, _, (bars,) = line
            for x, y, bar, size in zip(*points.get_data(), bars.get_segments(), (5, 20, 100), strict=True):
                chosen = (table["key"] == key) & (table["metric"] == metric) & (table["n_genes"] == size)
                values = table.loc[chosen, "value"].to_numpy()
                assert len(values) == (9 if metric == "auroc" else 3)
                assert x == pytest.approx(size, rel=0.05)
                assert y == pytest.approx(values.mean())
                error = values.std(ddof=1) / len(values) ** 0.5
                np.testing.assert_allclose(bar[:, 1], [y - error, y + error])


def test_sizes_are_the_ticks_of_a_logarithmic_axis(table):
    for ax in ace.pl.compare(table, show=False):
        assert ax.get_xscale() == "log"
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["5", "20", "100"]
        assert len(ax.xaxis.get_minorticklocs()) == 0


def test_keys_differ_without_colour_and_error_bars_stand_beside_each_other(table):
    ax = ace.pl.compare(table, show=False)[0]
    points = [line[0] for line in ax.containers]
    assert len({p.get_marker() for p in points}) == len({p.get_color() for p in points}) == len(KEYS)
    assert len({p.get_xdata()[0] for p in points}) == len(KEYS)


@pytest.mark.parametrize("n_keys", [1, 3, 8, 11])
@pytest.mark.parametrize("metrics", [METRICS, ["auroc"]], ids=["all", "one"])
def test_the_legend_covers_nothing(table, n_keys, metrics):
    kept = table[(table["key"] == "ace") & table["metric"].isin(metrics)]
    many = pd.concat([kept.assign(key=f"a ranking of genes, number {i}") for i in range(n_keys)])
    axes = ace.pl.compare(many, show=False)
    figure = axes[0].figure
    figure.canvas.draw()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == n_keys
    boxes = [legend.get_window_extent(), *(ax.get_tightbbox() for ax in axes)]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert figure.bbox.x0 <= boxes[0].x0
    assert boxes[0].x1 <= figure.bbox.x1
    looks = {(line[0].get_marker(), line[0].get_color()) for line in axes[0].containers}
    assert len(looks) == n_keys


def test_draws_what_is_there(table):
    assert len(ace.pl.compare(table[table["metric"] != "flip_rate"], show=False)) == 3
    assert len(ace.pl.compare(table[table["metric"].isin(["abs_r", "shared"])], show=False)) == 1


def test_a_single_group_has_no_error_bars(table):
    axes = ace.pl.compare(table[(table["group"] == "B") & (table["metric"] == "abs_r")], show=False)
    for segment in axes[0].containers[0][2][0].get_segments():
        assert segment[0, 1] == segment[1, 1]


def test_a_single_size(table):
    axes = ace.pl.compare(table[table["n_genes"] == 20], show=False)
    axes[0].figure.canvas.draw()
    assert [tick.get_text() for tick in axes[0].get_xticklabels()] == ["20"]


def test_shows_by_default(table, monkeypatch):
    shown = []
    monkeypatch.setattr(mpl.pyplot, "show", lambda *_args, **_kwargs: shown.append(True))
    assert ace.pl.compare(table) is None
    assert ace.pl.compare(table, show=True) is None
    assert shown == [True, True]
    assert len(ace.pl.compare(table, show=False)) == 4
    assert shown == [True, True]


def test_what_tl_compare_returns_is_drawn_and_not_changed(explained):
    table = ace.tl.compare(explained, "group", keys=["rank_genes_groups"], n_genes=(2, 8), min_cells=20, k=10)
    before = table.copy()
    axes = ace.pl.compare(table, show=False)
    assert len(axes) == 4
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize(
    ("spoil", "error", "match"),
    [
        (lambda t: t.to_dict(), TypeError, r"`table` must be the data frame.*ace\.tl\.compare.*Got dict"),
        (lambda t: t.drop(columns=["n_genes", "value"]), ValueError, r"lacks the columns \['n_genes', 'value'\]"),
        (
            lambda t: t[t["metric"] == "shared"],
            ValueError,
            r"none of the metrics \['auroc'.*Metrics there: \['shared'\]",
        ),
        (lambda t: t[:0], ValueError, r"none of the metrics"),
    ],
)
def test_wrong_tables(table, spoil, error, match):
    with pytest.raises(error, match=match):
        ace.pl.compare(spoil(table), show=False)
    assert not plt.get_fignums()
