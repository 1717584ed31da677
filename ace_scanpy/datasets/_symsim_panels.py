"""The ACE paper's sets of 220 genes out of a simulated background (section 5.1): causal, dependent and noise genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ._symsim_truth import Differences

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

N_CAUSAL, N_DEPENDENT, N_NOISE = 20, 100, 100
MOST_PARENTS = 10
WEIGHTS = (0.01, 0.8)
LEAST_CELLS = 5
TRIMMED_SHARE = 0.05


class Panel(NamedTuple):
    """Cells by causal, dependent and noise genes: ``x`` and ``log1p_countspace`` log-normalised, ``counts`` whole."""

    x: Array
    counts: Array
    log1p_countspace: Array


def size_factors(counts: Counts) -> Array:
    """Total of each cell without the 5 % of genes with the highest mean, divided by the geometric mean over cells."""
    n_kept = counts.shape[1] - int(TRIMMED_SHARE * counts.shape[1])
    totals = counts[:, np.argsort(counts.sum(axis=0), kind="stable")[:n_kept]].sum(axis=1)
    if not totals.all():
        msg = (
            f"{int((totals == 0).sum())} of the {len(totals)} simulated cells have no molecule outside the highest 5 % "
            f"of genes, so they cannot be normalised. Raise `capture`, `depth` or `n_genes` ({counts.shape[1]})."
        )
        raise ValueError(msg)
    return totals / np.exp(np.log(totals).mean())


def mean_log2fc(truth: Differences) -> Array:
    """Mean |log2 fold change| of each gene over the pairs of clusters in which it is differential; 0 without any."""
    total = (np.abs(truth.log2fc) * truth.is_de).sum(axis=1)
    return total / np.maximum(truth.is_de.sum(axis=1), 1)


def choose_genes(truth: Differences, observed: Counts, rng: np.random.Generator) -> tuple[Counts, Counts]:
    """Causal genes, the strongest first, and noise genes, in the order of the background.

    Causal are the 20 that differ most (:func:`mean_log2fc`); noise are 100 at random of those that no differential
    factor acts on and that are observed in at least 5 cells.
    """
    differing = int(truth.is_de.any(axis=1).sum())
    pool = np.flatnonzero((truth.n_factors == 0) & ((observed > 0).sum(axis=0) >= LEAST_CELLS))
    if differing < N_CAUSAL or len(pool) < N_NOISE:
        msg = (
            f"The set needs {N_CAUSAL} genes that differ between clusters and {N_NOISE} that no differential factor "
            f"acts on. Got {differing} and {len(pool)} among {len(truth.log2fc)} genes. Raise `n_genes`, or change "
            "`n_de_evf`: more factors leave fewer genes without any."
        )
        raise ValueError(msg)
    causal = np.argsort(-mean_log2fc(truth), kind="stable")[:N_CAUSAL]
    return causal, np.sort(rng.choice(pool, N_NOISE, replace=False))


def dependent_weights(rng: np.random.Generator) -> Array:
    """Weights of the causal genes in each dependent gene, ``(100, 20)``: 1 to 10 are U(0.01, 0.8), the others 0."""
    weights = np.zeros((N_DEPENDENT, N_CAUSAL))
    for row in weights:
        parents = rng.choice(N_CAUSAL, rng.integers(1, MOST_PARENTS + 1), replace=False)
        row[parents] = rng.uniform(*WEIGHTS, size=len(parents))
    return weights


def build_panel(causal: Counts, noise: Counts, factors: Array, weights: Array, error: Array) -> Panel:
    """The genes of a set, with the dependent ones made in log space and in count space.

    With ``W`` the weights and ``e ~ N(0, 1)``, the same in both: in ``x`` a dependent gene is ``W log1p(causal) + e``;
    in count space it is ``max(0, W causal + e)``, rounded in ``counts``, and then normalised like the others.

    Parameters
    ----------
    causal, noise
        Counts of those genes, shapes ``(n_cells, 20)`` and ``(n_cells, 100)``.
    factors
        Size factors, shape ``(n_cells,)``.
    weights
        Shape ``(100, 20)``.
    error
        Standard normal, shape ``(n_cells, 100)``.
    """
    sums = np.maximum(causal @ weights.T + error, 0.0)
    log = [np.log1p(counts / factors[:, None]) for counts in (causal, sums, noise)]
    return Panel(
        x=np.hstack([log[0], log[0] @ weights.T + error, log[2]]),
        counts=np.hstack([causal, np.rint(sums), noise]),
        log1p_countspace=np.hstack(log),
    )
