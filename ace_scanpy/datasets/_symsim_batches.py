"""SymSim's batches: each shifts every gene by a factor of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

CELL_NOISE = 0.01


def batch_shifts(n_batches: int, n_genes: int, size: float, rng: np.random.Generator) -> Array:
    """Shift of each gene in each batch, in log2, shape ``(n_batches, n_genes)``.

    A gene has a mean shift g ~ N(0, 1) and in each batch b ~ U(g - size, g + size): g moves it in all batches alike,
    and two batches differ by at most ``2 * size``.
    """
    return rng.uniform(-size, size, size=(n_batches, n_genes)) + rng.normal(size=n_genes)


def shift(counts: Counts, shifts: Array, batches: Counts, rng: np.random.Generator) -> Counts:
    """Counts times 2^N(b, 0.01), with the shift b of the cell's batch, and rounded; zeros stay zeros.

    Parameters
    ----------
    counts
        Shape ``(n_cells, n_genes)``.
    shifts
        From :func:`batch_shifts`.
    batches
        Batch of each cell, from 0, shape ``(n_cells,)``.
    rng
        Random numbers.
    """
    return np.rint(counts * 2 ** rng.normal(shifts[batches], CELL_NOISE)).astype(np.int64)
