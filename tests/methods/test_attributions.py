"""SmoothGrad and expected gradients, against plain torch loops and linear cases solved by hand."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from ace_scanpy._matrix import GeneMatrix
from ace_scanpy.methods import Contrasts, attribute, expected_gradients, smoothgrad
from ace_scanpy.methods._attributions import GroupLogit
from ace_scanpy.models import NetworkEncoder, NeuralizedClustering

pytest.importorskip("captum")

N_GENES = 5


@pytest.fixture
def network():
    torch.manual_seed(0)
    encoder = NetworkEncoder(torch.full((N_GENES,), 0.5), torch.full((N_GENES,), 2.0), n_hidden=(8,), n_latent=3)
    return encoder, NeuralizedClustering(torch.randn(3, 3), beta=1.3)


@pytest.fixture
def cells():
    return torch.randn(6, N_GENES, generator=torch.Generator().manual_seed(1))


def test_the_scalar_is_the_logit(network, cells):
    encoder, clustering = network
    logits = clustering(encoder(cells * encoder.scale + encoder.mean))
    torch.testing.assert_close(GroupLogit(*network, 1)(cells), logits[:, 1])
    torch.testing.assert_close(GroupLogit(*network, 1, 2)(cells), logits[:, 1] - logits[:, 2])


def test_smoothgrad_is_the_mean_gradient_over_noise(network, cells):
    logit = GroupLogit(*network, 0)
    torch.manual_seed(3)
    found = smoothgrad(logit, cells)
    torch.manual_seed(3)  # Captum draws all copies at once, those of a cell beside each other
    noisy = cells.repeat_interleave(20, dim=0) + torch.normal(0, torch.full((120, N_GENES), 0.2))
    noisy.requires_grad_()
    logit(noisy).sum().backward()
    torch.testing.assert_close(found, noisy.grad.view(6, 20, N_GENES).mean(dim=1))


def test_linear_logits_by_hand(cells):
    weight = torch.tensor([2.0, -1.0, 0.0, 0.5, 3.0])
    other = torch.full((1, N_GENES), 0.25)
    torch.testing.assert_close(smoothgrad(lambda x: x @ weight, cells), weight.expand(6, -1))
    found = expected_gradients(lambda x: x @ weight, cells, other)
    torch.testing.assert_close(found, (cells - other) * weight)


def test_expected_gradients_are_complete(network, cells):
    """Summed over genes: the difference of the logits, up to the error of the draws, which 400 repeats make small."""
    logit = GroupLogit(*network, 2)
    background = torch.randn(4, N_GENES, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  Captum draws from it
    found = expected_gradients(logit, cells.repeat_interleave(400, dim=0), background).view(6, 400, N_GENES)
    with torch.no_grad():
        expected = logit(cells) - logit(background).mean()
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(found.sum(dim=2).mean(dim=1), expected, atol=0.05, rtol=0)


def test_expected_gradients_are_the_integral(network, cells):
    """With a single background cell, the mean over a fine grid of the path."""
    logit = GroupLogit(*network, 2, 0)
    other = torch.zeros(1, N_GENES)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    found = expected_gradients(logit, cells.repeat_interleave(400, dim=0), other).view(6, 400, N_GENES).mean(dim=1)
    steps = (torch.arange(2000) + 0.5) / 2000
    path = (other + steps[:, None, None] * (cells - other)).requires_grad_()
    logit(path.flatten(0, 1)).sum().backward()
    torch.testing.assert_close(found, path.grad.mean(dim=0) * (cells - other), atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", ["smoothgrad", "shap"])
@pytest.mark.parametrize("reference", [None, 2])
def test_signs(kind, reference):
    """Gene 0 is up in group 0 and gene 1 is down; the network is linear where the cells are."""
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.repeat(np.arange(3), 30))
    values = rng.normal(10.0, 0.3, size=(90, N_GENES)).astype(np.float32)
    values[codes == 0, 0] += 4
    values[codes == 0, 1] -= 4
    encoder = NetworkEncoder(torch.zeros(N_GENES), torch.ones(N_GENES), n_hidden=(N_GENES,), n_latent=N_GENES)
    with torch.no_grad():
        for layer in (encoder.first, encoder.rest[-1]):
            layer.weight.copy_(torch.eye(N_GENES))
            layer.bias.zero_()
    prototypes = np.stack([values[codes == g].mean(axis=0) for g in range(3)])
    source = GeneMatrix(values, pd.Index([f"g{i}" for i in range(N_GENES)]), np.arange(N_GENES))
    clustering = NeuralizedClustering(torch.from_numpy(prototypes), beta=0.5)
    found = attribute(encoder, clustering, source, codes, Contrasts((0,), 3, reference), 0, kind)
    assert found.signed
    assert set(np.argsort(-np.abs(found.scores[0]))[:2]) == {0, 1}
    assert found.scores[0, 0] > 0 > found.scores[0, 1]


@pytest.mark.parametrize("kind", ["smoothgrad", "shap"])
def test_global_random_state_is_neither_read_nor_changed(network, kind):
    source = GeneMatrix(
        np.random.default_rng(0).random((30, N_GENES), dtype=np.float32), pd.Index(list("abcde")), np.arange(N_GENES)
    )
    codes = np.repeat(np.arange(3), 10)
    found = []
    for state in (1, 2):
        np.random.seed(state)  # noqa: NPY002
        torch.manual_seed(state)
        found.append(attribute(*network, source, codes, Contrasts((0, 1), 3), 7, kind).scores)
        drawn = np.random.random(), float(torch.rand(()))  # noqa: NPY002
        np.random.seed(state)  # noqa: NPY002
        torch.manual_seed(state)
        assert drawn == (np.random.random(), float(torch.rand(())))  # noqa: NPY002
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("function", [smoothgrad, expected_gradients])
def test_without_captum(cells, monkeypatch, function):
    for name in [name for name in sys.modules if name.partition(".")[0] == "captum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
    arguments = [cells] if function is smoothgrad else [cells, cells]
    with pytest.raises(ImportError, match=r"captum.*pip install \"ace_scanpy\[methods\]\""):
        function(lambda x: x.sum(dim=1), *arguments)
