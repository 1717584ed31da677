"""Jensen-Shannon specificity (Cabili et al. 2011)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import rel_entr

from ._scores import GeneScores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._contrasts import Contrasts


def jsd(means: NDArray[np.floating], contrasts: Contrasts) -> GeneScores:
    r"""How near a gene's expression is to being in one group only.

    The means of a gene are divided by their sum over the groups that are compared, which gives a distribution
    :math:`p`, and its specificity for group :math:`s` is

    .. math:: 1-\sqrt{\mathrm{JS}(p, e_s)},\qquad
       \mathrm{JS}(p,q)=\tfrac12\mathrm{KL}(p\,\|\,\tfrac{p+q}2)+\tfrac12\mathrm{KL}(q\,\|\,\tfrac{p+q}2)

    with :math:`e_s` all in :math:`s` and logarithms of base 2, so that it lies in [0, 1]. It sees presence only: a gene
    that the group alone lacks scores near 0, and so does one that is not expressed at all.

    Parameters
    ----------
    means
        Mean expression per group, not negative, shape ``(n_groups, n_genes)``.
    contrasts
        What to explain against what; against a reference, :math:`p` has two parts.
    """
    scores = np.zeros((len(contrasts.groups), means.shape[1]))
    for row, group in enumerate(contrasts.groups):
        compared = means[[group, *contrasts.others(row)]]
        total = compared.sum(axis=0)
        p = np.divide(compared, total, out=np.zeros_like(compared), where=total > 0)
        q = np.zeros_like(p)
        q[0] = 1.0
        middle = (p + q) / 2
        divergence = (rel_entr(p, middle) + rel_entr(q, middle)).sum(axis=0) / (2 * np.log(2))
        scores[row] = np.where(total > 0, 1 - np.sqrt(np.clip(divergence, 0.0, 1.0)), 0.0)
    return GeneScores(scores, signed=False)
