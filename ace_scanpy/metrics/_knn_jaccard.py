"""Whether a panel keeps the neighbours that all genes give a cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from .. import _validate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_K = 30


def nearest_neighbors(expression: ArrayLike, *, k: int = _K, cells: ArrayLike | None = None) -> NDArray[np.intp]:
    """The `k` nearest other cells by Euclidean distance, exactly.

    Distances are computed by blocks: memory grows with `n_cells * k`, time with the square of `n_cells`.

    Parameters
    ----------
    expression
        Shape `(n_cells, n_genes)`.
    k
        Neighbours per cell.
    cells
        Cells to find neighbours of, among all; None for each of them.

    Returns
    -------
    Neighbours from the nearest to the farthest, shape `(len(cells), k)`. Which of several cells at the same distance
    comes first is arbitrary.

    Raises
    ------
    ValueError
        When there are not `k` other cells.

    Examples
    --------
    >>> from ace_scanpy.metrics import nearest_neighbors
    >>> nearest_neighbors([[0.0], [1.0], [3.0], [7.0]], k=2).tolist()
    [[1, 2], [0, 2], [1, 0], [2, 1]]
    """
    values = np.asarray(expression)
    k = _validate.whole_number("k", k)
    if k >= len(values):
        msg = f"`k`={k} neighbours need at least {k + 1} cells. Got {len(values)}."
        raise ValueError(msg)
    asked = np.arange(len(values)) if cells is None else np.asarray(cells)
    model = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(values)
    found = model.kneighbors(values[asked], return_distance=False)
    dropped = found == asked[:, None]
    dropped[~dropped.any(axis=1), -1] = True  # the cell itself is hidden behind more than k equal ones
    return found[~dropped].reshape(len(asked), k)


def knn_jaccard(
    expression: ArrayLike,
    genes: ArrayLike | Mapping[Any, ArrayLike],
    labels: ArrayLike | None = None,
    *,
    k: int = _K,
    neighbors: NDArray[np.intp] | None = None,
) -> float:
    r"""Mean Jaccard distance between each cell's neighbours on all genes and on a panel (paper, equation 9).

    .. math:: JD(i) = 1-\frac{|S^{full}_i\cap S^{sub}_i|}{|S^{full}_i\cup S^{sub}_i|}

    The mean of :func:`knn_jaccard_per_cell`, whose parameters and cautions it shares.

    Parameters
    ----------
    expression
        All genes, shape `(n_cells, n_genes)`, on the scale that distances shall have; nothing is z-scored here.
    genes
        Columns of the panel; or, with `labels`, the columns of each group's panel.
    labels
        Group of each cell, shape `(n_cells,)`, when `genes` differ by group.
    k
        Neighbours per cell; the paper does not say how many.
    neighbors
        `nearest_neighbors(expression, k=k)`, so that it is not computed for every panel anew.

    Returns
    -------
    From 0, the same neighbours, to 1, none in common. A panel that says nothing has
    about :math:`1-k/(2n-k)` for :math:`n` cells.

    Examples
    --------
    >>> import numpy as np
    >>> from ace_scanpy.metrics import knn_jaccard
    >>> expression = np.random.default_rng(0).normal(size=(100, 5))
    >>> knn_jaccard(expression, [0, 1, 2, 3, 4])
    0.0
    >>> knn_jaccard(expression, [0]) > knn_jaccard(expression, [0, 1, 2]) > 0
    True
    """
    return float(knn_jaccard_per_cell(expression, genes, labels, k=k, neighbors=neighbors).mean())


def knn_jaccard_per_cell(
    expression: ArrayLike,
    genes: ArrayLike | Mapping[Any, ArrayLike],
    labels: ArrayLike | None = None,
    *,
    k: int = _K,
    neighbors: NDArray[np.intp] | None = None,
) -> NDArray[np.float64]:
    """Jaccard distance of each cell (paper, equation 9), for means and standard errors over groups.

    Neighbours on the panel of a cell's group are sought among all cells. **Z-score the genes first**, or a few genes
    of large variance decide all distances. On few genes many cells are equal, and which of them are neighbours is
    decided by their order: shuffle cells that are sorted by group. Time grows with the square of the number of cells:
    above some ten thousand, judge a random sample.

    Parameters
    ----------
    expression
        All genes, shape `(n_cells, n_genes)`.
    genes
        Columns of the panel; or, with `labels`, the columns of each group's panel.
    labels
        Group of each cell, shape `(n_cells,)`, when `genes` differ by group.
    k
        Neighbours per cell.
    neighbors
        `nearest_neighbors(expression, k=k)`, so that it is not computed for every panel anew.

    Returns
    -------
    Distances, shape `(n_cells,)`.

    Raises
    ------
    ValueError
        When a label has no genes, or `neighbors` has another shape than `(n_cells, k)`.

    Examples
    --------
    >>> from ace_scanpy.metrics import knn_jaccard_per_cell
    >>> expression = [[0.0, 0.0], [1.0, 4.5], [5.0, 5.0], [6.0, 0.0]]
    >>> knn_jaccard_per_cell(expression, {"a": [0], "b": [1]}, ["a", "a", "b", "b"], k=1).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    values = np.asarray(expression)
    full = nearest_neighbors(values, k=k) if neighbors is None else np.asarray(neighbors)
    if full.shape != (len(values), k):
        msg = f"`neighbors` must have shape (n_cells, k) = ({len(values)}, {k}). Got {full.shape}."
        raise ValueError(msg)
    panels, of_cell = _by_label(genes, labels, len(values))
    distances = np.empty(len(values))
    for label, columns in panels.items():
        cells = np.flatnonzero(of_cell == label)
        if len(cells):
            distances[cells] = _distance(full[cells], nearest_neighbors(values[:, columns], k=k, cells=cells))
    return distances


def _by_label(
    genes: ArrayLike | Mapping[Any, ArrayLike], labels: ArrayLike | None, n_cells: int
) -> tuple[dict[Any, NDArray[np.intp]], NDArray[Any]]:
    """Columns per label, and the label of each cell; a single panel is that of one label for all."""
    if isinstance(genes, Mapping) != (labels is not None):
        msg = "`genes` must be a mapping from labels to columns when `labels` are given, and only then."
        raise TypeError(msg)
    if not isinstance(genes, Mapping):
        return {0: np.asarray(genes)}, np.zeros(n_cells, dtype=int)
    of_cell = np.asarray(labels)
    if of_cell.shape != (n_cells,):
        msg = f"`labels` must have shape (n_cells,) = ({n_cells},). Got {of_cell.shape}."
        raise ValueError(msg)
    without = [label for label in np.unique(of_cell).tolist() if label not in genes]
    if without:
        msg = f"`genes` has no panel for the labels {_validate.listed(without)}. Available: {_validate.listed(genes)}."
        raise ValueError(msg)
    return {label: np.asarray(columns) for label, columns in genes.items()}, of_cell


def _distance(one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.float64]:
    """Jaccard distance between the rows of two arrays of the same shape without repeats within a row."""
    both = np.sort(np.concatenate([one, other], axis=1), axis=1)
    shared = (both[:, 1:] == both[:, :-1]).sum(axis=1)
    return 1.0 - shared / (both.shape[1] - shared)
