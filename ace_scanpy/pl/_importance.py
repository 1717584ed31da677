"""Signed scores of the top genes of every group, as a heatmap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import FuncNorm
from scipy.cluster import hierarchy

from .. import _genes, _keys, _rgg, _validate
from .._docs import document
from . import _figures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

_CELL = 0.19  # inches
_MARGINS = (1.9, 1.1)  # inches, for the dendrogram and the bar of colours
_LETTER = 0.08  # inches, of the names of groups and genes
_SIGNED, _UNSIGNED = "RdBu_r", "Blues"  # both safe for any colour vision
_TREE = 0.5  # inches
_GAP = 0.5  # inches, for the words at the ends of the scale
_DARK = 0.65  # share of the range beyond which white ink reads better than black


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
    >>> ace.tl.explain(adata, "bulk_labels")
    >>> ax = ace.pl.importance(adata, n_genes=2, show=False)
    >>> len(ax.get_yticklabels())
    10
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
        drawn, beside = _figure(ordered, names, tree)
    else:
        drawn, beside = ax, None
    image = _heatmap(drawn, scores, signed=signed, color_map=color_map)
    drawn.set_xticks(range(len(genes)), names, rotation=90, fontsize="small")
    drawn.set_yticks(range(len(ordered)), ordered, fontsize="small")
    drawn.tick_params(length=0)
    drawn.spines[:].set_visible(False)
    if signed:
        _signs(drawn, image, scores, tops)
    if beside is not None:
        _dendrogram(beside, tree)
    _color_bar([drawn] if beside is None else [drawn, beside], image, len(ordered), signed=signed)
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


def _heatmap(ax: Axes, scores: pd.DataFrame, *, signed: bool, color_map: str | None) -> AxesImage:
    """The image, its colours centred at 0."""
    reach = float(np.nanmax(np.abs(scores.to_numpy()))) or 1.0
    cmap = colormaps[color_map or (_SIGNED if signed else _UNSIGNED)].copy()
    cmap.set_bad("0.85")
    norm = FuncNorm((_root, _square), vmin=-reach if signed else 0.0, vmax=reach)
    return ax.imshow(scores.to_numpy(dtype=float), cmap=cmap, norm=norm, aspect="auto", interpolation="nearest")


def _root(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Square root with the sign kept: scores are shares, most of them small."""
    return np.sign(values) * np.sqrt(np.abs(values))


def _square(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.sign(values) * np.square(values)


def _signs(ax: Axes, image: AxesImage, scores: pd.DataFrame, tops: Mapping[str, pd.Series]) -> None:
    """A sign on each group's own top genes, so that the direction does not rest on colour."""
    strength = np.abs(2 * np.asarray(image.norm(scores.to_numpy())) - 1)
    for row, (group, names) in enumerate(tops.items()):
        for column in map(list(scores.columns).index, names):
            score = scores.loc[group].iloc[column]
            if score != 0:
                ax.text(
                    column,
                    row,
                    "+" if score > 0 else "−",
                    color="white" if strength[row, column] > _DARK else "black",
                    ha="center",
                    va="center_baseline",
                    fontsize="small",
                )


def _figure(groups: Sequence[str], genes: Sequence[str], tree: NDArray[np.floating] | None) -> tuple[Axes, Axes | None]:
    """Axes for the heatmap and, where there is one, for the dendrogram."""
    inside = max(_CELL * len(genes), 1.5)
    size = (
        _MARGINS[0] + inside + _LETTER * max(map(len, groups)),
        _MARGINS[1] + _CELL * len(groups) + _LETTER * max(map(len, genes)),
    )
    figure = plt.figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    if tree is None:
        return figure.add_subplot(), None
    return tuple(figure.subplots(1, 2, width_ratios=[inside, _TREE]))


def _color_bar(beside: list[Axes], image: AxesImage, n_rows: int, *, signed: bool) -> None:
    """The scale, with words at its ends."""
    figure = beside[0].figure
    shrink = min(1.0, 1.5 / (_CELL * n_rows))
    pad = _GAP * figure.dpi / figure.bbox.width
    bar = figure.colorbar(image, ax=beside, shrink=shrink, aspect=12, pad=pad)
    step = float(f"{image.get_clim()[1] / 1.5:.0g}")
    ticks = [-step, -step / 10, 0.0, step / 10, step] if signed else [0.0, step / 10, step]
    bar.set_ticks(ticks, labels=[f"{tick:g}".replace("-", "−") for tick in ticks], fontsize="small")
    bar.ax.set_title("enriched\n+" if signed else "score", fontsize="small")
    if signed:
        bar.ax.set_xlabel("−\ndepleted", fontsize="small")
        bar.set_label("score", fontsize="small")


def _dendrogram(ax: Axes, tree: NDArray[np.floating] | None) -> None:
    """The tree, at the right of the rows that it orders."""
    hierarchy.dendrogram(
        tree, ax=ax, orientation="right", no_labels=True, color_threshold=0, above_threshold_color="0.3"
    )
    ax.invert_yaxis()
    ax.set_axis_off()
