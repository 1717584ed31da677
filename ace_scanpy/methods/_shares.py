"""From the perturbations of a group's contrasts to one signed ranking."""

from __future__ import annotations

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
    candidates = np.ascontiguousarray(share[:, genes].T)
    covered, before = np.zeros(len(share)), np.zeros(len(share))
    raised = np.empty(len(share))
    # Gains only fall as genes are taken, so an old gain is an upper bound and few need to be computed again.
    gains = np.sqrt(candidates).mean(axis=1)
    computed_at = np.zeros(len(genes), dtype=np.intp)
    last = np.inf
    for n_taken in range(len(genes)):
        best = gains.argmax()
        while computed_at[best] < n_taken:
            np.add(covered, candidates[best], out=raised)
            np.sqrt(raised, out=raised)
            np.subtract(raised, before, out=raised)
            gains[best] = np.add.reduce(raised) / len(raised)
            computed_at[best] = n_taken
            best = gains.argmax()
        last = min(last, max(gains[best], np.finfo(np.float32).tiny))  # rounding must not reorder, nor make a zero
        scores[genes[best]] = last
        covered += candidates[best]
        np.sqrt(covered, out=before)
        gains[best] = -np.inf
    return scores
