"""SymSim's molecules: factors, effects, ranks, Beta-Poisson and the truth on differences, each by other means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ace_scanpy.datasets import _symsim_truth as truth


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("column", ["log10_kon", "log10_koff", "log10_s", "gene_len"])
def test_draws_have_the_stored_quantiles(column, rng):
    table = pd.read_csv(f"{truth.__file__.removesuffix('_symsim_truth.py')}symsim_param_quantiles.csv")
    values = truth.draw(column, 100_000, rng)
    assert table[column].min() <= values.min()
    assert values.max() <= table[column].max()
    # The share of draws below each stored quantile is that quantile, within four standard errors of a share.
    below = np.searchsorted(np.sort(values), table[column], side="right") / len(values)
    unique = ~table[column].duplicated(keep="last")
    np.testing.assert_allclose(below[unique], table["q"][unique], atol=4 * np.sqrt(0.25 / len(values)))


def test_a_draw_is_linear_between_quantiles(rng, monkeypatch):
    monkeypatch.setattr(truth, "quantiles", lambda column: np.array([1.0, 2.0, 10.0]))
    values = truth.draw("any", 50_000, rng)
    assert np.mean(values < 2) == pytest.approx(0.5, abs=0.01)
    assert stats.kstest(values[values < 2], stats.uniform(1, 1).cdf).pvalue > 0.01
    assert stats.kstest(values[values > 2], stats.uniform(2, 8).cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        ((500, 5, None), [100] * 5),
        ((11, 3, None), [4, 4, 3]),
        ((300, 5, 50), [63, 63, 62, 62, 50]),
        ((4, 2, 1), [3, 1]),
    ],
)
def test_cluster_sizes(given, sizes):
    assert truth.cluster_sizes(*given) == sizes


def test_only_the_last_factors_of_s_differ_between_clusters(rng):
    codes = np.repeat([0, 1, 2], 4000)
    kon, koff, s = truth.factors(codes, 6, 2, 0.3, rng)
    for values in (kon, koff, s[:, :4]):
        assert stats.kstest(values.ravel(), stats.norm(1, 0.3).cdf).pvalue > 0.01
    means = np.array([s[codes == c, 4:].mean(axis=0) for c in range(3)])
    assert np.ptp(means, axis=0).min() > 0.1  # twenty standard errors
    assert stats.kstest((s[:, 4:] - means[codes]).ravel(), stats.norm(0, 0.3).cdf).pvalue > 0.01


def test_means_of_clusters_are_independent_standard_normals_about_one(rng):
    codes = np.repeat(np.arange(4), 2)
    s = truth.factors(codes, 3000, 3000, 1e-6, rng)[2]
    means = s[::2]
    assert stats.kstest(means.ravel(), stats.norm(1, 1).cdf).pvalue > 0.01
    correlation = np.corrcoef(means)[np.triu_indices(4, 1)]
    np.testing.assert_allclose(correlation, 0, atol=4 / np.sqrt(3000))


def test_no_differential_factor(rng):
    s = truth.factors(np.repeat([0, 1], 5000), 3, 0, 0.5, rng)[2]
    assert stats.kstest(s.ravel(), stats.norm(1, 0.5).cdf).pvalue > 0.01


def test_a_quarter_of_the_effects_are_standard_normal(rng):
    for effects in truth.gene_effects(4000, 10, rng):
        assert effects.shape == (4000, 10)
        assert np.mean(effects != 0) == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / effects.size))
        assert stats.kstest(effects[effects != 0], "norm").pvalue > 0.01


def test_match_ranks_against_a_loop(rng):
    values = rng.normal(size=(6, 5)).round(1)
    values[:, 3] = 0.0
    sample = rng.normal(size=values.size)
    expected = np.empty_like(values)
    for place, value in np.ndenumerate(values):
        smaller, equal = (values < value).sum(), (values == value).sum()
        average_rank = smaller + (equal + 1) / 2  # from 1
        expected[place] = sorted(sample)[int(average_rank) - 1]
    np.testing.assert_array_equal(truth.match_ranks(values, sample), expected)


def test_match_ranks_reproduces_the_sample_and_the_order(rng):
    values, sample = rng.normal(size=(20, 30)), rng.exponential(size=600)
    matched = truth.match_ranks(values, sample)
    np.testing.assert_array_equal(np.sort(matched, axis=None), np.sort(sample))
    np.testing.assert_array_equal(np.argsort(matched, axis=None), np.argsort(values, axis=None))


def test_kinetic_parameters_are_ranked_factors_times_effects(rng):
    cells, genes = truth.factors(np.repeat([0, 1], 100), 5, 2, 0.2, rng), list(rng.normal(size=(3, 100, 5)))
    for effects in genes:
        effects[:2] = 0
    kinetics = truth.kinetic_parameters(cells, genes, rng)
    for name, values, cell, effects in zip(truth.PARAMETERS, kinetics, cells, genes, strict=True):
        linear = np.array([[sum(c * e) for e in effects] for c in cell])
        np.testing.assert_array_equal(stats.rankdata(values), stats.rankdata(linear))
        assert np.unique(values[:, :2]).size == 1  # no factor acts on these genes: one value for all cells
        table = truth.quantiles(f"log10_{name}")
        below = np.searchsorted(np.sort(np.log10(values), axis=None), table, side="right") / values.size
        # 20,000 draws put a share within four standard errors of its quantile; the ties are 2 % on one value.
        np.testing.assert_allclose(below, np.linspace(0, 1, 201), atol=4 * np.sqrt(0.25 / values.size) + 0.01)


def test_highly_expressed_genes(rng):
    s = rng.gamma(2.0, 40.0, size=(30, 200))
    raised, high = truth.raise_some(s, rng)
    assert len(high) == 3
    others = np.setdiff1d(np.arange(200), high)
    np.testing.assert_array_equal(raised[:, others], s[:, others])
    lowest_first = high[np.argsort(s[:, high].sum(axis=0))]
    for rank, gene in enumerate(lowest_first, 1):
        np.testing.assert_allclose(raised[:, gene] / s[:, gene], 2 ** (4 + rank / 3))


@pytest.mark.parametrize(
    ("kon", "koff", "s"), [(0.3, 5.0, 60.0), (2.0, 0.5, 15.0), (40.0, 60.0, 200.0), (0.05, 0.1, 8.0)]
)
def test_beta_poisson_moments(kon, koff, s, rng):
    """E x = s p, Var x = s p + s² p (1-p) / (kon + koff + 1), with p = kon / (kon + koff)."""
    n = 200_000
    counts = truth.beta_poisson(truth.Kinetics(*(np.full((n, 1), v) for v in (kon, koff, s))), rng).ravel()
    p = kon / (kon + koff)
    variance = s * p + s**2 * p * (1 - p) / (kon + koff + 1)
    assert counts.mean() == pytest.approx(s * p, abs=4 * np.sqrt(variance / n))
    fourth = np.mean((counts - counts.mean()) ** 4)
    assert counts.var() == pytest.approx(variance, abs=4 * np.sqrt((fourth - variance**2) / n))


def test_highly_expressed_genes_do_not_burst(rng):
    kinetics = truth.Kinetics(np.full((20_000, 2), 0.5), np.full((20_000, 2), 0.5), np.full((20_000, 2), 50.0))
    counts = truth.true_counts(kinetics, np.array([1]), rng)
    assert counts[:, 0].mean() == pytest.approx(25, rel=0.02)
    assert counts[:, 1].mean() == pytest.approx(50, rel=0.01)
    assert counts[:, 1].var() == pytest.approx(50, rel=0.05)
    assert counts[:, 0].var() == pytest.approx(25 + 50**2 * 0.25 / 2, rel=0.05)


def test_differences_by_hand():
    """Two cells in each of three clusters; s k / (k + k') is s / 4 for kon 1 and koff 3."""
    codes = np.array([0, 0, 1, 1, 2, 2])
    s = np.array(
        # fourfold, no factor; less than 0.8 in log2; just more; acts but too little to count
        [[16, 16, 16, 16], [16, 16, 16, 16], [4, 10, 9, 4], [4, 10, 9, 4], [16, 16, 20, 16], [16, 16, 12, 16]],
        dtype=float,
    )
    effects = np.array([[0, 0], [0.5, 0], [-0.3, 0.002], [0.001, 0]])
    found = truth.differences(truth.Kinetics(np.ones_like(s), np.full_like(s, 3), s), codes, effects)
    np.testing.assert_array_equal(found.n_factors, [0, 1, 2, 0])
    expected = np.log2([[16 / 4, 1, 4 / 16], [16 / 10, 1, 10 / 16], [16 / 9, 1, 9 / 16], [4, 1, 1 / 4]])
    np.testing.assert_allclose(found.log2fc, expected, atol=1e-12)  # pairs 1-2, 1-3, 2-3
    np.testing.assert_array_equal(found.is_de, [[False] * 3, [False] * 3, [True, False, True], [False] * 3])
