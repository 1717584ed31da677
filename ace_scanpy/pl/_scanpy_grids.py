"""Scanpy's plots of groups by genes, of the matrix that was ranked, and of one direction where that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FixedLocator
from scanpy import logging as logg
from sklearn.isotonic import isotonic_regression

from .. import _genes, _keys, _rgg, _validate
from .._docs import document
from . import _figures

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

    from .._genes import Direction

_GRIDS = {
    "dotplot": (
        "Draw the top genes of each group as dots: colour for the mean expression, size for the share of cells.",
        "`values_to_plot`, `cmap`, `standard_scale`, `swap_axes`, `dendrogram`, `return_fig`",
    ),
    "matrixplot": (
        "Draw the mean expression of the top genes of each group as a heatmap of groups by genes.",
        "`values_to_plot`, `cmap`, `standard_scale`, `swap_axes`, `dendrogram`, `return_fig`",
    ),
    "stacked_violin": (
        "Draw the distributions of the top genes of each group as small violins, groups by genes.",
        "`cmap`, `standard_scale`, `swap_axes`, `dendrogram`, `return_fig`",
    ),
    "heatmap": (
        "Draw the top genes of each group as a heatmap of cells by genes.",
        "`cmap`, `standard_scale`, `swap_axes`, `dendrogram`, `show_gene_labels`",
    ),
    "tracksplot": (
        "Draw the top genes of each group as tracks over the cells, one track per gene.",
        "`dendrogram`, `figsize`",
    ),
}
"""Plots that share one signature: what each shows, and some of Scanpy's own arguments."""

_OF_CELLS = ("heatmap", "tracksplot")
"""Those that give a group as much room as it has cells."""

_GRID_DOC = """{summary}

As :func:`scanpy.pl.rank_genes_groups_{kind}`, which draws `adata.raw` wherever there is one, but of the matrix
that was ranked: `use_raw` and `layer` are those of the ranking. With `direction="both"` genes are in the order of the
ranking, depleted ones among them: those are low in the group that they stand under.

Parameters
----------
%(adata)s
%(groups)s
n_genes
    Genes per group.
%(direction)s
min_logfoldchange
    Leave out genes whose log2 fold change is not above this.
%(gene_symbols)s
%(key)s
kwargs
    For Scanpy's plot: {arguments}, `show` and others. For genes of your own use :func:`scanpy.pl.{kind}`.

Returns
-------
What Scanpy's plot returns: nothing when shown, else the axes by name, or the figure with `return_fig=True` where it
has that.

Raises
------
KeyError
    When there is no such ranking or no such column of symbols.
ValueError
    For an unknown group or direction, a direction of a method that has none, or when no gene is left to draw.

Examples
--------
>>> import ace_scanpy as ace
>>> import scanpy as sc
>>> adata = sc.datasets.pbmc68k_reduced()
>>> ace.tl.explain(adata, "bulk_labels", groups=["CD19+ B", "Dendritic"])
>>> axes = ace.pl.rank_genes_groups_{kind}(adata, n_genes=2, direction="enriched", dendrogram=False, show=False)
>>> len(axes) > 1
True
"""


def _grid_plot(kind: str) -> Callable[..., Any]:
    """The wrapper of one of Scanpy's plots of groups by genes."""

    def draw(
        adata: AnnData,
        groups: Sequence[str] | None = None,
        *,
        n_genes: int = 10,
        direction: Direction = "both",
        min_logfoldchange: float | None = None,
        gene_symbols: str | None = None,
        key: str = _keys.RANKING,
        **kwargs: Any,
    ) -> Any:
        entry, tables = select(adata, groups, n_genes, direction, key, min_logfoldchange)
        symbols = _genes.labels(adata, entry, gene_symbols)
        genes = {group: _genes.relabel(table["names"], symbols) for group, table in tables.items() if len(table)}
        for group in [group for group in tables if group not in genes]:
            logg.warning(f"No genes to draw for {group!r}.")
        if not genes:
            msg = f"No group has a gene to draw with direction={direction!r}, min_logfoldchange={min_logfoldchange}."
            raise ValueError(msg)
        if kwargs.get("use_raw") is None and kwargs.get("layer") is None:
            kwargs |= {"use_raw": _genes.uses_raw(entry), "layer": entry["params"].get("layer")}
        scanpys = getattr(_figures.scanpys(), f"rank_genes_groups_{kind}")
        options = {"var_names": genes, "gene_symbols": gene_symbols, "key": key, **kwargs}
        if kind not in _OF_CELLS:
            return scanpys(adata, list(genes), **options)
        drawn = scanpys(adata, list(genes), **{**options, "show": False})
        _names_apart(drawn["groupby_ax"])
        return _figures.finish(drawn, show=kwargs.get("show"))

    summary, arguments = _GRIDS[kind]
    draw.__name__ = draw.__qualname__ = f"rank_genes_groups_{kind}"
    draw.__doc__ = _GRID_DOC.format(summary=summary, arguments=arguments, kind=kind)
    return document(draw)


rank_genes_groups_dotplot = _grid_plot("dotplot")
rank_genes_groups_matrixplot = _grid_plot("matrixplot")
rank_genes_groups_stacked_violin = _grid_plot("stacked_violin")
rank_genes_groups_heatmap = _grid_plot("heatmap")
rank_genes_groups_tracksplot = _grid_plot("tracksplot")


def _names_apart(ax: Axes) -> None:
    """Move names of groups of few cells apart, each as little as that takes."""
    for axis, across in ((ax.xaxis, "width"), (ax.yaxis, "height")):
        if not isinstance(axis.get_major_locator(), FixedLocator):
            continue  # the other axis: Scanpy has put no names there
        labels = axis.get_ticklabels()
        low, high = sorted(axis.get_view_interval())
        room = high - low
        gap = max(getattr(label.get_window_extent(), across) for label in labels) * room / getattr(ax.bbox, across)
        shift = min(gap, room / len(labels)) * np.arange(len(labels))
        places = isotonic_regression(axis.get_ticklocs() - shift, y_min=low, y_max=high - shift[-1]) + shift
        axis.set_ticks(places, [label.get_text() for label in labels])


def select(
    adata: AnnData,
    groups: Sequence[str] | None,
    n_genes: int,
    direction: str,
    key: str,
    min_logfoldchange: float | None = None,
) -> tuple[Mapping[str, Any], dict[str, pd.DataFrame]]:
    """The ranking, and the rows to draw of each group."""
    entry = _rgg.read(adata, key)
    n_genes = _validate.whole_number("n_genes", n_genes)
    tables = {}
    for group in _figures.chosen(groups, _rgg.group_names(entry)):
        table = _genes.select(entry, group, direction)
        if min_logfoldchange is not None:
            table = table[table["logfoldchanges"] > min_logfoldchange]
        tables[group] = table.head(n_genes)
    return entry, tables
