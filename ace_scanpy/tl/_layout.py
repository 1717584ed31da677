"""From an explanation over the encoder's genes to the stored entry over all genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _foldchanges, _rgg

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._labels import Labels
    from .._matrix import GeneMatrix, GroupSums
    from ..methods import Contrasts, Explanation


def entry(
    adata: AnnData,
    matrix: GeneMatrix,
    labels: Labels,
    contrasts: Contrasts,
    found: Explanation,
    sums: GroupSums,
    fidelity: NDArray[np.floating],
    params: dict[str, Any],
    *,
    n_genes: int | None,
    pts: bool,
) -> dict[str, Any]:
    """The stored entry, groups in the order of the categories; `params` are those beyond Scanpy's own."""
    shown = [g for g in labels.display if g in contrasts.groups]
    rows = [contrasts.groups.index(g) for g in shown]
    logged = _foldchanges.sums_for_fold_changes(adata, matrix, sums, labels)
    n_all = len(matrix.var_names)
    changes = _foldchanges.log2_fold_changes(adata, logged, shown, contrasts.reference, n_all)
    inside: pd.DataFrame | None = None
    outside: pd.DataFrame | None = None
    if pts:
        inside, outside = _foldchanges.fractions(sums, labels, shown, contrasts.reference, matrix.var_names)
    return _rgg.build(
        _ranking(found, rows, matrix.genes, changes, fidelity[shown], sums.n_cells[shown]),
        groups=[labels.names[g] for g in shown],
        var_names=matrix.var_names,
        logfoldchanges=changes,
        params={
            "groupby": labels.key,
            "reference": "rest" if contrasts.reference is None else labels.names[contrasts.reference],
            "use_raw": matrix.use_raw,
            "layer": matrix.layer,
            "corr_method": "none",
            "rest": contrasts.rest,
            **params,
        },
        n_genes=n_genes,
        pts=inside,
        pts_rest=outside,
    )


def _ranking(
    found: Explanation,
    rows: list[int],
    genes: NDArray[np.intp],
    changes: NDArray[np.floating],
    fidelity: NDArray[np.floating],
    n_cells: NDArray[np.integer],
) -> _rgg.Ranking:
    """From the encoder's genes to all genes of the matrix, in order.

    First by score, then, where that is zero, by the gradient; genes that the encoder does not read come last,
    by the size of their fold change.
    """
    scores, marginal, delta = (np.zeros(changes.shape) for _ in range(3))
    scores[:, genes] = found.scores[rows].astype(np.float32)
    marginal[:, genes] = found.marginal[rows]
    delta[:, genes] = found.delta[rows]
    read = np.zeros(changes.shape, dtype=bool)
    read[:, genes] = True
    fold = np.nan_to_num(changes)
    order = np.lexsort((-np.abs(fold), -np.abs(marginal), ~read, -np.abs(scores)), axis=1)
    return _rgg.Ranking(
        order=order,
        scores=scores,
        enriched=np.where(scores != 0, scores, np.where(marginal != 0, marginal, fold)) > 0,
        delta=delta,
        fidelity=fidelity,
        flip_rate=found.flip_rate[rows],
        panel_size=found.panel_size[rows],
        n_cells=n_cells,
    )
