"""Rankings side by side: each measure against the size of the panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, NullLocator

from .. import _validate
from .._docs import document
from . import _figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLES = {
    "auroc": ("Tells the group from the rest", "AUROC\n(higher is better)"),
    "knn_jaccard": ("Keeps the neighbours", "Jaccard distance\n(lower is better)"),
    "abs_r": ("Repeats itself", "mean |r|\n(lower is better)"),
    "flip_rate": ("Moves the cells", "cells flipped\n(higher is better)"),
}
"""Measures that are drawn, in this order: title and label."""

_MARKERS = "osD^vPX"  # seven, so that the combinations with eight colours repeat late
_AXES_SIZE = (3.3, 3.0)  # inches
_LEGEND_ROW = 0.25
_SPREAD = 0.012  # share of the axis between two keys, so that their error bars do not hide each other


@document
def compare(table: pd.DataFrame, *, show: bool | None = None) -> list[Axes] | None:
    """Draw what :func:`ace_scanpy.tl.compare` measured: one axes per measure, one line per ranking.

    Points are means over groups, for the AUROC over groups and test splits, and bars their standard errors, as in
    figure 3 of the paper. The same groups are behind every line, so a difference between lines is surer than their
    bars, which show how much groups differ, make it look.

    Parameters
    ----------
    table
        From :func:`ace_scanpy.tl.compare`. Rows may be left out to draw less: other groups, keys or metrics.
    %(show)s

    Returns
    -------
    The axes, in the order AUROC, Jaccard distance, redundancy, flips, as far as the table has them; None when shown.

    Raises
    ------
    TypeError
        When `table` is not a data frame.
    ValueError
        When it lacks a column, or all of the measures.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> for method in ("t-test", "wilcoxon"):
    ...     sc.tl.rank_genes_groups(adata, "louvain", method=method, key_added=method)
    >>> table = ace.tl.compare(
    ...     adata, "louvain", keys=["t-test", "wilcoxon"], n_genes=[5, 20], use_raw=True, use_rep=None
    ... )
    >>> len(ace.pl.compare(table, show=False))
    3
    """
    _check(table)
    keys = list(dict.fromkeys(table["key"]))
    shown = [metric for metric in TITLES if (table["metric"] == metric).any()]
    n_columns = min(len(keys), len(shown))
    n_rows = -(-len(keys) // n_columns)
    size = (_AXES_SIZE[0] * len(shown), _AXES_SIZE[1] + _LEGEND_ROW * n_rows)
    figure, grid = plt.subplots(1, len(shown), figsize=size, squeeze=False, layout="constrained")
    axes = list(grid.flat)
    for ax, metric in zip(axes, shown, strict=True):
        _lines(ax, table[table["metric"] == metric], keys)
        title, label = TITLES[metric]
        ax.set_title(title, fontsize="medium")
        ax.set_ylabel(label)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=n_columns, frameon=False)
    return _figures.finish(axes, show=show)


def _check(table: pd.DataFrame) -> None:
    if not isinstance(table, pd.DataFrame):
        msg = f"`table` must be the data frame that `ace.tl.compare` returns. Got {type(table).__name__}."
        raise TypeError(msg)
    lacking = [name for name in ("key", "metric", "n_genes", "value") if name not in table]
    if lacking:
        msg = f"`table` lacks the columns {lacking}. Columns there: {_validate.listed(table.columns)}."
        raise ValueError(msg)
    if not table["metric"].isin(TITLES).any():
        found = _validate.listed(table["metric"].unique())
        msg = f"`table` has none of the metrics {list(TITLES)} to draw. Metrics there: {found}."
        raise ValueError(msg)


def _lines(ax: Axes, table: pd.DataFrame, keys: list[str]) -> None:
    """Mean and standard error of each key at each size, on an axis of the logarithm of the size."""
    sizes = np.sort(table["n_genes"].unique())
    width = np.log(sizes[-1] / sizes[0]) or 1.0
    for number, key in enumerate(keys):
        found = table[table["key"] == key].groupby("n_genes")["value"].agg(["mean", "sem"])
        shift = np.exp(_SPREAD * width * (number - (len(keys) - 1) / 2))
        ax.errorbar(
            found.index * shift,
            found["mean"],
            yerr=found["sem"].fillna(0.0),
            label=key,
            color=_figures.OKABE_ITO[number % len(_figures.OKABE_ITO)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4.5,
            linewidth=1.4,
            elinewidth=0.8,
            capsize=2,
        )
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(sizes.tolist()))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([str(size) for size in sizes])
    ax.set_xlabel("genes per group")
    ax.spines[["right", "top"]].set_visible(False)
    ax.grid(axis="y", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
