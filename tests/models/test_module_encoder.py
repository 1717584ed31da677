"""A module as an encoder: the same answers as the network split by hand, and nothing of the caller's is changed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from ace_scanpy.models import ModuleEncoder, encode, from_labels, perturb
from ace_scanpy.models import SourceCells as Cells


class Plain(nn.Module):
    """The encoder of an autoencoder, as somebody else would write it: on expression as it stands."""

    def __init__(self, encoder):
        super().__init__()
        self.inner = copy.deepcopy(encoder)

    def forward(self, x):
        assert x.ndim == 2
        return self.inner.rest(
            nn.functional.leaky_relu(self.inner.first((x - self.inner.mean) / self.inner.scale), 0.2)
        )


@pytest.mark.parametrize("memory", [None, 10_000])
def test_the_same_network_as_a_module_gives_the_same_delta(grouped, trained, monkeypatch, memory):
    """Also when the memory allows for a few contrasts at a time."""
    values, codes = grouped
    model, clustering = trained
    encoder = copy.deepcopy(model.encoder).double()
    module = ModuleEncoder(Plain(encoder), encoder.mean, encoder.scale)
    clustering = copy.deepcopy(clustering).double()
    groups = [values[codes == g][:12].astype(np.float64) for g in range(4)]
    source, target = torch.tensor([(s, t) for s in range(4) for t in range(4) if s != t]).T

    def solve(which):
        options = {"lam": 10.0, "max_iter": 20}
        return perturb(which, clustering, Cells.from_expression(which, groups), source, target, **options)

    expected = solve(encoder)
    if memory is not None:
        monkeypatch.setattr("ace_scanpy.models._perturb._MEMORY", memory)
    found = solve(module)
    torch.testing.assert_close(found.delta, expected.delta, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.gradient, expected.gradient, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.objective, expected.objective, rtol=1e-6, atol=1e-6)
    assert torch.equal(found.flip_rate, expected.flip_rate)
    assert torch.equal(found.delta == 0, expected.delta == 0)


def noisy(n_genes):
    """Everything that differs between training and evaluation, in training, with gradients left over."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(n_genes, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    module(torch.rand(20, n_genes)).sum().backward()
    module[0].eval()
    module[4].weight.requires_grad_(requires_grad=False)
    return module


def state(module):
    return {
        "flags": [part.training for part in module.modules()],
        "asks": [p.requires_grad for p in module.parameters()],
        "state": {name: value.clone() for name, value in module.state_dict().items()},
        "grads": [None if p.grad is None else p.grad.clone() for p in module.parameters()],
    }


def test_the_callers_module_is_bit_identical_afterwards(grouped, as_source):
    values, codes = grouped
    module = noisy(values.shape[1])
    before = state(module)
    in_evaluation = copy.deepcopy(module).eval()(torch.tensor(values))
    encoder = ModuleEncoder(module, torch.tensor(values).mean(dim=0), torch.tensor(values).std(dim=0))
    latent = encode(encoder, as_source(values))
    torch.testing.assert_close(torch.tensor(latent), in_evaluation.detach())
    clustering = from_labels(torch.tensor(latent), torch.tensor(codes))
    cells = Cells.from_expression(encoder, [values[codes == g] for g in range(4)])
    perturb(encoder, clustering, cells, torch.tensor([0, 1]), torch.tensor([2, 3]), lam=10.0, max_iter=3)
    after = state(module)
    assert after["flags"] == before["flags"]
    assert after["asks"] == before["asks"]
    for name, value in before["state"].items():
        assert torch.equal(after["state"][name], value)
    for new, old in zip(after["grads"], before["grads"], strict=True):
        assert (new is None) == (old is None)
        assert old is None or torch.equal(new, old)


def test_a_feature_that_does_not_vary_cannot_be_moved():
    scale = torch.tensor([1.0, 0.0, 2.0])
    encoder = ModuleEncoder(nn.Linear(3, 2), torch.tensor([0.0, 5.0, 1.0]), scale)
    assert encoder.shift(torch.ones(3)).tolist() == [1.0, 0.0, 2.0]
    standardized = encoder.standardize(torch.tensor([[2.0, 5.0, 3.0]]))
    assert standardized.tolist() == [[2.0, 0.0, 1.0]]
    torch.testing.assert_close(encoder.from_standardized(standardized), torch.tensor([[2.0, 5.0, 3.0]]))


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (nn.Linear(7, 2), "cannot be called with torch.float32 values of shape \\(2, 5\\)"),
        (lambda x: x.numpy(force=True), "Got ndarray"),
        (lambda x: x.sum(dim=1), r"into \(2, n_latent\). Got \(2,\)"),
        (lambda x: x / 0.0, "NaN or infinite"),
        (lambda x: nn.functional.dropout(x, 0.5), "two answers"),
        (lambda x: x - x.mean(dim=0), "rows beside it"),
        (lambda x: x.detach() * 2, "no gradient"),
        (lambda x: x.round() + 0.0 * x, "gradient with respect to its input is zero"),
    ],
)
def test_maps_that_cannot_be_explained_are_refused(function, match):
    with pytest.raises(ValueError, match=match):
        ModuleEncoder(function, torch.full((5,), 0.3), torch.ones(5))


def test_coordinates_of_sum_one_have_a_gradient():
    ModuleEncoder(nn.Sequential(nn.Linear(5, 3), nn.Softmax(dim=1)), torch.zeros(5), torch.ones(5))
