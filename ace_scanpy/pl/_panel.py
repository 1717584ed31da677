"""Signed panels as bars: depleted to the left, enriched to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator

from .. import _keys, _rgg, _validate
from .._docs import document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

_COLUMNS = 4
_GENE_HEIGHT = 0.24  # inches
_AXES_WIDTH = 2.9
_NAMES = 0.7  # width left for names, of that of the longest bar


@document
def panel(
    adata: AnnData,
    *,
    groups: Sequence[str] | None = None,
    n_genes: int = 10,
    key: str = _keys.RANKING,
    show: bool | None = None,
    ax: Axes | None = None,
) -> list[Axes] | Axes | None:
    """Draw the top genes of each group by signed score: enriched to the right, depleted to the left.

    Parameters
    ----------
    %(adata)s
    groups
        Groups to draw; None for all.
    n_genes
        Genes per group, from the most important down.
    %(key)s
    show
        Show the figure and return nothing. None shows it unless `ax` is given.
    ax
        Axes to draw on, for a single group.

    Returns
    -------
    The axes: a list with one per group, or `ax` itself when given; None when shown.

    Colours are those of `adata.uns[f'{groupby}_colors']` where Scanpy has set them. Depleted genes are hatched, so
    that the direction does not rest on colour. Methods without directions have bars to the right only.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels")
    >>> axes = ace.pl.panel(adata, groups=["CD19+ B", "Dendritic"], n_genes=5, show=False)
    >>> len(axes)
    2
    """
    entry = _rgg.read(adata, key)
    _rgg.require(entry, "panel_size")  # one of ours
    available = _rgg.group_names(entry)
    chosen = available if groups is None else _validate.members("groups", groups, available)
    n_genes = _validate.whole_number("n_genes", n_genes)
    if ax is not None and len(chosen) != 1:
        msg = f"`ax` takes one group, but {len(chosen)} are asked for. Give `groups` with a single group."
        raise ValueError(msg)
    tables = {group: _rgg.table(entry, group).head(n_genes) for group in chosen}
    axes = _grid(len(chosen), n_genes, signed="enriched" in entry) if ax is None else [ax]
    reach = max(float(table["scores"].abs().max()) for table in tables.values()) or 1.0
    palette = _palette(adata, str(entry["params"]["groupby"]), available)
    versus = str(entry["params"]["reference"])
    for one, (group, table) in zip(axes, tables.items(), strict=True):
        _bars(one, table, palette[group], reach)
        if "enriched" not in entry:
            one.set_xlim(left=-_NAMES * reach)
        one.set_title(f"{group} vs. {versus}", fontsize="medium")
    if show or (show is None and ax is None):
        plt.show()
        return None
    return axes if ax is None else ax


def _grid(n_axes: int, n_genes: int, *, signed: bool) -> list[Axes]:
    """A figure with one axes per group, four to a row."""
    n_columns = min(n_axes, _COLUMNS)
    n_rows = -(-n_axes // n_columns)
    size = (_AXES_WIDTH * n_columns, (0.9 + _GENE_HEIGHT * n_genes) * n_rows)
    figure, grid = plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")
    for unused in grid.flat[n_axes:]:
        unused.remove()
    figure.supxlabel("score  (← depleted, enriched →)" if signed else "score", fontsize="medium")
    return list(grid.flat[:n_axes])


def _bars(ax: Axes, table: pd.DataFrame, color: str, reach: float) -> None:
    """One bar per gene, the most important on top, its name on the side that the bar leaves free."""
    rows = np.arange(len(table))
    directions = table["enriched"] if "enriched" in table else table["scores"] >= 0
    for row, (name, score, enriched) in enumerate(zip(table["names"], table["scores"], directions, strict=True)):
        style: dict[str, Any] = {"color": color} if enriched else {"facecolor": "white", "hatch": "/////"}
        ax.barh(row, score, height=0.72, edgecolor=color, linewidth=1, **style)
        side = -1 if enriched else 1
        ax.text(side * 0.03 * reach, row, name, va="center", ha="right" if enriched else "left", fontsize="small")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlim(-1.12 * reach, 1.12 * reach)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_yticks([])
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4, symmetric=True, steps=[1, 2, 5, 10]))
    ax.spines[["left", "right", "top"]].set_visible(False)


def _palette(adata: AnnData, groupby: str, groups: Sequence[str]) -> dict[str, str]:
    """Scanpy's stored colours, by group; Scanpy's default ones where it has stored none."""
    stored = adata.uns.get(_keys.colors(groupby))
    if groupby in adata.obs and isinstance(adata.obs[groupby].dtype, pd.CategoricalDtype):
        categories = [str(c) for c in adata.obs[groupby].cat.categories]
    else:
        categories = list(groups)
    if stored is None or len(stored) < len(categories):
        cycle = plt.get_cmap("tab20").colors if len(categories) > 10 else plt.get_cmap("tab10").colors
        stored = [to_hex(cycle[i % len(cycle)]) for i in range(len(categories))]
    colors = dict(zip(categories, map(str, stored), strict=False))
    return {group: colors.get(group, "tab:blue") for group in groups}
