from __future__ import annotations

import numpy as np
import pytest

from ace_scanpy import metrics


@pytest.mark.parametrize("n_genes", [2, 5, 12])
def test_redundancy_equals_numpy(n_genes):
    rng = np.random.default_rng(n_genes)
    expression = rng.normal(size=(40, n_genes)) @ rng.normal(size=(n_genes, n_genes)) + 100.0
    pairs = np.corrcoef(expression.T)[np.triu_indices(n_genes, k=1)]
    assert metrics.redundancy(expression) == pytest.approx(np.abs(pairs).mean(), rel=1e-10)
    assert metrics.redundancy(expression, signed=True) == pytest.approx(pairs.mean(), rel=1e-8, abs=1e-12)


def test_pairs_with_a_constant_gene_count_as_zero():
    expression = np.random.default_rng(0).normal(size=(40, 3))
    expression[:, 2] = 0.3
    correlation = np.corrcoef(expression[:, :2].T)[0, 1]
    assert metrics.redundancy(expression) == pytest.approx(abs(correlation) / 3, rel=1e-10)
    assert metrics.redundancy(expression, signed=True) == pytest.approx(correlation / 3, rel=1e-10)


def test_redundancy_of_copies_is_one_and_of_opposites_too():
    gene = np.random.default_rng(0).normal(size=(40, 1))
    panel = np.hstack([gene, 2 * gene + 1, -gene])
    assert metrics.redundancy(panel) == pytest.approx(1.0)
    assert metrics.redundancy(panel, signed=True) == pytest.approx(-1 / 3)


def test_redundancy_in_single_precision_is_computed_in_double():
    expression = (1e4 + np.random.default_rng(0).normal(size=(40, 3))).astype(np.float32)
    pairs = np.corrcoef(expression.T.astype(np.float64))[np.triu_indices(3, k=1)]
    assert metrics.redundancy(expression) == pytest.approx(np.abs(pairs).mean(), rel=1e-8)


@pytest.mark.parametrize("shape", [(40,), (40, 1), (2, 3, 4)])
def test_redundancy_of_fewer_than_two_genes_raises(shape):
    with pytest.raises(ValueError, match=r"n_genes >= 2\). Got"):
        metrics.redundancy(np.ones(shape))
