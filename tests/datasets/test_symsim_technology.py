"""SymSim's experiment and batches, against closed forms and a loop over single molecules and reads."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ace_scanpy.datasets import _symsim_batches as batches
from ace_scanpy.datasets import _symsim_technology as technology


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def no_bias(monkeypatch):
    """All genes amplify alike."""
    monkeypatch.setattr(technology, "amplification_bias", lambda gene_lengths, rng: np.zeros(len(gene_lengths)))


def test_truncated_normal(rng):
    values = technology.truncated(0.05, 0.4, 20_000, 0.0005, 1.0, rng)
    assert values.min() >= 0.0005
    expected = stats.truncnorm((0.0005 - 0.05) / 0.02, (1 - 0.05) / 0.02, 0.05, 0.02)
    assert stats.kstest(values, expected.cdf).pvalue > 0.01
    near_one = technology.truncated(0.95, 0.4, 2000, 0.0005, 1.0, rng)
    assert near_one.max() <= 1


def test_long_genes_amplify_less(rng):
    lengths = rng.permutation(np.arange(100, 4100))
    bias = technology.amplification_bias(lengths, rng)
    steps = 0.19 - 0.02 * ((lengths - 100) // 200)  # twenty bins of 200 genes
    noise = bias - steps
    assert np.abs(bias).max() <= 0.2 + 1e-12
    assert np.abs(noise).max() <= 0.01 + 1e-12
    inside = np.abs(noise) < 0.01 - 1e-9
    assert inside.mean() == pytest.approx(stats.norm.cdf(1) - stats.norm.cdf(-1), abs=0.03)
    assert stats.kstest(noise[inside], stats.truncnorm(-1, 1, 0, 0.01).cdf).pvalue > 0.01


@pytest.mark.parametrize("rate", [0.6, 0.8, 1.0])
def test_mean_number_of_copies(rate, rng):
    """(1 + r)(1 + r/2)^15: the first cycle has the rate r, later ones a uniform share of it."""
    copies = technology.amplify(np.full(200_000, rate), rng)
    assert copies.mean() == pytest.approx(
        (1 + rate) * (1 + rate / 2) ** 15, abs=4 * copies.std() / np.sqrt(len(copies))
    )
    assert copies.min() >= (2 if rate == 1 else 1)
    assert copies.max() <= 2**16


def test_without_amplification_there_is_one_copy(rng):
    np.testing.assert_array_equal(technology.amplify(np.zeros(100), rng), 1)


@pytest.mark.parametrize(("length", "share"), [(101, 0.78), (999, 0.78), (1000, 0.70), (50_000, 0.70)])
def test_mean_number_of_fragments(length, share, rng):
    found = technology.fragments(np.full(50_000, 30), np.full(50_000, length), rng)
    assert found.mean() == pytest.approx(30 * share * 1.8**2 * 1.8**9, abs=4 * found.std() / np.sqrt(len(found)))
    np.testing.assert_array_equal(found, np.rint(found))


def test_capture(rng):
    """With reads for every fragment all that is captured is seen: a binomial share of the molecules."""
    molecules = rng.poisson(30, size=(400, 50))
    capture = np.linspace(0.05, 0.6, 400)
    lengths = rng.integers(100, 5000, 50)
    seen = technology.observe(molecules, lengths, capture, np.full(400, 1e12), rng)
    assert (seen <= molecules).all()
    total = molecules.sum(axis=1)
    z = (seen.sum(axis=1) - capture * total) / np.sqrt(capture * (1 - capture) * total)
    assert stats.kstest(z, "norm").pvalue > 0.01


def test_the_seen_share_against_single_reads(rng, no_bias):
    """A loop over molecules, cycles and reads: as many molecules of each gene are seen as in one step for all."""
    molecules, lengths, depth, n_cells = np.array([40, 15, 0]), np.array([300, 2500, 800]), 60, 250

    def one_cell():
        fragments, genes = [], []
        for gene, n in enumerate(molecules):
            for _ in range(n):
                if rng.random() >= 0.5:
                    continue
                copies = 2 if rng.random() < 0.8 else 1
                for _ in range(15):
                    more = copies * rng.random() * 0.8
                    copies += int(more) + (rng.random() < more - int(more))
                found = rng.binomial(copies, 0.78 if lengths[gene] < 1000 else 0.70)
                for _ in range(2):
                    found += rng.binomial(found, 0.8)
                fragments.append(round(found * 1.8**9))
                genes.append(gene)
        p = depth / sum(fragments)
        reads = np.array([rng.binomial(n, p) for n in fragments])
        return np.bincount(np.array(genes)[reads > 0], minlength=3)

    slow = np.array([one_cell() for _ in range(n_cells)])
    fast = technology.observe(
        np.tile(molecules, (n_cells, 1)), lengths, np.full(n_cells, 0.5), np.full(n_cells, float(depth)), rng
    )
    assert slow.mean(axis=0)[0] < 18  # of 20 captured: reads do run short
    for gene in (0, 1):
        assert stats.ks_2samp(slow[:, gene], fast[:, gene]).pvalue > 0.01
        error = np.sqrt((slow[:, gene].var() + fast[:, gene].var()) / n_cells)
        assert fast[:, gene].mean() == pytest.approx(slow[:, gene].mean(), abs=4 * error)
    np.testing.assert_array_equal(fast[:, 2], 0)


def test_an_empty_cell_stays_empty(rng):
    molecules = np.array([[0, 0], [500, 500]])
    seen = technology.observe(molecules, np.array([500, 500]), np.array([0.9, 0.9]), np.array([1e4, 1e4]), rng)
    np.testing.assert_array_equal(seen[0], 0)
    assert seen[1].sum() > 500


def test_batch_shifts(rng):
    shifts = batches.batch_shifts(3, 20_000, 0.7, rng)
    assert shifts.shape == (3, 20_000)
    difference = shifts[0] - shifts[1]
    assert np.abs(difference).max() <= 1.4
    assert stats.kstest(difference, stats.triang(0.5, -1.4, 2.8).cdf).pvalue > 0.01
    assert shifts.mean(axis=0).var() == pytest.approx(1 + 0.7**2 / 3 / 3, rel=0.04)
    # g is shared: two batches of a gene have the covariance Var g = 1
    assert np.cov(shifts[0], shifts[1])[0, 1] == pytest.approx(1, rel=0.06)


def test_batches_of_size_zero_do_not_differ(rng):
    shifts = batches.batch_shifts(2, 100, 0.0, rng)
    np.testing.assert_array_equal(shifts[0], shifts[1])


def test_shifted_counts(rng):
    shifts, codes = np.array([[1.0, -1.0, 0.0], [-2.0, 0.5, 3.0]]), np.repeat([0, 1], 4000)
    counts = np.full((8000, 3), 1_000_000)
    counts[::2, 2] = 0
    shifted = batches.shift(counts, shifts, codes, rng)
    np.testing.assert_array_equal(shifted[::2, 2], 0)
    for batch in (0, 1):
        for gene in (0, 1):
            change = np.log2(shifted[codes == batch, gene] / 1_000_000)
            assert stats.kstest(change, stats.norm(shifts[batch, gene], 0.01).cdf).pvalue > 0.01
    assert np.issubdtype(shifted.dtype, np.integer)
