"""Gene relevance, against a slow loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ace_scanpy._matrix import GeneMatrix
from ace_scanpy.methods import _grs, relevance

N_CELLS, N_GENES, N_NEIGHBORS = 40, 12, 7


@pytest.fixture
def embedded():
    """Sparse expression, neighbours with gaps, coordinates two of which are equal."""
    rng = np.random.default_rng(0)
    values = (rng.poisson(0.8, size=(N_CELLS, N_GENES)) * rng.uniform(0.5, 1.5, size=(N_CELLS, 1))).round(1)
    values = values.astype(np.float32)
    coordinates = rng.normal(size=(N_CELLS, 3))
    coordinates[1, 2] = coordinates[0, 2]
    neighbors = np.stack([rng.permutation(np.delete(np.arange(N_CELLS), c))[:N_NEIGHBORS] for c in range(N_CELLS)])
    neighbors[0, 0] = 1
    neighbors[5, 3:] = -1
    neighbors[6, 1:] = -1
    codes = rng.integers(-1, 3, size=N_CELLS)
    return values, neighbors, coordinates, np.array([0.9, 0.5, 0.2]), codes


def _matrix(values):
    names = pd.Index([f"g{i}" for i in range(values.shape[1])])
    return GeneMatrix(values, names, np.arange(values.shape[1]))


def _slow(values, neighbors, coordinates, weights, codes):
    values = values.astype(np.float64)
    shares = np.zeros(values.shape)
    for c in range(len(values)):
        near = [n for n in neighbors[c] if n >= 0 and (coordinates[n] != coordinates[c]).all()]
        for g in range(values.shape[1]):
            slopes = []
            for d, weight in enumerate(weights):
                quotients = [
                    (values[n, g] - values[c, g]) / (coordinates[n, d] - coordinates[c, d])
                    for n in near
                    if values[n, g] != values[c, g] or values[c, g] == 0
                ]
                slopes.append(weight * np.median(quotients) if len(quotients) >= 2 else 0.0)
            shares[c, g] = np.linalg.norm(slopes)
        shares[c] /= shares[c].sum() or 1.0
    return np.stack([shares[codes == group].mean(axis=0) for group in range(3)])


@pytest.mark.parametrize("block", [1, 10_000])
def test_is_what_the_loop_says(embedded, monkeypatch, block):
    values, neighbors, coordinates, weights, codes = embedded
    monkeypatch.setattr(_grs, "_BLOCK", block * N_NEIGHBORS * N_GENES)
    found = relevance(_matrix(values), np.arange(N_CELLS), neighbors, coordinates, weights, codes, 3)
    expected = _slow(*embedded)
    assert (expected > 0).any()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


def test_cells_that_are_a_part_of_the_matrix(embedded):
    values, neighbors, coordinates, weights, codes = embedded
    more = np.vstack([np.full((3, N_GENES), 9.0, dtype=np.float32), values])
    arguments = (neighbors, coordinates, weights, codes, 3)
    found = relevance(_matrix(more), np.arange(N_CELLS) + 3, *arguments)
    np.testing.assert_array_equal(found, relevance(_matrix(values), np.arange(N_CELLS), *arguments))


def test_a_gene_that_rises_along_the_embedding():
    """On a line, x = 3 y for one gene and noise without direction for none: the derivative is 3 in every cell."""
    position = np.arange(10.0)
    values = np.column_stack([3 * position + 1, np.full(10, 2.0)]).astype(np.float32)
    neighbors = np.stack([np.argsort(np.abs(position - p))[1:4] for p in position])
    norms = _grs._norms(
        values, values[neighbors], (position[neighbors] - position[:, None])[:, :, None], np.array([0.5])
    )
    np.testing.assert_allclose(norms, np.column_stack([np.full(10, 1.5), np.zeros(10)]))
