"""Transitive group translations, against a general-purpose optimiser and cases solved by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.isotonic import isotonic_regression

from ace_scanpy.methods import Contrasts, gce, translate
from ace_scanpy.methods._gce import _isotonic, _shrink, largest_penalty

PAIRS = [(i, j) for i in range(3) for j in range(3) if i != j]


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(3, 6)) * np.array([2.0, 1.0, 1.0, 0.3, 0.3, 0.1])
    components = np.linalg.qr(rng.normal(size=(6, 3)))[0]
    latent = [mean @ components + 0.1 * rng.normal(size=(20, 3)) for mean in means]
    return means, components, latent


def _objective(vectors, means, components, lam):
    """Plumb et al., pair by pair."""
    total = 0.0
    for i, j in PAIRS:
        delta = vectors[j] - vectors[i]
        missed = (means[i] + delta) @ components - means[j] @ components
        total += 0.5 * (missed**2).sum() + lam * np.abs(delta).mean()
    return total / len(PAIRS)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7])
def test_reaches_the_optimum(problem, share):
    """The same problem for SLSQP: two free vectors, the first at 0, and bounds on |delta| as extra variables."""
    means, components, latent = problem
    lam = share * largest_penalty(means, components)
    found = translate(means, components, latent, lam=lam).vectors
    unordered = [(0, 1), (0, 2), (1, 2)]

    def unpack(x):
        return np.concatenate([np.zeros((1, 6)), x[:12].reshape(2, 6)]), x[12:].reshape(3, 6)

    def smooth(x):
        vectors, sizes = unpack(x)
        return _objective(vectors, means, components, 0.0) + lam * sizes.mean(axis=1).sum() * 2 / len(PAIRS)

    def slack(x):
        vectors, sizes = unpack(x)
        deltas = np.stack([vectors[j] - vectors[i] for i, j in unordered])
        return np.concatenate([(sizes - deltas).ravel(), (sizes + deltas).ravel()])

    start = np.concatenate([np.zeros(12), np.ones(18)])
    options = {"maxiter": 1000, "ftol": 1e-14}
    other = minimize(smooth, start, method="SLSQP", constraints={"type": "ineq", "fun": slack}, options=options)
    ours, theirs = (_objective(v, means, components, lam) for v in (found, unpack(other.x)[0]))
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert ours < _objective(np.zeros_like(means), means, components, lam)


def test_the_largest_penalty_is_where_genes_begin_to_move(problem):
    means, components, latent = problem
    limit = largest_penalty(means, components)
    vectors = translate(means, components, latent, lam=1.001 * limit).vectors
    assert (vectors == vectors[0]).all()  # exactly
    vectors = translate(means, components, latent, lam=0.99 * limit).vectors
    assert np.abs(vectors - vectors[0]).max() > 1e-3


def test_two_groups_and_all_components_is_soft_thresholding():
    """The pair's problem is 1/2 |delta - d|^2 + lam mean|delta|, gene by gene."""
    means = np.array([[0.0, 0.0, 0.0, 0.0], [3.0, -2.0, 0.4, 0.0]])
    latent = [means[:1], means[1:]]
    found = translate(means, np.eye(4), latent, lam=2.0).vectors
    np.testing.assert_allclose(found[1] - found[0], [2.5, -1.5, 0.0, 0.0], atol=1e-5)


def test_isotonic_is_scikit_learns():
    values = np.random.default_rng(1).normal(size=(7, 40))
    expected = np.column_stack([isotonic_regression(column) for column in values.T])
    np.testing.assert_allclose(_isotonic(values), expected, atol=1e-12)


def test_shrinking_minimises_its_objective():
    rng = np.random.default_rng(2)
    values, threshold = rng.normal(size=(4, 25)), 0.15

    def objective(x):
        pairs = sum(np.abs(x[i] - x[j]) for i in range(4) for j in range(i))
        return 0.5 * ((x - values) ** 2).sum(axis=0) + threshold * pairs

    best = _shrink(values, threshold)
    for _ in range(200):
        assert (objective(best) <= objective(best + 0.05 * rng.normal(size=best.shape)) + 1e-12).all()
    assert (np.diff(np.sort(best, axis=0), axis=0) == 0).any()  # groups are fused


def test_the_penalty_is_chosen_by_correctness(problem):
    means, components, latent = problem
    found = translate(means, components, latent)
    again = translate(means, components, latent, lam=found.lam)
    assert again.correctness == found.correctness
    for share in (0.5, 0.05):
        other = translate(means, components, latent, lam=share * largest_penalty(means, components))
        assert other.correctness <= found.correctness


def test_scores_signs_and_transitivity(problem):
    means, components, latent = problem
    found = translate(means, components, latent, lam=0.05 * largest_penalty(means, components))
    d = found.vectors
    np.testing.assert_allclose(d.sum(axis=0), 0, atol=1e-9)
    scores = gce(found, means, Contrasts((0, 1, 2), 3)).scores
    for group in range(3):
        deltas = [d[j] - d[group] for j in range(3) if j != group]
        np.testing.assert_allclose(np.abs(scores[group]), np.abs(deltas).mean(axis=0))
        clear = np.abs(np.mean(deltas, axis=0)) > 1e-9
        np.testing.assert_array_equal(scores[group][clear] > 0, np.mean(deltas, axis=0)[clear] < 0)
    one = gce(found, means, Contrasts((0,), 3, reference=2)).scores[0]
    np.testing.assert_allclose(one, d[0] - d[2])
