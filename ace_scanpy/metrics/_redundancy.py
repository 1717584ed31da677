"""How much the genes of a panel repeat each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def redundancy(expression: ArrayLike, *, signed: bool = False) -> float:
    """Mean Pearson correlation over all pairs of genes of a panel.

    Parameters
    ----------
    expression
        The panel's genes, shape `(n_cells, n_genes >= 2)`. Pairs with a constant gene count as 0.
    signed
        Average the correlations themselves, as the paper does, in place of their sizes. Mixing enriched and depleted
        genes lowers the signed mean without making a panel less redundant.

    Returns
    -------
    Mean of :math:`|r|`, or of :math:`r`.

    Examples
    --------
    >>> import numpy as np
    >>> from ace_scanpy.metrics import redundancy
    >>> x = np.array([[0.0, 0.0], [1.0, -1.0], [2.0, -2.0]])
    >>> round(redundancy(x), 3), round(redundancy(x, signed=True), 3)
    (1.0, -1.0)
    """
    values = np.asarray(expression, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        msg = f"`expression` must have shape (n_cells, n_genes >= 2). Got {values.shape}."
        raise ValueError(msg)
    centred = values - values.mean(axis=0)
    norm = np.sqrt((centred**2).sum(axis=0))
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
    correlation = (unit.T @ unit)[np.triu_indices(values.shape[1], k=1)]
    return float(correlation.mean() if signed else np.abs(correlation).mean())
