"""One group against each other one: which genes separate it from which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from .. import _contrasts, _genes, _keys, _rgg, _validate
from .._docs import document
from . import _figures, _heatmaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

_BARS = 0.9  # inches


@document
def contrast(
    adata: AnnData,
    group: str,
    *,
    targets: Sequence[str] | None = None,
    n_genes: int = 5,
    gene_symbols: str | None = None,
    color_map: str | None = None,
    key: str = _keys.RANKING,
    show: bool | None = None,
    ax: Axes | None = None,
) -> Axes | None:
    """Draw which genes separate one group from each other one, targets by genes.

    Each row is a contrast of its own, and its scores are signed shares of its perturbation, see
    :func:`ace_scanpy.get.contrasts`. The bars are what the contrast costs, the sum of the absolute changes in units of
    the genes' scales, and rows are in their order: the group that is the least far off is on top. A `+` (enriched in
    the group) or `−` (depleted) marks the top genes of each row.

    Parameters
    ----------
    %(adata)s
    group
        The group.
    targets
        The groups that it is compared with; None for all.
    n_genes
        Top genes of each contrast; the union is drawn.
    %(gene_symbols)s
    color_map
        Colour map of matplotlib, its middle at 0. None for red (enriched) to blue (depleted).
    %(key)s
    %(show_ax)s
    ax
        Axes to draw on; the bars are then left out.

    Returns
    -------
    The axes of the heatmap; None when shown.

    Raises
    ------
    KeyError
        When there is no such ranking or no such column of symbols.
    ValueError
        For an unknown group or target, fewer than one gene, a ranking without contrasts, or when no contrast changes
        a gene.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels", groups=["CD19+ B"])
    >>> ax = ace.pl.contrast(adata, "CD19+ B", n_genes=3, show=False)
    >>> len(ax.get_yticklabels())
    9
    """
    entry = _rgg.read(adata, key)
    _contrasts.require(entry)
    name = _validate.member("group", group, _rgg.group_names(entry))
    of_target = _contrasts.per_target(entry, name).sort_values("size", kind="stable")
    chosen = _validate.members("targets", of_target.index if targets is None else targets, list(of_target.index))
    n_genes = _validate.whole_number("n_genes", n_genes)
    symbols = _genes.labels(adata, entry, gene_symbols)
    of_target = of_target.loc[of_target.index.isin(chosen)]
    table = _contrasts.table(entry, name)
    table = table[table["target"].isin(of_target.index)]
    if table.empty:
        msg = f"No contrast of {name!r} changes a gene of the ranking: there is nothing to draw."
        raise ValueError(msg)
    tops = {target: table.loc[table["target"] == target, "names"].head(n_genes) for target in of_target.index}
    genes = list(dict.fromkeys(gene for top in tops.values() for gene in top))
    scores = table.astype({"target": object}).pivot_table(index="target", columns="names", values="scores")
    scores = scores.reindex(index=of_target.index, columns=genes, fill_value=0.0).fillna(0.0)
    names = _genes.relabel(pd.Series(genes), symbols)
    drawn, beside = _heatmaps.figure(list(tops), names, beside=_BARS) if ax is None else (ax, None)
    image = _heatmaps.heatmap(drawn, scores, signed=True, color_map=color_map)
    _heatmaps.label(drawn, list(tops), names)
    _heatmaps.signs(drawn, image, scores, tops)
    drawn.set_ylabel(f"{_contrasts.source(entry, name)} vs.")
    if beside is not None:
        _bars(beside, of_target["size"])
    _heatmaps.color_bar([drawn] if beside is None else [drawn, beside], image, len(tops), signed=True)
    return _figures.finish(drawn, show=show, ax=ax)


def _bars(ax: Axes, size: pd.Series) -> None:
    """The cost of each contrast, beside its row."""
    ax.barh(range(len(size)), size, height=0.72, color="0.6")
    ax.set_ylim(len(size) - 0.5, -0.5)
    ax.set_yticks([])
    ax.set_xlabel("sum of |δ|", fontsize="small")
    ax.tick_params(axis="x", labelsize="small")
    ax.locator_params(axis="x", nbins=3)
    ax.spines[["left", "right", "top"]].set_visible(False)
