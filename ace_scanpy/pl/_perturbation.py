"""What the perturbation does to expression: each gene before, after, and in the group that it leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from .. import _contrasts, _genes, _keys, _rgg, _validate
from .._docs import document
from .._explained import Explained
from . import _figures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from .._matrix import GeneMatrix

_GENE_WIDTH, _HEIGHT = 0.7, 3.2  # inches
_STEP = 0.27  # of the width of a gene, from violin to violin


@document
def perturbation(
    adata: AnnData,
    group: str,
    target: str | None = None,
    *,
    n_genes: int = 10,
    gene_symbols: str | None = None,
    key: str = _keys.RANKING,
    show: bool | None = None,
    ax: Axes | None = None,
) -> Axes | None:
    r"""Draw what leads one group to another: each gene in the group before and after, and in the target.

    Genes are those that the contrast changes most. `after` is :math:`x+\sigma\delta`, the group's cells with the
    stored change, in the units of what the encoder reads (of log(1 + counts) where it is that of an scvi-tools model),
    and not cut at 0: a change is the same for all cells, and may lead those that lack the gene below. Dots are the
    means.

    Parameters
    ----------
    %(adata)s
    group
        The group.
    target
        The group that it is led to. None for its closest neighbour: of the groups that it was compared with, the one
        whose prototype is the least far in the latent space.
    n_genes
        Most genes to draw.
    %(gene_symbols)s
    %(key)s
    %(show_ax)s
    ax
        Axes to draw on.

    Returns
    -------
    The axes; None when shown.

    Raises
    ------
    KeyError
        When there is no such ranking or column of symbols, or the encoder is gone.
    ValueError
        For an unknown group or target, fewer than one gene, a ranking without contrasts, or a contrast that changes
        nothing.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels", groups=["CD19+ B"])
    >>> ax = ace.pl.perturbation(adata, "CD19+ B", "Dendritic", n_genes=4, show=False)
    >>> len(ax.get_xticklabels())
    4
    """
    entry = _rgg.read(adata, key)
    _contrasts.require(entry)
    name = _validate.member("group", group, _rgg.group_names(entry))
    targets = list(_contrasts.per_target(entry, name).index)
    to = _contrasts.nearest(entry, name) if target is None else _validate.member("target", target, targets)
    n_genes = _validate.whole_number("n_genes", n_genes)
    symbols = _genes.labels(adata, entry, gene_symbols)
    table = _contrasts.table(entry, name)
    table = table[table["target"] == to].head(n_genes)
    if table.empty:
        msg = f"The contrast of {name!r} with {to!r} changes no gene of the ranking: there is nothing to draw."
        raise ValueError(msg)
    source = _contrasts.source(entry, name)
    network, read, scale = _in_genes(adata, entry, table["names"])
    before, there = (
        read.dense(np.flatnonzero(network.labels.codes == network.labels.group(argument, name)))
        for argument, name in (("group", source), ("target", to))
    )
    after = before + scale * table["delta"].to_numpy()
    drawn = ax or plt.subplots(figsize=(1.2 + _GENE_WIDTH * len(table), _HEIGHT), layout="constrained")[1]
    colors = _figures.palette(adata, str(entry["params"]["groupby"]), _contrasts.groups(entry))
    hatched = _figures.ink(colors[source])
    styles: dict[str, dict[str, Any]] = {
        f"{source}, before": {"facecolor": colors[source], "edgecolor": "black"},
        f"{source}, after": {"facecolor": "white", "edgecolor": hatched, "hatch": "//////"},
        to: {"facecolor": colors[to], "edgecolor": "black"},
    }
    for place, (values, style) in enumerate(zip((before, after, there), styles.values(), strict=True)):
        _violins(drawn, values, np.arange(len(table)) + _STEP * (place - 1), style)
    drawn.set_xticks(range(len(table)), _genes.relabel(table["names"], symbols), rotation=90)
    drawn.set_xlim(-0.6, len(table) - 0.4)
    drawn.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    drawn.tick_params(axis="x", length=0)
    drawn.set_ylabel(read.quantity)
    drawn.set_title(f"{source} to {to}", fontsize="medium")
    drawn.spines[["right", "top"]].set_visible(False)
    handles = [Patch(**style, label=label) for label, style in styles.items()]
    drawn.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")
    return _figures.finish(drawn, show=show, ax=ax)


def _in_genes(
    adata: AnnData, entry: Mapping[str, Any], names: pd.Series
) -> tuple[Explained, GeneMatrix, NDArray[np.floating]]:
    """The explained network, the genes as it reads them, and what one unit of a change is in their units."""
    network = Explained.load(adata, entry)
    positions = network.matrix.gene_names.get_indexer(pd.Index(names))
    read = network.matrix.genes_alone.with_genes(network.matrix.genes[positions])
    return network, read, network.encoder.scale.numpy()[positions]


def _violins(ax: Axes, values: NDArray[np.floating], positions: NDArray[np.floating], style: Mapping[str, Any]) -> None:
    """The distribution of each column, and its mean."""
    drawn: dict[str, Any] = ax.violinplot(values, positions, widths=0.95 * _STEP, showextrema=False)
    for body in drawn["bodies"]:
        body.set(**style, alpha=1.0, linewidth=0.8)
    ax.scatter(positions, values.mean(axis=0), s=14, facecolor="white", edgecolor="black", linewidth=0.8, zorder=3)
