from __future__ import annotations

import numpy as np
import pytest

from ace_scanpy.methods._shares import coverage_gains, shares


def naive(share):
    """Greedy, every gain computed anew in every round; of equal gains the first gene."""
    covered, scores, left = np.zeros(len(share)), np.zeros(share.shape[1]), list(range(share.shape[1]))
    while left:
        gains = [np.mean(np.sqrt(covered + share[:, g]) - np.sqrt(covered)) for g in left]
        best = left.pop(int(np.argmax(gains)))
        scores[best] = max(gains)
        covered += share[:, best]
    return scores


def draw(n_targets, n_genes, seed=0, zeros=0.6):
    rng = np.random.default_rng(seed)
    magnitude = rng.exponential(size=(n_targets, n_genes)) * (rng.random((n_targets, n_genes)) > zeros)
    magnitude[:, 0] += 0.1  # no empty row
    return magnitude / magnitude.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n_targets", "n_genes"), [(1, 20), (2, 20), (7, 40), (30, 60)])
def test_equals_a_naive_greedy_loop(n_targets, n_genes, seed):
    share = draw(n_targets, n_genes, seed)
    np.testing.assert_allclose(coverage_gains(share), naive(share), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_targets", [1, 3, 12])
def test_scores_sum_to_one(n_targets, seed):
    assert coverage_gains(draw(n_targets, 50, seed)).sum() == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_targets", [1, 3, 12])
def test_scores_are_the_raises_of_coverage_along_their_own_order(n_targets, seed):
    share = draw(n_targets, 40, seed)
    scores = coverage_gains(share)
    order = np.argsort(-scores, kind="stable")[: (scores > 0).sum()]
    coverage = np.sqrt(np.cumsum(share[:, order], axis=1)).mean(axis=0)
    np.testing.assert_allclose(scores[order], np.diff(coverage, prepend=0.0), rtol=1e-6, atol=1e-12)


def test_with_one_target_the_order_is_that_of_the_shares():
    share = draw(1, 60, zeros=0.0)
    np.testing.assert_array_equal(np.argsort(-coverage_gains(share)), np.argsort(-share[0]))


def test_a_first_gene_for_a_new_target_comes_before_a_second_for_an_old_one():
    share = np.array([[0.6, 0.4, 0.0], [0.0, 0.0, 1.0]])
    scores = coverage_gains(share)
    np.testing.assert_allclose(scores, [np.sqrt(0.6) / 2, (1 - np.sqrt(0.6)) / 2, 0.5])


def test_scores_are_zero_exactly_where_all_shares_are():
    share = draw(4, 50)
    share[2, 13] = 1e-30  # next to nothing is not nothing
    share[:, 14] = 0.0
    np.testing.assert_array_equal(coverage_gains(share) == 0.0, (share == 0.0).all(axis=0))


def test_nothing_to_share_scores_nothing():
    np.testing.assert_array_equal(coverage_gains(np.zeros((3, 5))), 0.0)
    scores = coverage_gains(np.array([[0.5, 0.5], [0.0, 0.0]]))  # one of two targets needs no perturbation
    assert scores.sum() == pytest.approx(0.5)


@pytest.mark.parametrize("copies", [2, 5])
def test_exact_ties_end_and_score_as_in_the_naive_loop(copies):
    share = np.repeat(draw(3, 10), copies, axis=1) / copies
    scores = coverage_gains(share)
    np.testing.assert_allclose(np.sort(scores), np.sort(naive(share)), rtol=1e-9, atol=1e-14)
    equal = coverage_gains(np.full((4, 64), 1 / 64))
    np.testing.assert_allclose(np.sort(equal)[::-1], np.diff(np.sqrt(np.arange(65) / 64)), rtol=1e-9)


def test_single_precision_shares_are_taken_too():
    share = draw(5, 40)
    np.testing.assert_allclose(coverage_gains(share.astype(np.float32)), coverage_gains(share), atol=1e-6)


def test_the_order_of_targets_does_not_matter():
    share = draw(6, 40)
    np.testing.assert_allclose(coverage_gains(share[::-1]), coverage_gains(share), rtol=1e-9)


def test_permuting_genes_permutes_the_scores():
    share, order = draw(6, 40), np.random.default_rng(0).permutation(40)
    np.testing.assert_allclose(coverage_gains(share[:, order]), coverage_gains(share)[order], rtol=1e-9)


def test_shares_divide_each_row_by_its_sum_and_leave_rows_of_zeros():
    magnitude = np.array([[1.0, 3.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
    np.testing.assert_array_equal(shares(magnitude), [[0.25, 0.75, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(magnitude[0], [1.0, 3.0, 0.0])
