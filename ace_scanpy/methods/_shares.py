"""From the perturbations of a group's contrasts to one signed ranking."""

from __future__ import annotations

import heapq

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def shares(magnitude: Array) -> Array:
    """Each row divided by its sum; a row of zeros stays so."""
    total = magnitude.sum(axis=1, keepdims=True)
    return np.divide(magnitude, total, out=np.zeros_like(magnitude), where=total > 0)


def coverage_gains(share: Array) -> Array:
    r"""What each gene adds to the explanation of all contrasts, taken greedily.

    A set of genes :math:`G` covers the share :math:`S_t(G)=\sum_{i\in G}\text{share}_{ti}` of the perturbation towards
    target :math:`t`, and explains the group to the degree
    :math:`F(G)=\frac1T\sum_t\sqrt{S_t(G)}`. Genes are taken one by one, each time the one that raises
    :math:`F` most, and the raise is its score. The square root makes a second gene for a target that is
    already explained count less than a first gene for one that is not; with a single target the order is that of
    the shares. :math:`F` is submodular, so the scores fall along the order, and they sum to one.

    Parameters
    ----------
    share
        Non-negative, shape ``(n_targets, n_genes)``, rows sum to one.

    Returns
    -------
    Scores, shape ``(n_genes,)``; zero exactly where all shares are.
    """
    share = np.asarray(share, dtype=np.float64)
    scores = np.zeros(share.shape[1])
    genes = np.flatnonzero(share.any(axis=0))
    if len(genes):
        order, gains = _take_all(np.ascontiguousarray(share[:, genes].T))
        # rounding must not reorder, nor make a zero
        scores[genes[order]] = np.minimum.accumulate(np.maximum(gains, np.finfo(np.float32).tiny))
    return scores


@numba.njit(cache=True, nogil=True)
def _take_all(share: Array) -> tuple[NDArray[np.intp], NDArray[np.float64]]:  # pragma: no cover - compiled
    """Rows, genes by targets, in the order in which they are taken, and what each raises F by.

    What a gene raises F by only falls as others are taken: what is known of it is an upper bound, and few need to be
    computed again.
    """
    n_genes, n_targets = share.shape
    covered, before = np.zeros(n_targets), np.zeros(n_targets)
    bounds = [(-np.sqrt(share[gene]).sum() / n_targets, gene, 0) for gene in range(n_genes)]
    heapq.heapify(bounds)
    order, gains = np.empty(n_genes, np.intp), np.empty(n_genes)
    for n_taken in range(n_genes):
        gain, gene, computed_at = bounds[0]
        while computed_at < n_taken:
            raised = 0.0
            for target in range(n_targets):
                raised += np.sqrt(covered[target] + share[gene, target]) - before[target]
            heapq.heapreplace(bounds, (-raised / n_targets, gene, n_taken))
            gain, gene, computed_at = bounds[0]
        heapq.heappop(bounds)
        order[n_taken], gains[n_taken] = gene, -gain
        covered += share[gene]
        before = np.sqrt(covered)
    return order, gains
