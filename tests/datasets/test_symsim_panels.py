"""The paper's causal, dependent and noise genes, on a truth made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ace_scanpy.datasets import _symsim_panels as panels
from ace_scanpy.datasets._symsim_truth import Differences


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def truth(rng):
    """300 genes: 40 differ in both pairs, 60 have a factor but differ in none, 200 have no factor."""
    log2fc = np.zeros((300, 3))
    log2fc[:40, 0] = rng.permutation(np.linspace(1, 5, 40))
    log2fc[:40, 1] = -3
    log2fc[100:, 2] = 4  # by chance: no factor acts, so it does not count
    n_factors = np.repeat([2, 1, 0], [40, 60, 200])
    return Differences(n_factors, log2fc, (n_factors[:, None] > 0) & (np.abs(log2fc) > 0.8))


def test_size_factors_against_a_loop(rng):
    counts = rng.poisson(rng.gamma(1, 5, size=41), size=(30, 41))
    highest = sorted(range(41), key=lambda gene: -counts[:, gene].mean())[:2]  # 5 % of 41
    totals = [sum(c for gene, c in enumerate(cell) if gene not in highest) for cell in counts]
    np.testing.assert_allclose(panels.size_factors(counts), totals / stats.gmean(totals))


def test_a_cell_without_counts_is_refused():
    counts = np.ones((3, 40), dtype=np.int64)
    counts[1] = 0
    with pytest.raises(ValueError, match=r"1 of the 3 simulated cells .* Raise `capture`, `depth` or `n_genes` \(40\)"):
        panels.size_factors(counts)


def test_mean_log2fc_is_over_the_pairs_that_differ(truth):
    found = panels.mean_log2fc(truth)
    np.testing.assert_allclose(found[:40], (truth.log2fc[:40, 0] + 3) / 2)
    np.testing.assert_array_equal(found[40:], 0)


def test_choice(truth, rng):
    observed = np.ones((10, 300), dtype=np.int64)
    observed[4:, 150:220] = 0  # seen in four cells, one too few
    causal, noise = panels.choose_genes(truth, observed, rng)
    np.testing.assert_array_equal(causal, sorted(range(40), key=lambda gene: -truth.log2fc[gene, 0])[:20])
    assert len(set(noise)) == 100
    assert set(noise) <= {*range(100, 150), *range(220, 300)}
    assert list(noise) == sorted(noise)
    other = panels.choose_genes(truth, observed, rng)[1]
    assert set(other) != set(noise)


@pytest.mark.parametrize(("differing", "seen"), [(19, 200), (40, 99)])
def test_too_few_genes(truth, rng, differing, seen):
    truth.is_de[differing:] = False
    observed = np.ones((10, 300), dtype=np.int64)
    observed[:, 100 + seen :] = 0
    with pytest.raises(ValueError, match=rf"Got {differing} and {seen} among 300 genes\. Raise `n_genes`"):
        panels.choose_genes(truth, observed, rng)


def test_weights(rng):
    weights = np.vstack([panels.dependent_weights(rng) for _ in range(100)])
    assert weights.shape == (10_000, 20)
    parents = (weights > 0).sum(axis=1)
    assert stats.chisquare(np.bincount(parents, minlength=11)[1:]).pvalue > 0.01  # 1 to 10, equally often
    assert stats.kstest(weights[weights > 0], stats.uniform(0.01, 0.79).cdf).pvalue > 0.01
    assert stats.chisquare((weights > 0).sum(axis=0)).pvalue > 0.01  # all causal genes equally often


def test_the_set_by_hand(monkeypatch):
    causal, noise = np.array([[3, 0], [10, 4]]), np.array([[1], [2]])
    weights, error = np.array([[0.5, 0.0], [0.25, 0.75]]), np.array([[0.3, -2.0], [0.1, 0.0]])
    factors = np.array([2.0, 1.0])
    made = panels.build_panel(causal, noise, factors, weights, error)
    log = np.log1p
    np.testing.assert_allclose(
        made.x,
        [
            [log(1.5), 0, 0.5 * log(1.5) + 0.3, 0.25 * log(1.5) - 2, log(0.5)],
            [log(10), log(4), 0.5 * log(10) + 0.1, 0.25 * log(10) + 0.75 * log(4), log(2)],
        ],
    )
    sums = [[1.8, 0.0], [5.1, 5.5]]  # 0.75 - 2 is below zero
    np.testing.assert_array_equal(made.counts, [[3, 0, 2, 0, 1], [10, 4, 5, np.rint(5.5), 2]])
    np.testing.assert_allclose(made.log1p_countspace[:, 2:4], log(sums / factors[:, None]))
    np.testing.assert_allclose(made.log1p_countspace[:, [0, 1, 4]], made.x[:, [0, 1, 4]])
