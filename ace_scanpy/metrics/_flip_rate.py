"""Whether changing a panel's genes moves cells to another group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray


def flip_rate(
    expression: ArrayLike,
    delta: ArrayLike,
    assign: Callable[[NDArray[Any]], ArrayLike],
    target: ArrayLike | None = None,
) -> float:
    r"""Share of cells that a change of their expression moves, the mean over the changes.

    .. math:: \frac1T\sum_t\overline{\left[\,\mathrm{assign}(x+\delta_t)=t\,\right]}

    To judge the top :math:`k` genes of a ranking, set :math:`\delta` to zero for all others.

    Parameters
    ----------
    expression
        Cells of one group, shape `(n_cells, n_genes)`, in the units that `assign` reads.
    delta
        The change, shape `(n_genes,)`, or several, shape `(n_targets, n_genes)`; each is the same for all cells.
    assign
        Takes expression of cells, shape `(n_cells, n_genes)`, and says which group each is assigned to, shape
        `(n_cells,)`. For a torch network: ``lambda x: clustering.assign(encoder(torch.from_numpy(x)))``.
    target
        Group that each change leads to, shape `(n_targets,)`, or a single one; then cells assigned to it count as
        moved. None: cells whose assignment changes do, as against the rest in equation 8.

    Returns
    -------
    From 0 to 1.

    Raises
    ------
    ValueError
        When shapes do not agree, or there is no cell.

    Examples
    --------
    >>> import numpy as np
    >>> from ace_scanpy.metrics import flip_rate
    >>> cells = np.array([[0.0, 5.0], [0.4, 5.0], [0.8, 5.0]])
    >>> flip_rate(cells, [[0.5, 0.0], [0.0, 9.0]], lambda x: (x[:, 0] > 0.6).astype(int), target=[1, 1])
    0.5
    """
    values, changes = np.asarray(expression), np.atleast_2d(delta)
    if values.ndim != 2 or not len(values) or changes.shape[1:] != values.shape[1:]:
        msg = (
            "`expression` must have shape (n_cells >= 1, n_genes) and `delta` (n_targets, n_genes). "
            f"Got {values.shape} and {changes.shape}."
        )
        raise ValueError(msg)
    if target is None:
        before = np.asarray(assign(values))
        return float(np.mean([np.asarray(assign(values + change)) != before for change in changes]))
    targets = np.atleast_1d(target)
    if targets.shape != (len(changes),):
        msg = f"`target` must name one group for each of the {len(changes)} changes. Got {len(targets)}."
        raise ValueError(msg)
    moved = [np.asarray(assign(values + change)) == to for change, to in zip(changes, targets, strict=True)]
    return float(np.mean(moved))
