"""Global counterfactual explanation: transitive group translations (Plumb et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._scores import GeneScores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ._contrasts import Contrasts

_PATH = np.geomspace(0.5, 0.003, 8)  # of the penalty at which no gene moves
_TRUNCATED = 0.02
_MOST_STEPS = 3000
_TOLERANCE = 1e-6
_BLOCK = 2**22


@dataclass(frozen=True)
class Translations:
    r"""One vector per group, whose differences :math:`\delta_{i\to j}=d_j-d_i` translate group i to group j.

    Attributes
    ----------
    vectors
        Shape ``(n_groups, n_genes)``; each gene sums to zero.
    lam
        The penalty chosen.
    correctness
        Share of cells that the largest 2 % of each translation bring nearest to the target's mean.
    """

    vectors: NDArray[np.float64]
    lam: float
    correctness: float


def gce(translations: Translations, means: NDArray[np.floating], contrasts: Contrasts) -> GeneScores:
    r"""Scores from transitive translations: the mean over targets of :math:`|\delta_{s\to j}|`.

    The sign is that of :math:`-\sum_j\delta_{s\to j}`: a gene that goes down on the way out of the group is enriched.
    Where that sum is zero, though its parts are not, it is the sign of the difference of the means.

    Parameters
    ----------
    translations
        From :func:`translate`.
    means
        As for :func:`translate`.
    contrasts
        What to explain against what; one-vs-one is the single target.
    """
    rows = []
    for row, group in enumerate(contrasts.groups):
        others = contrasts.others(row)
        delta = translations.vectors[others] - translations.vectors[group]
        difference = means[group] - means[others].mean(axis=0)
        sign = np.sign(-delta.sum(axis=0))
        sign = np.where(sign == 0, np.where(difference < 0, -1.0, 1.0), sign)
        rows.append(sign * np.abs(delta).mean(axis=0) + 0.0)
    return GeneScores(np.stack(rows), signed=True)


def translate(
    means: NDArray[np.floating],
    components: NDArray[np.floating],
    latent: Sequence[NDArray[np.floating]],
    *,
    lam: float | None = None,
) -> Translations:
    r"""Sparse translations between all pairs of groups that fit together.

    With :math:`\delta_{i\to j}=d_j-d_i` it minimises, over all ordered pairs of groups,

    .. math:: \operatorname{mean}_{i\ne j}\;\tfrac12\lVert r(\bar x_i+\delta_{i\to j})-\bar r_j\rVert^2
              +\lambda\,\operatorname{mean}_g|\delta_{i\to j,g}|

    (Plumb et al., equation 4). Their :math:`r` may be any network and is followed by stochastic gradient descent
    from several starts. Here it is linear, :math:`r(x)=V^\top x` with orthonormal :math:`V`; the problem is convex and
    is solved to its optimum by accelerated proximal gradient (FISTA with restarts), the same at every run. The
    penalty is, gene by gene, the sum of the absolute differences between all pairs of groups, whose proximal step is an
    isotonic regression of the sorted values.

    Parameters
    ----------
    means
        Mean standardised expression per group, shape ``(n_groups, n_genes)``.
    components
        :math:`V`, shape ``(n_genes, n_components)``, orthonormal columns.
    latent
        Embedded cells of each group, each ``(n_cells, n_components)``, that :math:`\lambda` is chosen on.
    lam
        None for a path, as Plumb et al. choose it: translations are cut to their largest 2 % of genes, and the penalty
        is taken for which most cells then end nearest to the mean of their target, the larger of equals.
    """
    means = np.asarray(means - means.mean(axis=0), dtype=np.float64)
    if lam is not None:
        vectors = _solve(means, components, lam, np.zeros_like(means))
        return Translations(vectors, lam, _correctness(vectors, components, latent))
    largest = largest_penalty(means, components)
    vectors = np.zeros_like(means)
    found = []
    for share in _PATH:
        vectors = _solve(means, components, share * largest, vectors)
        found.append(Translations(vectors, float(share * largest), _correctness(vectors, components, latent)))
    return max(found, key=lambda translations: translations.correctness)  # the first, sparsest, of equals


def largest_penalty(means: NDArray[np.floating], components: NDArray[np.floating]) -> float:
    r"""The smallest :math:`\lambda` for which no gene moves.

    At zero the subgradients of the penalty are the permutohedron: sorted values are within it when every partial sum
    of the largest :math:`m` is at most :math:`m(K-m)` times the scale.
    """
    means = means - means.mean(axis=0)
    n_groups, n_genes = means.shape
    pull = means @ components @ components.T * (n_groups * n_genes)
    partial = np.sort(pull, axis=0)[::-1].cumsum(axis=0)[:-1]
    m = np.arange(1, n_groups)[:, None]
    return float((partial / (m * (n_groups - m))).max())


def _solve(
    means: NDArray[np.floating], components: NDArray[np.floating], lam: float, start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The optimum for one penalty.

    With all means and vectors centred the pairs' squares are ``|(D - M) V|² / (K - 1)``, of Lipschitz constant
    ``2 / (K - 1)``, so that a step of its inverse is a replacement of the embedded part of ``D`` by that of ``M``.
    """
    n_groups, n_genes = means.shape
    threshold = lam / (n_groups * n_genes)
    target = means @ components
    current, ahead, momentum = start, start, 1.0
    for _ in range(_MOST_STEPS):
        new = _shrink(ahead - (ahead @ components - target) @ components.T, threshold)
        change = new - current
        if np.abs(change).max() <= _TOLERANCE * max(np.abs(new).max(), threshold):
            return new
        if ((ahead - new) * change).sum() > 0:  # the momentum leads uphill: restart (O'Donoghue and Candès 2015)
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead, current, momentum = new + (momentum - 1) / following * change, new, following
    return current


