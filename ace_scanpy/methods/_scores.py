"""What the methods that ACE is compared with return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class GeneScores:
    """Scores of one method, one row per explained group, in the order of `Contrasts.groups`.

    Attributes
    ----------
    scores
        Importance, finite, shape ``(n_groups, n_genes)``; 0 where the method says nothing of a gene.
    signed
        Whether the sign tells direction, positive for enriched. Otherwise no score is negative.
    pvals, pvals_adj
        P-values, plain and after Benjamini and Hochberg, where the method makes a test; NaN for genes it cannot test.
    """

    scores: NDArray[np.float64]
    signed: bool
    pvals: NDArray[np.float64] | None = None
    pvals_adj: NDArray[np.float64] | None = None
