"""A sample of cells in which small groups stay whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def sample_cells(codes: NDArray[np.integer], most: int, seed: int) -> NDArray[np.intp]:
    """The labelled cells, or, where they are more than `most`, as many of each group as a common limit allows.

    Parameters
    ----------
    codes
        Group of each cell; negative where it has none.
    most
        Cells wanted at most; one per group is kept in any case.
    seed
        Each group has its own stream of random numbers.

    Returns
    -------
    Sorted numbers of cells.
    """
    sizes = np.bincount(codes[codes >= 0])
    if sizes.sum() <= most:
        return np.flatnonzero(codes >= 0)
    limits = np.arange(1, most + 1)
    totals = np.minimum(sizes, limits[:, None]).sum(axis=1)
    limit = max(int((totals <= most).sum()), 1)
    drawn = []
    for group in range(len(sizes)):
        members = np.random.default_rng([seed, group]).permutation(np.flatnonzero(codes == group))
        drawn.append(members[:limit])
    return np.sort(np.concatenate(drawn))
