"""Log2 fold changes and fractions of expressing cells, by Scanpy's formulas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scanpy import logging as logg

from . import _matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ._labels import Labels
    from ._matrix import GeneMatrix, GroupSums

_PSEUDOCOUNT = 1e-9


def sums_for_fold_changes(adata: AnnData, matrix: GeneMatrix, sums: GroupSums, labels: Labels) -> GroupSums | None:
    """Sums whose means are of log-normalised expression: those given, or those of `raw`, or None.

    A matrix with negative values has been scaled; then `raw` is read, when it holds the same genes.
    """
    if not sums.has_negative:
        return sums
    if not matrix.use_raw and adata.raw is not None:
        positions = adata.raw.var_names.get_indexer(matrix.var_names)
        if (positions >= 0).all():
            logg.info(f"    {matrix.where} has negative values: fold changes are taken from adata.raw")
            raw = _matrix.choose(adata, use_raw=True).with_genes(positions)
            found = _matrix.group_sums(raw, labels.codes, labels.n_groups)
            if not found.has_negative:
                return found
    logg.warning(f"{matrix.where} has negative values and adata.raw does not serve: fold changes are NaN.")
    return None


def log2_fold_changes(
    adata: AnnData, sums: GroupSums | None, groups: Sequence[int], reference: int | None, n_genes: int
) -> NDArray[np.float64]:
    """Per group and gene, ``log2((expm1(mean) + 1e-9) / (expm1(mean of the others) + 1e-9))``.

    Means are of the log-normalised values, as in :func:`scanpy.tl.rank_genes_groups`.
    """
    if sums is None:
        return np.full((len(groups), n_genes), np.nan)
    base = adata.uns.get("log1p", {}).get("base")
    factor = 1.0 if base is None else np.log(base)
    changes = []
    for group in groups:
        totals, n_cells = _others(sums.totals, sums.n_cells, group, reference)
        mean, other = sums.totals[group] / sums.n_cells[group], totals / n_cells
        ratio = (np.expm1(mean * factor) + _PSEUDOCOUNT) / (np.expm1(other * factor) + _PSEUDOCOUNT)
        changes.append(np.log2(ratio))
    return np.stack(changes)


def fractions(
    sums: GroupSums, labels: Labels, groups: Sequence[int], reference: int | None, var_names: pd.Index
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Fraction of cells expressing each gene, per group and, without a reference, in the others."""
    shown = [*groups, *([] if reference is None else [reference])]
    inside = {labels.names[g]: sums.expressing[g] / sums.n_cells[g] for g in labels.display if g in shown}
    pts = pd.DataFrame(inside, index=var_names)
    if reference is not None:
        return pts, None
    outside = {}
    for group in groups:
        expressing, n_cells = _others(sums.expressing, sums.n_cells, group, None)
        outside[labels.names[group]] = expressing / n_cells
    return pts, pd.DataFrame(outside, index=var_names)


def _others(
    values: NDArray[np.float64], n_cells: NDArray[np.int64], group: int, reference: int | None
) -> tuple[NDArray[np.float64], int]:
    """Sum and number of cells of the reference, or of all groups but one."""
    if reference is not None:
        return values[reference], int(n_cells[reference])
    return values.sum(axis=0) - values[group], int(n_cells.sum() - n_cells[group])
