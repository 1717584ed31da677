"""From what a method found over the genes of its matrix to the stored entry over all genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .. import _contrasts, _foldchanges, _rgg

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._labels import Labels
    from .._matrix import GeneMatrix, GroupSums
    from ..methods import Contrasts, Pairs


@dataclass(frozen=True)
class Found:
    """What a method found, one row per row of the contrasts.

    Attributes
    ----------
    scores
        Over the genes of the method's matrix, shape ``(n_groups, n_genes)``; positive for enriched where `signed`.
    params
        The method's settings, beyond Scanpy's own parameters.
    signed
        Whether the scores have a direction.
    marginal
        What orders genes of score 0 and gives them a sign, ahead of the fold change.
    delta, flip_rate, panel_size
        Of methods with a perturbation; see :func:`ace_scanpy.tl.explain`.
    pvals, pvals_adj
        Of methods with a test.
    pairs
        Each contrast by itself, of methods with a perturbation towards single groups.
    """

    scores: NDArray[np.floating]
    params: dict[str, Any]
    signed: bool = True
    marginal: NDArray[np.floating] | None = None
    delta: NDArray[np.floating] | None = None
    flip_rate: NDArray[np.floating] | None = None
    panel_size: NDArray[np.integer] | None = None
    pvals: NDArray[np.floating] | None = None
    pvals_adj: NDArray[np.floating] | None = None
    pairs: Pairs | None = None


def entry(
    adata: AnnData,
    matrix: GeneMatrix,
    labels: Labels,
    contrasts: Contrasts,
    found: Found,
    sums: GroupSums,
    fidelity: NDArray[np.floating] | None,
    params: dict[str, Any],
    *,
    n_genes: int | None,
    pts: bool,
) -> dict[str, Any]:
    """The stored entry, groups in the order of the categories; rankings of the same group in that of the contrasts."""
    rows = sorted(range(len(contrasts.groups)), key=lambda row: labels.display.index(contrasts.groups[row]))
    shown = [contrasts.groups[row] for row in rows]
    others = [contrasts.others(row) for row in rows]
    names = _field_names(labels, shown, others)
    logged = _foldchanges.sums_for_fold_changes(adata, matrix, sums, labels)
    n_all = len(matrix.var_names)
    changes = _foldchanges.log2_fold_changes(adata, logged, shown, others, n_all)
    inside: pd.DataFrame | None = None
    outside: pd.DataFrame | None = None
    if pts:
        inside, outside = _foldchanges.fractions(
            sums, labels, names, shown, others, contrasts.reference, matrix.var_names
        )
    own = np.full(len(shown), np.nan) if fidelity is None else fidelity[shown]
    ranking = _ranking(found, rows, matrix.genes, changes, own, sums.n_cells[shown])
    built = _rgg.build(
        ranking,
        groups=names,
        var_names=matrix.var_names,
        logfoldchanges=changes,
        params={
            "groupby": labels.key,
            "use_raw": matrix.use_raw,
            "layer": matrix.layer,
            "corr_method": "none",
            **params,
            **found.params,
        },
        n_genes=n_genes,
        pts=inside,
        pts_rest=outside,
    )
    if found.pairs is not None:
        built |= _pairs(found.pairs, rows, shown, names, labels, matrix, ranking.order, n_genes)
    return built


def _field_names(labels: Labels, groups: list[int], others: list[list[int]]) -> list[str]:
    """Names of the groups; where one has several rankings, with what it is compared with."""
    names = []
    for group, targets in zip(groups, others, strict=True):
        own = labels.names[group]
        against = ", ".join(labels.names[t] for t in labels.display if t in targets)
        names.append(own if groups.count(group) == 1 else f"{own} vs {against}")
    return names


def _pairs(
    pairs: Pairs,
    rows: list[int],
    shown: list[int],
    names: list[str],
    labels: Labels,
    matrix: GeneMatrix,
    order: NDArray[np.intp],
    n_genes: int | None,
) -> dict[str, np.recarray]:
    """Each contrast by itself: rows, groups and genes in the order of the entry."""
    delta = pairs.delta.tocoo()
    everywhere = (pairs.delta.shape[0], len(matrix.var_names))
    return _contrasts.build(
        names,
        [labels.names[g] for g in labels.display],
        np.argsort(labels.display)[shown],
        np.argsort(rows)[pairs.row],
        np.argsort(labels.display)[pairs.target],
        sparse.csr_matrix((delta.data, (delta.row, matrix.genes[delta.col])), shape=everywhere),
        pairs.flip_rate,
        pairs.distance[np.ix_(shown, labels.display)],
        order,
        n_genes,
    )


def _ranking(
    found: Found,
    rows: list[int],
    genes: NDArray[np.intp],
    changes: NDArray[np.floating],
    fidelity: NDArray[np.floating],
    n_cells: NDArray[np.integer],
) -> _rgg.Ranking:
    """From the genes of the method's matrix to all genes, in order.

    First by score, then, where scores are equal, by the gradient where the method has one, and by the size of the fold
    change; genes that the method does not read come last.
    """

    def spread(values: NDArray[np.floating] | None, elsewhere: float) -> NDArray[np.float64]:
        everywhere = np.full(changes.shape, elsewhere)
        if values is not None:
            everywhere[:, genes] = values[rows]
        return everywhere

    def per_group(values: NDArray[Any] | None, otherwise: float) -> NDArray[Any]:
        return np.full(len(rows), otherwise) if values is None else values[rows]

    scores = spread(found.scores.astype(np.float32), 0.0)
    marginal = spread(found.marginal, 0.0)
    read = np.zeros(changes.shape, dtype=bool)
    read[:, genes] = True
    fold = np.nan_to_num(changes)
    order = np.lexsort((-np.abs(fold), -np.abs(marginal), ~read, -np.abs(scores)), axis=1)
    enriched = np.where(scores != 0, scores, np.where(marginal != 0, marginal, fold)) > 0
    return _rgg.Ranking(
        order=order,
        scores=scores,
        enriched=enriched if found.signed else None,
        delta=spread(found.delta, np.nan if found.delta is None else 0.0),
        fidelity=fidelity,
        flip_rate=per_group(found.flip_rate, np.nan),
        panel_size=per_group(found.panel_size, 0),
        n_cells=n_cells,
        pvals=spread(found.pvals, np.nan),
        pvals_adj=spread(found.pvals_adj, np.nan),
    )
