"""Gene relevance (Angerer et al. 2020): which genes change along a diffusion map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_BLOCK = 2**22
_FEWEST = 2


def gene_block(n_cells: int, n_neighbors: int) -> int:
    """Genes to be handed to :func:`relevance` at a time, so that its work arrays stay small."""
    return max(1, _BLOCK // (n_cells * n_neighbors))


def relevance(
    expression: Iterable[NDArray[np.floating]],
    neighbors: NDArray[np.integer],
    coordinates: NDArray[np.floating],
    weights: NDArray[np.floating],
    codes: NDArray[np.integer],
    n_groups: int,
) -> NDArray[np.float64]:
    r"""Mean over a group's cells of the norm of the gene's partial derivatives along the embedding.

    For cell :math:`c`, gene :math:`g` and component :math:`d` the derivative is estimated by the median over the
    neighbours :math:`n` of

    .. math:: \frac{x_{ng}-x_{cg}}{y_{nd}-y_{cd}}.

    Neighbours with the same expression (mostly two zeros, which may be dropouts) or the same coordinate are left out;
    with fewer than two left, the derivative is 0. It is smoothed over the cells in the order of the component, by a
    Gaussian as wide as 1 % of them, weighted by the component's eigenvalue, and the norm is taken over components.

    Of the two summaries that suggest themselves the mean norm is used and not the frequency among a cell's ten most
    relevant genes, which is 0, a tie, for nearly all genes.

    Parameters
    ----------
    expression
        Blocks of genes, dense, each of shape ``(n_cells, n_genes_of_block)``.
    neighbors
        Nearest neighbours of each cell without itself, shape ``(n_cells, n_neighbors)``; -1 where there are fewer.
    coordinates
        Diffusion components, the trivial first one left out, shape ``(n_cells, n_components)``.
    weights
        Their eigenvalues, shape ``(n_components,)``.
    codes
        Group of each cell; negative where it has none.
    n_groups
        Number of groups.

    Returns
    -------
    Relevance, not negative, shape ``(n_groups, n_genes)``.
    """
    n_cells = len(neighbors)
    absent = neighbors < 0
    steps = coordinates[neighbors] - coordinates[:, None]  # (n_cells, n_neighbors, n_components)
    steps[absent] = 0.0
    member = np.eye(n_groups)[codes] * (codes >= 0)[:, None]
    member /= np.maximum(member.sum(axis=0), 1.0)
    width = max(1.0, n_cells / 100)
    along = np.argsort(coordinates, axis=0, kind="stable")
    blocks = []
    for values in expression:
        change = values[neighbors] - values[:, None]  # (n_cells, n_neighbors, n_genes)
        squares = np.zeros(values.shape)
        for d, weight in enumerate(weights):
            step = steps[:, :, d, None]
            ratio = np.full(change.shape, np.nan)
            np.divide(change, step, out=ratio, where=(change != 0) & (step != 0))
            slope = _medians(ratio)
            order = along[:, d]
            smooth = np.empty_like(slope)
            smooth[order] = gaussian_filter1d(slope[order], width, axis=0, mode="nearest")
            squares += (weight * smooth) ** 2
        blocks.append(member.T @ np.sqrt(squares))
    return np.concatenate(blocks, axis=1)


def _medians(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over axis 1 of what is not NaN; 0 where fewer than two values are there."""
    ratio.sort(axis=1)  # NaN come last
    n = np.count_nonzero(~np.isnan(ratio), axis=1)[:, None]
    low = np.take_along_axis(ratio, np.maximum((n - 1) // 2, 0), axis=1)
    high = np.take_along_axis(ratio, np.minimum(n // 2, ratio.shape[1] - 1), axis=1)
    return np.where(n >= _FEWEST, (low + high) / 2, 0.0)[:, 0]
