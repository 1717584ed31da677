"""Encoders of given weights: the split after the first layer, and the optimum of a linear one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.optimize import linprog

from ace_scanpy.models import AffineEncoder, ModuleEncoder, NeuralizedClustering, SourceCells, encode, perturb
from ace_scanpy.models._autoencoder import NetworkEncoder
from ace_scanpy.models._sampling import preactivations

N_GENES, WIDTH = 12, 4


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(3)
    scale = rng.uniform(0.3, 2.0, N_GENES)
    scale[5] = 0.0  # does not vary
    values = rng.poisson(1.5, size=(30, N_GENES)).astype(np.float64)
    values[:, 5] = 2.0
    return {
        "mean": values.mean(axis=0),
        "scale": scale,
        "weight": rng.normal(size=(N_GENES, WIDTH)),
        "bias": rng.normal(size=WIDTH),
    }, values


@pytest.fixture
def affine(arrays):
    return AffineEncoder(**{name: torch.tensor(value) for name, value in arrays[0].items()}).double()


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_an_affine_encoder_is_its_formula(arrays, affine, form):
    given, values = arrays
    expected = values @ given["weight"] + given["bias"]
    np.testing.assert_allclose(preactivations(affine, form(values)), expected, rtol=1e-12)
    np.testing.assert_allclose(affine(torch.tensor(values)), expected, rtol=1e-12)
    standardized = affine.standardize(torch.tensor(values))
    assert (standardized[:, 5] == 0).all()
    np.testing.assert_allclose(affine.tail(affine.from_standardized(standardized)), expected, rtol=1e-10)


def test_a_shift_is_in_units_of_the_scale_and_leaves_flat_genes_alone(arrays, affine):
    given, values = arrays
    delta = np.random.default_rng(1).normal(size=(3, N_GENES))
    moved = (values[:3] + delta * given["scale"]) @ given["weight"] + given["bias"]
    found = affine.preactivation(torch.tensor(values[:3])) + affine.shift(torch.tensor(delta))
    np.testing.assert_allclose(found, moved, rtol=1e-10)
    flat = torch.zeros(N_GENES, dtype=torch.float64)
    flat[5] = 7.0
    assert (affine.shift(flat) == 0).all()


def test_what_follows_the_first_layer_is_applied(arrays, as_source):
    given, values = arrays
    tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in given.items()}
    encoder = AffineEncoder(**tensors, rest=torch.nn.Tanh())
    latent = encode(encoder, as_source(values.astype(np.float32)))
    np.testing.assert_allclose(latent, np.tanh(values @ given["weight"] + given["bias"]), atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bounded", [False, True])
def test_linear_encoder_and_two_groups_give_the_linear_program(seed, bounded):
    """Equation 7 with a linear encoder is a linear program in delta's two parts and one slack per cell."""
    rng = np.random.default_rng(seed)
    mean, scale = rng.normal(size=N_GENES), rng.uniform(0.5, 2.0, N_GENES)
    map_, offset = rng.normal(size=(N_GENES, 3)) / N_GENES, rng.normal(size=3)
    prototypes = np.stack([np.zeros(3), np.array([1.0, -0.5, 0.3])])
    x = rng.normal(mean, 1.0, size=(9, N_GENES))
    gene_weight, beta, lam, alpha = rng.uniform(0.5, 2.0, N_GENES), 1.3, 3.0, 1.0
    reach = 0.6 if bounded else np.inf

    # m_s - m_t = 2 beta (|z - mu_t|^2 - |z - mu_s|^2) with two groups: linear in z
    normal = 4 * beta * (prototypes[0] - prototypes[1])
    level = 2 * beta * (prototypes[1] @ prototypes[1] - prototypes[0] @ prototypes[0])
    slope = (map_ * scale[:, None]) @ normal
    at_zero = (x @ map_ + offset) @ normal + level
    n = len(x)
    cost = np.concatenate([gene_weight, gene_weight, np.full(n, lam / n)])
    rows = np.hstack([np.tile(slope, (n, 1)), np.tile(-slope, (n, 1)), -np.eye(n)])
    bounds = [(0, reach)] * (2 * N_GENES) + [(0, None)] * n
    program = linprog(cost, A_ub=rows, b_ub=-alpha - at_zero, bounds=bounds, method="highs")
    expected = program.x[:N_GENES] - program.x[N_GENES : 2 * N_GENES]
    assert (expected != 0).any()

    def tensor(values):
        return torch.tensor(values, dtype=torch.float64)

    encoder = AffineEncoder(tensor(mean), tensor(scale), tensor(map_), tensor(offset)).double()
    bound = torch.full((1, N_GENES), reach, dtype=torch.float64)
    found = perturb(
        encoder,
        NeuralizedClustering(tensor(prototypes), beta),
        SourceCells.from_expression(encoder, [x]),
        torch.tensor([0]),
        torch.tensor([1]),
        objective="pairwise",
        weights=tensor(gene_weight)[None],
        lower=-bound,
        upper=bound,
        lam=lam,
        alpha=alpha,
    )
    assert float(found.objective[0]) == pytest.approx(program.fun, rel=1e-4)
    np.testing.assert_allclose(found.delta[0], expected, atol=2e-2 * np.abs(expected).max())
    assert set(np.flatnonzero(found.delta[0])) == set(np.flatnonzero(expected))


@pytest.mark.parametrize("kind", ["affine", "network", "module"])
def test_pull_and_of_genes_are_the_transpose_of_shift(kind):
    torch.manual_seed(0)
    mean, scale = torch.randn(7), torch.rand(7) + 0.5
    encoder = {
        "affine": lambda: AffineEncoder(mean, scale, torch.randn(7, 4), torch.randn(4)),
        "network": lambda: NetworkEncoder(mean, scale, n_hidden=(4, 3), n_latent=2),
        "module": lambda: ModuleEncoder(torch.nn.Linear(7, 2), mean, scale),
    }[kind]()
    delta = torch.zeros(5, 7, requires_grad=True)
    at_preactivation = torch.randn(5, encoder.width)
    (expected,) = torch.autograd.grad((encoder.shift(delta) * at_preactivation).sum(), delta)
    torch.testing.assert_close(encoder.pull(at_preactivation), expected)
    genes = torch.tensor([[6, 0, 3], [1, 2, 5]])
    alone = encoder.of_genes(genes)
    for row, column in ((0, 0), (0, 2), (1, 1)):
        unit = torch.eye(7)[genes[row, column]]
        torch.testing.assert_close(alone[row, :, column], encoder.shift(unit))
