"""Cells with planted groups, and small networks on them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from ace_scanpy import _matrix, models

N_GROUPS, PER_GROUP, N_GENES = 4, 60, 30


def _source(values):
    names = pd.Index([f"gene{i}" for i in range(values.shape[1])])
    return _matrix.GeneMatrix(values, names, np.arange(values.shape[1]))


@pytest.fixture(scope="session")
def as_source():
    """Turns a matrix (dense or sparse, cells by genes) into what the models read."""
    return _source


@pytest.fixture(scope="session")
def grouped():
    """Expression, about a third of it zero, and the group of each cell: five up and two down genes per group."""
    rng = np.random.default_rng(0)
    level = np.full((N_GROUPS, N_GENES), 0.6)
    for group in range(N_GROUPS):
        level[group, 5 * group : 5 * group + 5] = 2.0
        level[group, 20 + 2 * group : 22 + 2 * group] = -1.0
    codes = rng.permutation(np.repeat(np.arange(N_GROUPS), PER_GROUP))
    values = np.maximum(rng.normal(level[codes], 0.8), 0.0).astype(np.float32)
    return values, codes


@pytest.fixture(scope="session")
def grouped_csr(grouped):
    return sparse.csr_matrix(grouped[0])


@pytest.fixture(scope="session")
def new_autoencoder(grouped):
    """Builds an untrained network for these cells."""

    def build(seed=0, n_hidden=(16, 8), n_latent=4, **kwargs):
        values = torch.tensor(grouped[0])
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return models.Autoencoder(
                values.mean(dim=0), values.std(dim=0), n_hidden=n_hidden, n_latent=n_latent, **kwargs
            )

    return build


@pytest.fixture(scope="session")
def trained(grouped, new_autoencoder, as_source):
    """A network trained on these cells and the clustering of their groups."""
    values, codes = grouped
    model, source = new_autoencoder(), as_source(values)
    models.train(model, source, models.Schedule(n_epochs=30, batch_size=32), np.random.default_rng(0))
    latent = torch.from_numpy(models.encode(model.encoder, source))
    return model.requires_grad_(requires_grad=False), models.from_labels(latent, torch.from_numpy(codes))
