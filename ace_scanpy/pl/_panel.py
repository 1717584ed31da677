"""Signed panels as bars: depleted to the left, enriched to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from .. import _contrasts, _genes, _keys, _rgg, _validate
from .._docs import document
from . import _figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_GENE_HEIGHT = 0.24  # inches
_AXES_WIDTH = 2.9
_NAMES = 0.7  # width left for names, of that of the longest bar


@document
def panel(
    adata: AnnData,
    *,
    groups: Sequence[str] | None = None,
    n_genes: int = 10,
    gene_symbols: str | None = None,
    key: str = _keys.RANKING,
    show: bool | None = None,
    ax: Axes | None = None,
) -> list[Axes] | Axes | None:
    """Draw the top genes of each group by signed score: enriched to the right, depleted to the left.

    Parameters
    ----------
    %(adata)s
    %(groups)s
    n_genes
        Genes per group, from the most important down.
    %(gene_symbols)s
    %(key)s
    %(show_ax)s
    ax
        Axes to draw on, for a single group.

    Returns
    -------
    The axes: a list with one per group, or `ax` itself when given; None when shown.

    Colours are those of `adata.uns[f'{groupby}_colors']` where Scanpy has set them, else Okabe and Ito's for up to 8
    groups. Depleted genes are hatched, so that the direction does not rest on colour. Methods without directions have
    bars to the right only.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels", groups=["CD19+ B", "Dendritic"])
    >>> axes = ace.pl.panel(adata, n_genes=5, show=False)
    >>> len(axes)
    2
    """
    entry = _rgg.read(adata, key)
    _rgg.require(entry, "panel_size")  # one of ours
    available = _rgg.group_names(entry)
    chosen = _figures.chosen(groups, available)
    n_genes = _validate.whole_number("n_genes", n_genes)
    symbols = _genes.labels(adata, entry, gene_symbols)
    tables = {group: _rgg.table(entry, group).head(n_genes) for group in chosen}
    axes = _figures.axes_for(chosen, ax, _AXES_WIDTH, 0.9 + _GENE_HEIGHT * n_genes)
    label = "score  (← depleted, enriched →)" if "enriched" in entry else "score"
    if ax is None:
        axes[0].figure.supxlabel(label, fontsize="medium")
    else:
        ax.set_xlabel(label)
    reach = max(float(table["scores"].abs().max()) for table in tables.values()) or 1.0
    palette = _figures.palette(adata, str(entry["params"]["groupby"]), available)
    for one, (group, table) in zip(axes, tables.items(), strict=True):
        _bars(one, table.assign(names=_genes.relabel(table["names"], symbols)), palette[group], reach)
        if "enriched" not in entry:
            one.set_xlim(left=-_NAMES * reach)
        one.set_title(_contrasts.versus(entry, group), fontsize="medium")
    return _figures.finish(axes if ax is None else ax, show=show, ax=ax)


def _bars(ax: Axes, table: pd.DataFrame, color: str, reach: float) -> None:
    """One bar per gene, the most important on top, its name on the side that the bar leaves free."""
    rows = np.arange(len(table))
    directions = table["enriched"] if "enriched" in table else table["scores"] >= 0
    for row, (name, score, enriched) in enumerate(zip(table["names"], table["scores"], directions, strict=True)):
        style: dict[str, Any] = {"color": color} if enriched else {"facecolor": "white", "hatch": "/////"}
        ax.barh(row, score, height=0.72, edgecolor=_figures.ink(color), linewidth=1, **style)
        side = -1 if enriched else 1
        ax.text(side * 0.03 * reach, row, name, va="center", ha="right" if enriched else "left", fontsize="small")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlim(-1.12 * reach, 1.12 * reach)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_yticks([])
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4, symmetric=True, steps=[1, 2, 5, 10]))
    ax.spines[["left", "right", "top"]].set_visible(False)
