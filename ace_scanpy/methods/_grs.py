"""Gene relevance (Angerer et al. 2020): which genes change along a diffusion map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..models._sampling import CellSource

_BLOCK = 2**22
_FEWEST = 2


def relevance(
    source: CellSource,
    cells: NDArray[np.integer],
    neighbors: NDArray[np.integer],
    coordinates: NDArray[np.floating],
    weights: NDArray[np.floating],
    codes: NDArray[np.integer],
    n_groups: int,
) -> NDArray[np.float64]:
    r"""Mean over a group's cells of each gene's share in the derivatives of expression along the embedding.

    For cell :math:`c`, gene :math:`g` and component :math:`d` the derivative is estimated by the median over the
    neighbours :math:`n` of

    .. math:: \frac{x_{ng}-x_{cg}}{y_{nd}-y_{cd}}.

    Neighbours of the same expression, unless both lack the gene, are left out, and so are those of the same coordinate;
    with fewer than two left the derivative is 0. Derivatives are weighted by the component's eigenvalue, and the norm
    over components is the relevance of the gene in the cell. All this is as in the authors' package, but for its
    optional smoothing along components, which blends clusters that a component does not tell apart.

    A relevance has the unit of one over a coordinate, and cells that lie close together in the embedding, of whatever
    group, have very large ones. Their genes' order does not depend on that; therefore each cell counts by the shares of
    its genes, where the authors count the cells in which a gene is among the ten most relevant.

    Parameters
    ----------
    source
        Cells by genes, log-normalised, so that 0 is absence.
    cells
        Rows of `source` that are embedded.
    neighbors
        Their nearest neighbours, as positions in `cells`, shape ``(n_cells, n_neighbors)``; -1 where there are fewer.
    coordinates
        Diffusion components, the trivial first one left out, shape ``(n_cells, n_components)``.
    weights
        Their eigenvalues, shape ``(n_components,)``.
    codes
        Group of each embedded cell; negative where it has none.
    n_groups
        Number of groups.

    Returns
    -------
    Shape ``(n_groups, n_genes)``; not negative, rows of sum one.
    """
    totals = np.zeros((n_groups, source.n_genes))
    labelled = np.flatnonzero(codes >= 0)
    size = max(1, _BLOCK // (neighbors.shape[1] * source.n_genes))
    for first in range(0, len(labelled), size):
        block = labelled[first : first + size]
        around, where = np.unique(np.column_stack([block, neighbors[block]]), return_inverse=True)
        values = source.dense(cells[around])[where.reshape(len(block), -1)]
        steps = coordinates[neighbors[block]] - coordinates[block, None]
        steps[neighbors[block] < 0] = 0.0
        norms = _norms(values[:, 0], values[:, 1:], steps, weights)
        size_of_cell = norms.sum(axis=1, keepdims=True)
        shares = np.divide(norms, size_of_cell, out=np.zeros_like(norms), where=size_of_cell > 0)
        np.add.at(totals, codes[block], shares)
    counts = np.bincount(codes[labelled], minlength=n_groups)
    return totals / np.maximum(counts, 1)[:, None]


def _norms(
    own: NDArray[np.floating],
    near: NDArray[np.floating],
    steps: NDArray[np.floating],
    weights: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Norm over components of the derivatives, shape ``(n_cells, n_genes)``.

    `near` has shape ``(n_cells, n_neighbors, n_genes)`` and `steps` ``(n_cells, n_neighbors, n_components)``; a
    neighbour with a step of 0 is left out.
    """
    change = near - own[:, None]
    moved = change != 0
    usable = (steps != 0).all(axis=2)[:, :, None]
    known = (moved | (own == 0)[:, None]) & usable
    n_known = known.sum(axis=1)
    # where most of the known quotients are 0, so is their median
    cell, gene = ((n_known >= _FEWEST) & (2 * (moved & usable).sum(axis=1) >= n_known)).nonzero()
    change, known = change[cell, :, gene], known[cell, :, gene]
    middle = n_known[cell, gene][:, None]
    squares = np.zeros(own.shape)
    for d, weight in enumerate(weights):
        quotients = np.full(change.shape, np.nan)
        np.divide(change, steps[cell, :, d], out=quotients, where=known)
        quotients.sort(axis=1)  # NaN come last
        low = np.take_along_axis(quotients, (middle - 1) // 2, axis=1)
        high = np.take_along_axis(quotients, middle // 2, axis=1)
        squares[cell, gene] += (weight * (low + high)[:, 0] / 2) ** 2
    return np.sqrt(squares)