def _shrink(values: NDArray[np.floating], threshold: float) -> NDArray[np.float64]:
    r"""Proximal step of ``threshold`` times the sum over pairs of groups of absolute differences, for each gene.

    The penalty of sorted values is linear, :math:`\sum_k(2k-K-1)x_{(k)}`; a linear shift, then the nearest sorted
    values, which the min-max formula of isotonic regression gives for all genes at once.
    """
    n_groups, n_genes = values.shape
    order = np.argsort(values, axis=0, kind="stable")
    shift = threshold * (2 * np.arange(1, n_groups + 1) - n_groups - 1.0)
    shifted = np.take_along_axis(values, order, axis=0) - shift[:, None]
    nearest = np.empty_like(shifted)
    size = max(1, _BLOCK // n_groups**2)
    for first in range(0, n_genes, size):
        nearest[:, first : first + size] = _isotonic(shifted[:, first : first + size])
    result = np.empty_like(nearest)
    np.put_along_axis(result, order, nearest, axis=0)
    return result


def _isotonic(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Nearest non-decreasing columns: at k the largest, over i <= k, of the smallest mean of i..j over j >= k."""
    n = len(values)
    sums = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(axis=0)])
    fitted = np.full(values.shape, -np.inf)
    for i in range(n):
        lengths = np.arange(1, n - i + 1)[:, None]
        averages = (sums[i + 1 :] - sums[i]) / lengths  # of i..j, for j from i on
        smallest = np.minimum.accumulate(averages[::-1], axis=0)[::-1]
        np.maximum(fitted[i:], smallest, out=fitted[i:])
    return fitted


def _correctness(
    vectors: NDArray[np.floating], components: NDArray[np.floating], latent: Sequence[NDArray[np.floating]]
) -> float:
    """Mean over ordered pairs of the share of cells that a truncated translation brings nearest to its target."""
    n_groups, n_genes = vectors.shape
    kept = max(1, round(_TRUNCATED * n_genes))
    centres = np.stack([cells.mean(axis=0) for cells in latent])
    shares = []
    for i, cells in enumerate(latent):
        near = 2 * cells @ centres.T - (centres**2).sum(axis=1)
        for j in range(n_groups):
            if j != i:
                delta = vectors[j] - vectors[i]
                top = np.argsort(-np.abs(delta), kind="stable")[:kept]
                moved = near + 2 * (delta[top] @ components[top]) @ centres.T
                shares.append((moved.argmax(axis=1) == j).mean())
    return float(np.mean(shares))
