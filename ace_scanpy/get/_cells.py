"""The changes of single cells, as a tidy table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from .. import _keys, _tables, _validate
from .._docs import document

if TYPE_CHECKING:
    from anndata import AnnData


@document
def cells(adata: AnnData, cells: object = None, *, key: str = _keys.CELLS) -> pd.DataFrame:
    """Which genes have to change for a cell to belong to another group, cell by cell.

    Nothing is computed: it lists what :func:`ace_scanpy.tl.explain_cells` has stored.

    Parameters
    ----------
    %(adata)s
    cells
        Names, a boolean mask, or integer positions; None for all that were explained.
    key
        Layer with the changes.

    Returns
    -------
    One row per cell and gene that changes; cells in their order, genes by the size of their change:

    `cell`, `names` : object
        The cell and the gene.
    `target` : category
        The group that the cell was to be led to.
    `delta` : float32
        The change, in the units of the matrix that the network reads.

    A cell that needs no change has no rows.

    Raises
    ------
    KeyError
        When there are no changes of that name, or no such cell.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels")
    >>> ace.tl.explain_cells(adata, "bulk_labels", cells=[0, 1], reference="Dendritic")
    >>> table = ace.get.cells(adata, 0)
    >>> len(table) == int(adata.obs["ace_delta_n_genes"].iloc[0])
    True
    """
    target = _keys.of_cells(key, "target")
    if key not in adata.layers or target not in adata.obs.columns:
        msg = (
            f"`key`={key!r}: no changes of cells in `adata.layers`. Run `ace.tl.explain_cells(adata, groupby)` first. "
            f"Available layers: {_validate.listed(adata.layers)}."
        )
        raise KeyError(msg)
    chosen = _validate.cells(adata, "cells", cells)
    change = sparse.csr_matrix(_tables.in_memory(adata.layers[key]))[chosen].tocoo()
    order = np.lexsort((-np.abs(change.data), change.row))
    row, gene = chosen[change.row[order]], change.col[order]
    return pd.DataFrame(
        {
            "cell": adata.obs_names[row].to_numpy(dtype=object),
            "target": _tables.column(adata.obs, target).array[row],
            "names": adata.var_names[gene].to_numpy(dtype=object),
            "delta": change.data[order],
        }
    )
