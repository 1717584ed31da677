"""Reproducing an embedding: the start, the fit, and the held-out error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from ace_scanpy.models import NetworkEncoder, Schedule, distill, encode
from ace_scanpy.models._training import split


def _network(values, n_latent, n_hidden=(24, 12)):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        values = torch.tensor(values)
        return NetworkEncoder(values.mean(dim=0), values.std(dim=0), n_hidden=n_hidden, n_latent=n_latent)


@pytest.fixture(scope="module")
def curved(grouped):
    """A smooth, not linear, map of the cells' own principal components, off centre and in large units."""
    values, _ = grouped
    components = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)[2][:3]
    scores = (values - values.mean(axis=0)) @ components.T
    return (100 + 40 * np.column_stack([np.tanh(scores[:, 0] / 2), scores[:, 1] ** 2 / 4])).astype(np.float32)


def test_regression_from_the_principal_components_is_the_start(grouped):
    values, _ = grouped
    encoder = _network(values, 2)
    standardized = encoder.standardize(torch.tensor(values))
    encoder.start_from_principal_components(standardized)
    target = (values @ np.random.default_rng(0).normal(size=(values.shape[1], 2))).astype(np.float32) + 7
    encoder.start_from_regression(standardized, torch.tensor(target))
    z = standardized.double().numpy()
    basis = np.linalg.svd(z, full_matrices=False)[2][: 12 // 2]  # pairs of units carry a component each
    design = np.column_stack([z @ basis.T, np.ones(len(z))])
    linear = design @ np.linalg.lstsq(design, target, rcond=None)[0]
    with torch.no_grad():
        found = encoder(torch.tensor(values)).numpy()
    # the remaining freedom of the hidden layer can only help
    assert r2_score(target, found) >= r2_score(target, linear) - 0.02


def test_a_curved_map_is_reproduced_for_cells_that_were_held_out(grouped, as_source, curved):
    values, _ = grouped
    encoder = _network(values, 2, (64, 32))
    source = as_source(values)
    loss, r2 = distill(encoder, source, curved, Schedule(batch_size=32), np.random.default_rng(3))
    latent = encode(encoder.eval(), source)
    held_out, seen = _held_out(source, 3)
    expected = r2_score(curved[held_out], latent[held_out], multioutput="variance_weighted")
    assert r2 == pytest.approx(expected, abs=1e-3)
    assert r2 > 0.5
    assert r2_score(curved[seen], latent[seen], multioutput="variance_weighted") > 0.8
    assert loss["minibatches"][-1] > 0


def _held_out(source, seed):
    """The split that `distill` makes: its generator first seeds torch."""
    rng = np.random.default_rng(seed)
    rng.integers(2**63)
    return split(source, rng)


def test_coordinates_that_have_nothing_to_do_with_the_genes_have_no_r2(grouped, as_source):
    values, _ = grouped
    noise = np.random.default_rng(1).normal(size=(len(values), 2)).astype(np.float32)
    _, r2 = distill(_network(values, 2), as_source(values), noise, Schedule(n_epochs=10), np.random.default_rng(0))
    assert r2 < 0.2


def test_units_do_not_matter(grouped, as_source, curved):
    values, _ = grouped
    found = []
    for unit in (1.0, 2.0**-10):
        encoder = _network(values, 2)
        _, r2 = distill(
            encoder, as_source(values), curved * np.float32(unit), Schedule(n_epochs=5), np.random.default_rng(0)
        )
        found.append((encode(encoder.eval(), as_source(values)) / unit, r2))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-3)
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-4)
