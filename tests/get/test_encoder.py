"""The encoder as a torch module."""

from __future__ import annotations

import pytest
import torch

import ace_scanpy as ace


def test_is_a_module_in_evaluation_mode(explained):
    encoder = ace.get.encoder(explained)
    assert isinstance(encoder, torch.nn.Module)
    assert not encoder.training
    assert encoder.n_genes == 34
    x = torch.ones(3, 34)
    torch.testing.assert_close(encoder(x), encoder(x), rtol=0, atol=0)
    assert encoder(x).shape == (3, 5)


def test_can_be_differentiated(explained):
    """The gradient of the first latent coordinate, against finite differences."""
    encoder = ace.get.encoder(explained).double()
    x = torch.full((34,), 1.3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(x)[0], x)
    step = 1e-6 * torch.eye(34, dtype=torch.float64)
    with torch.no_grad():
        slopes = (encoder(x + step)[:, 0] - encoder(x - step)[:, 0]) / 2e-6
    assert gradient.abs().max() > 0
    torch.testing.assert_close(gradient, slopes, rtol=1e-4, atol=1e-6)


def test_changing_it_changes_nothing_stored(explained, contents, assert_same_contents):
    before = contents(explained)
    encoder = ace.get.encoder(explained)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    assert_same_contents(contents(explained), before)


def test_by_name(explained):
    ace.tl.embed(explained, n_epochs=1, n_hidden=(8,), n_latent=2, key_added="X_other")
    assert ace.get.encoder(explained, "X_other")(torch.ones(1, 34)).shape == (1, 2)
    assert ace.get.encoder(explained)(torch.ones(1, 34)).shape == (1, 5)


def test_errors_list_the_encoders(explained):
    explained.obsm["X_pca"] = explained.obsm["X_ace"]
    with pytest.raises(KeyError, match=r"'X_pca'.*no differentiable encoder.*ace\.tl\.embed.*\['X_ace'\]"):
        ace.get.encoder(explained, "X_pca")
    with pytest.raises(KeyError, match=r"'X_no' not found.*ace\.tl\.embed\(adata, key_added='X_no'\).*\['X_ace'\]"):
        ace.get.encoder(explained, "X_no")
    ace.tl.cluster(explained, n_clusters=3)
    for name in ("standardize", "ace_cluster"):  # records, but not of encoders
        with pytest.raises(KeyError, match=rf"'{name}' not found.*\['X_ace'\]"):
            ace.get.encoder(explained, name)
