from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin

from ace_scanpy.models import NeuralizedClustering
from ace_scanpy.models._prototypes import logit_of, logits_from_scores

SHAPES = [(n_groups, n_latent) for n_groups in (2, 3, 8, 30) for n_latent in (1, 10)]


def draw(n_groups, n_latent, largest, *, offset=0.0, seed=0):
    """Prototypes and cells (random, on the prototypes, between two of them) whose largest squared distance is given."""
    rng = np.random.default_rng([seed, n_groups, n_latent])
    prototypes = rng.normal(size=(n_groups, n_latent))
    between = (prototypes + np.roll(prototypes, 1, axis=0)) / 2
    z = np.concatenate([3 * rng.normal(size=(200, n_latent)), prototypes, between])
    factor = np.sqrt(largest / squared_distances(z, prototypes).max())
    return tuple((factor * x + offset * factor).astype(np.float32) for x in (z, prototypes))


def squared_distances(z, prototypes):
    return ((z.astype(np.float64)[:, None] - prototypes.astype(np.float64)[None]) ** 2).sum(axis=-1)


def log_odds(z, prototypes, beta):
    """log p/(1-p) in float64, with 1-p summed from the other groups."""
    scores = -beta * squared_distances(z, prototypes)
    others = [logsumexp(np.delete(scores, c, axis=1), axis=1) for c in range(scores.shape[1])]
    return scores - np.stack(others, axis=1)


def neuralized(prototypes, beta):
    return NeuralizedClustering(torch.from_numpy(prototypes), beta)


@pytest.mark.parametrize("beta", [1e-6, 1e-2, 1.0, 30.0])
@pytest.mark.parametrize("largest", [1e-2, 1.0, 1e3, 1e6])
@pytest.mark.parametrize(("n_groups", "n_latent"), SHAPES)
def test_logits_are_log_odds_at_any_distance(n_groups, n_latent, largest, beta):
    z, prototypes = draw(n_groups, n_latent, largest)
    expected = log_odds(z, prototypes, beta)
    logits = neuralized(prototypes, beta)(torch.from_numpy(z)).numpy()
    assert logits.dtype == np.float32
    error = np.abs(logits - expected)
    assert (error <= 1e-4 * (np.abs(expected) + 0.01 * np.abs(expected).max())).all()


@pytest.mark.parametrize("n_groups", [2, 3, 8, 30])
def test_logits_do_not_suffer_from_a_latent_space_far_from_the_origin(n_groups):
    z, prototypes = draw(n_groups, 10, 100.0, offset=100.0)
    expected = log_odds(z, prototypes, 1.0)
    error = np.abs(neuralized(prototypes, 1.0)(torch.from_numpy(z)).numpy() - expected)
    assert (error <= 1e-4 * (np.abs(expected) + 0.01 * np.abs(expected).max())).all()


@pytest.mark.parametrize("beta", [1e-6, 1e-2, 1.0, 30.0])
@pytest.mark.parametrize("largest", [1e-2, 1e3, 1e6])
@pytest.mark.parametrize(("n_groups", "n_latent"), SHAPES)
def test_gradients_of_every_logit_are_finite(n_groups, n_latent, largest, beta):
    z, prototypes = draw(n_groups, n_latent, largest)
    cells = torch.from_numpy(z).requires_grad_()
    logits = neuralized(prototypes, beta)(cells)
    for c in range(n_groups):
        (gradient,) = torch.autograd.grad(logits[:, c].sum(), cells, retain_graph=True)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("n_groups", [2, 3, 8])
