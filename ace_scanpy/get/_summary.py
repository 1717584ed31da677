"""Each group in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from .. import _genes, _keys, _rgg, _validate
from .._docs import document

if TYPE_CHECKING:
    from anndata import AnnData


@document
def summary(
    adata: AnnData, *, key: str = _keys.RANKING, n_genes: int = 5, gene_symbols: str | None = None
) -> pd.DataFrame:
    """Each group in one line: its size, how far to trust its panel, and the genes on top.

    Parameters
    ----------
    %(adata)s
    %(key)s
    n_genes
        Most genes to name in each direction.
    %(gene_symbols)s

    Returns
    -------
    One row per group, its name in the index:

    `n_cells` : int
        Cells.
    `fidelity` : float
        Share of the group's cells whose neuralised assignment is their label; NaN for methods without a network.
    `flip_rate` : float
        Share of the sampled cells that the whole perturbation moves; NaN for methods without one.
    `panel_size` : int
        Genes enough to move 95 % of them in every contrast; 0 where no prefix of the ranking does.
    `enriched`, `depleted` : str
        The top genes of each direction that have a score, most important first. A single column `genes` for methods
        without directions.

    Raises
    ------
    KeyError
        When there is no such ranking or no such column of symbols.
    ValueError
        When the ranking is not one of :func:`ace_scanpy.tl.explain`, or `n_genes` is below 1.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels", groups=["CD19+ B", "Dendritic"])
    >>> table = ace.get.summary(adata)
    >>> list(table.columns)
    ['n_cells', 'fidelity', 'flip_rate', 'panel_size', 'enriched', 'depleted']
    >>> int(table.loc["CD19+ B", "n_cells"])
    95
    """
    entry = _rgg.read(adata, key)
    n_genes = _validate.whole_number("n_genes", n_genes)
    symbols = _genes.labels(adata, entry, gene_symbols)
    rows: dict[str, dict[str, Any]] = {}
    for group in _rgg.group_names(entry):
        row = {name: _rgg.per_group(entry, name, group) for name in ("n_cells", "fidelity", "flip_rate", "panel_size")}
        table = _rgg.table(entry, group)
        scored = table["scores"] != 0
        up = _genes.enriched(entry, table)
        parts = {"genes": scored} if up is None else {"enriched": scored & up, "depleted": scored & ~up}
        for name, chosen in parts.items():
            row[name] = ", ".join(_genes.relabel(table["names"][chosen].head(n_genes), symbols))
        rows[group] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(str(entry["params"]["groupby"]))
