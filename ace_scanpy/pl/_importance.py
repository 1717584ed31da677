"""Signed scores of the top genes of every group, as a heatmap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.cluster import hierarchy

from .. import _genes, _keys, _rgg, _validate
from .._docs import document
from . import _figures, _heatmaps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_TREE = 0.5  # inches
_STEM = 0.25  # of a leaf, of the heights at which branches meet


@document
def importance(
    adata: AnnData,
    *,
    groups: Sequence[str] | None = None,
    n_genes: int = 5,
    gene_symbols: str | None = None,
    color_map: str | None = None,
    key: str = _keys.RANKING,
    show: bool | None = None,
    ax: Axes | None = None,
) -> Axes | None:
    """Draw signed scores, groups by genes: what one group's top genes say of every other group.

    Groups are ordered by a dendrogram, so that groups with like genes are neighbours: Scanpy's, where
    `adata.uns[f'dendrogram_{groupby}']` holds one for these groups, else average linkage of the cosine distances
    between their scores. Genes follow the groups that have them on top. A `+` (enriched) or `−` (depleted) marks the
    genes that are among a group's own top ones.

    Parameters
    ----------
    %(adata)s
    groups
        Groups to draw; None for all.
    n_genes
        Top genes of each group; the union is drawn.
    %(gene_symbols)s
    color_map
        Colour map of matplotlib, its middle at 0. None for red (enriched) to blue (depleted), or, for methods without
        directions, white to blue.
    %(key)s
    %(show_ax)s
    ax
        Axes to draw on; the dendrogram then orders the groups and is not drawn.

    Returns
    -------
    The axes of the heatmap; None when shown. Cells of genes that the ranking does not list for a group are grey.

    Raises
    ------
    KeyError
        When there is no such ranking or no such column of symbols.
    ValueError
        For an unknown group or fewer than one gene.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels", groups=["CD19+ B", "CD56+ NK", "Dendritic"])
    >>> ax = ace.pl.importance(adata, n_genes=2, show=False)
    >>> len(ax.get_yticklabels())
    3
    """
    entry = _rgg.read(adata, key)
    chosen = _figures.chosen(groups, _rgg.group_names(entry))
    n_genes = _validate.whole_number("n_genes", n_genes)
    symbols = _genes.labels(adata, entry, gene_symbols)
    tables = {group: _rgg.table(entry, group) for group in chosen}
    tree = _linkage(adata, str(entry["params"]["groupby"]), tables)
    ordered = list(tables) if tree is None else [list(tables)[leaf] for leaf in hierarchy.leaves_list(tree)]
    tops = {group: tables[group]["names"].head(n_genes) for group in ordered}
    genes = list(dict.fromkeys(name for top in tops.values() for name in top))
    scores = _scores({group: tables[group] for group in ordered}).reindex(columns=genes)
    signed = _genes.enriched(entry, next(iter(tables.values()))) is not None
    names = _genes.relabel(pd.Series(genes), symbols)
    if ax is None:
        drawn, beside = _heatmaps.figure(ordered, names, beside=None if tree is None else _TREE)
    else:
        drawn, beside = ax, None
    image = _heatmaps.heatmap(drawn, scores, signed=signed, color_map=color_map)
    _heatmaps.label(drawn, ordered, names)
    if signed:
        _heatmaps.signs(drawn, image, scores, tops)
    if beside is not None and tree is not None:
        _dendrogram(beside, tree)
    _heatmaps.color_bar([drawn] if beside is None else [drawn, beside], image, len(ordered), signed=signed)
    return _figures.finish(drawn, show=show, ax=ax)


def _scores(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Scores, groups by genes; NaN where the ranking of a group does not list the gene."""
    return pd.DataFrame({group: table.set_index("names")["scores"] for group, table in tables.items()}).T


def _linkage(adata: AnnData, groupby: str, tables: Mapping[str, pd.DataFrame]) -> NDArray[np.floating] | None:
    """A linkage of the groups, Scanpy's where it has one of them; None for a single group."""
    if len(tables) < 2:
        return None
    stored = adata.uns.get(_keys.dendrogram(groupby))
    if stored is not None and groupby in adata.obs:
        categories = [str(c) for c in adata.obs[groupby].astype("category").cat.categories]
        if categories == list(tables) and len(stored["linkage"]) == len(tables) - 1:
            return np.asarray(stored["linkage"])
    values = _scores(tables).fillna(0.0).to_numpy(dtype=float)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    # on the unit sphere, Euclidean distances grow with cosine distances, and a group without scores has one too
    return hierarchy.linkage(values / np.where(lengths > 0, lengths, 1.0), "average", optimal_ordering=True)


def _dendrogram(ax: Axes, tree: NDArray[np.floating]) -> None:
    """The tree, at the right of the rows that it orders; below the first branch its stems are cut short."""
    hierarchy.dendrogram(
        tree, ax=ax, orientation="right", no_labels=True, color_threshold=0, above_threshold_color="0.3"
    )
    low, high = tree[:, 2].min(), tree[:, 2].max()
    spread = (high - low) or high or 1.0
    ax.set_xlim(max(0.0, low - _STEM * spread), high + 0.05 * spread)
    ax.invert_yaxis()
    ax.set_axis_off()