def test_gradients_are_those_of_the_log_odds(n_groups):
    z, prototypes = draw(n_groups, 3, 10.0)
    cells = torch.from_numpy(z).requires_grad_()
    logits = neuralized(prototypes, 1.0)(cells)
    scores = -squared_distances(z, prototypes)
    slopes = 2.0 * (prototypes[None].astype(np.float64) - z[:, None])  # of the scores: cells by groups by latent
    for c in range(n_groups):
        rivals = scores.copy()
        rivals[:, c] = -np.inf
        expected = slopes[:, c] - np.einsum("nk,nkl->nl", softmax(rivals, axis=1), slopes)
        (gradient,) = torch.autograd.grad(logits[:, c].sum(), cells, retain_graph=True)
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("n_groups", "n_latent"), SHAPES)
def test_logits_are_the_two_layers_of_equation_6(n_groups, n_latent):
    z, prototypes = draw(n_groups, n_latent, 50.0)
    beta, mu = 0.7, prototypes.astype(np.float64)
    expected = np.empty((len(z), n_groups))
    for c in range(n_groups):
        others = [k for k in range(n_groups) if k != c]
        h = [2 * z.astype(np.float64) @ (mu[c] - mu[k]) + mu[k] @ mu[k] - mu[c] @ mu[c] for k in others]
        expected[:, c] = -logsumexp(-beta * np.stack(h), axis=0)
    logits = neuralized(prototypes, beta)(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("largest", [1.0, 1e6])
@pytest.mark.parametrize("n_groups", [2, 3, 8, 30])
def test_assign_is_the_nearest_centre_of_scikit_learn(n_groups, largest):
    z, _ = draw(n_groups, 10, largest, seed=1)
    kmeans = KMeans(n_groups, n_init=1, random_state=0).fit(z.astype(np.float64))
    centres = kmeans.cluster_centers_.astype(np.float32)
    nearest_two = np.sort(squared_distances(z, centres), axis=1)[:, :2]
    clear = np.diff(nearest_two, axis=1).ravel() > 1e-6 * largest
    assert clear.mean() > 0.95
    assigned = neuralized(centres, 1.0).assign(torch.from_numpy(z)).numpy()
    np.testing.assert_array_equal(assigned[clear], kmeans.predict(z.astype(np.float64))[clear])
    np.testing.assert_array_equal(assigned[clear], pairwise_distances_argmin(z, centres)[clear])


def test_assign_is_the_nearest_centre_on_every_cell_of_pbmc3k(data_file):
    z = ad.read_h5ad(data_file("pbmc3k_lognorm.h5ad")).obsm["X_scanpy_pca"].astype(np.float32)
    kmeans = KMeans(8, n_init=1, random_state=0).fit(z.astype(np.float64))
    centres = kmeans.cluster_centers_.astype(np.float32)
    nearest_two = np.sort(squared_distances(z, centres), axis=1)[:, :2]
    clear = np.diff(nearest_two, axis=1).ravel() > 1e-5 * nearest_two[:, 0]
    assert clear.mean() > 0.999
    assigned = neuralized(centres, 0.01).assign(torch.from_numpy(z)).numpy()
    np.testing.assert_array_equal(assigned[clear], kmeans.predict(z.astype(np.float64))[clear])


@pytest.mark.parametrize("beta", [1e-3, 1.0, 1e3])
def test_the_largest_logit_is_the_assignment_whatever_beta(beta):
    z, prototypes = draw(8, 10, 100.0)
    clustering = neuralized(prototypes, beta)
    nearest_two = np.sort(squared_distances(z, prototypes), axis=1)[:, :2]
    clear = torch.from_numpy(np.diff(nearest_two, axis=1).ravel() > 1e-3)
    cells = torch.from_numpy(z)[clear]
    assert torch.equal(clustering(cells).argmax(dim=1), clustering.assign(cells))


@pytest.mark.parametrize("beta", [1e-2, 1.0])
def test_probabilities_are_the_softmax_of_squared_distances(beta):
    z, prototypes = draw(5, 3, 100.0)
    expected = softmax(-beta * squared_distances(z, prototypes), axis=1)
    probabilities = neuralized(prototypes, beta).probabilities(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)


def test_two_groups_have_opposite_logits():
    z, prototypes = draw(2, 3, 1e3)
    logits = neuralized(prototypes, 0.5)(torch.from_numpy(z))
    torch.testing.assert_close(logits[:, 0], -logits[:, 1], rtol=1e-5, atol=1e-3)


def test_coinciding_prototypes_share_their_cells():
    prototypes = np.array([[0.0], [0.0], [3.0]], dtype=np.float32)
    logits = neuralized(prototypes, 1.0)(torch.tensor([[0.0]])).numpy()
    np.testing.assert_allclose(logits, log_odds(np.zeros((1, 1), np.float32), prototypes, 1.0), atol=1e-5)


def test_any_number_of_leading_dimensions():
    z, prototypes = draw(3, 4, 10.0)
    clustering, cells = neuralized(prototypes, 1.0), torch.from_numpy(z[:200])
    torch.testing.assert_close(clustering(cells.view(10, 20, 4)), clustering(cells).view(10, 20, 3))


@pytest.mark.parametrize("shape", [(3,), (1, 4), (0, 4), (2, 2, 2)])
def test_prototypes_of_a_wrong_shape_raise(shape):
    with pytest.raises(ValueError, match="`prototypes` must have shape"):
        NeuralizedClustering(torch.zeros(shape), 1.0)


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan"), float("inf")])
def test_a_beta_that_is_not_positive_and_finite_raises(beta):
    with pytest.raises(ValueError, match="`beta` must be positive"):
        NeuralizedClustering(torch.eye(2), beta)


@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize("by_cell", [False, True])
@pytest.mark.parametrize("n_groups", [2, 5])
def test_one_logit_is_that_of_all_logits_and_so_is_its_gradient(scale, by_cell, n_groups):
    generator = torch.Generator().manual_seed(0)
    scores = scale * torch.randn(6, 9, n_groups, generator=generator, dtype=torch.float64)
    group = torch.randint(n_groups, (6, 9) if by_cell else (6,), generator=generator)
    where = (group if by_cell else group[:, None].expand(6, 9)).unsqueeze(-1)
    expected = logits_from_scores(scores.requires_grad_()).gather(-1, where).squeeze(-1)
    (gradient,) = torch.autograd.grad(expected.sum(), scores)
    found, slope = logit_of(scores.detach(), group)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slope, gradient, rtol=1e-9, atol=1e-12)
