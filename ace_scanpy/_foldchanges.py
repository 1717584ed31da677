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
    adata: AnnData, sums: GroupSums | None, groups: Sequence[int], others: Sequence[Sequence[int]], n_genes: int
) -> NDArray[np.float64]:
    """Per group, its others and gene, ``log2((expm1(mean) + 1e-9) / (expm1(mean of the others) + 1e-9))``.

    Means are of the log-normalised values, as in :func:`scanpy.tl.rank_genes_groups`.
    """
    if sums is None:
        return np.full((len(groups), n_genes), np.nan)
    base = adata.uns.get("log1p", {}).get("base")
    factor = 1.0 if base is None else np.log(base)
    means = sums.totals[groups] / sums.n_cells[groups, None]
    other_means = _pooled(sums.totals, sums.n_cells, others)
    return np.log2((np.expm1(means * factor) + _PSEUDOCOUNT) / (np.expm1(other_means * factor) + _PSEUDOCOUNT))


def fractions(
    sums: GroupSums,
    labels: Labels,
    names: Sequence[str],
    groups: Sequence[int],
    others: Sequence[Sequence[int]],
    reference: int | None,
    var_names: pd.Index,
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Fraction of cells expressing each gene, per ranking and in a reference, and without one in the others."""
    inside = sums.expressing / sums.n_cells[:, None]
    pts = pd.DataFrame(dict(zip(names, inside[list(groups)], strict=True)), index=var_names)
    if reference is None:
        outside = _pooled(sums.expressing, sums.n_cells, others)
        return pts, pd.DataFrame(dict(zip(names, outside, strict=True)), index=var_names)
    pts[labels.names[reference]] = inside[reference]
    return pts[[labels.names[g] for g in labels.display if g == reference or g in groups]], None


def _pooled(
    values: NDArray[np.float64], n_cells: NDArray[np.int64], sets: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """Mean over the cells of several groups, for each set of groups."""
    member = np.zeros((len(sets), len(values)))
    for row, others in enumerate(sets):
        member[row, others] = 1.0
    return (member @ values) / (member @ n_cells)[:, None]
