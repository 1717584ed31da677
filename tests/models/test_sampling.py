from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from ace_scanpy.models import _sampling, encode, minibatches

FORMS = {
    "dense": lambda x: x,
    "fortran": np.asfortranarray,
    "float64": lambda x: x.astype(np.float64),
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
}


@pytest.fixture(params=FORMS)
def source(request, grouped, as_source):
    return as_source(FORMS[request.param](grouped[0]))


@pytest.mark.parametrize("batch_size", [7, 64, 1000])
@pytest.mark.parametrize("chunk_values", [30 * 50, 2**24])
def test_a_pass_has_every_cell_once_with_its_own_row(source, grouped, batch_size, chunk_values, monkeypatch):
    monkeypatch.setattr(_sampling, "_CHUNK_VALUES", chunk_values)
    cells = np.arange(5, 225)
    seen = []
    for numbers, x in minibatches(source, cells, batch_size, np.random.default_rng(0)):
        assert len(numbers) <= batch_size
        assert x.dtype == torch.float32
        np.testing.assert_array_equal(x.numpy(), grouped[0][numbers])
        seen.extend(numbers)
    np.testing.assert_array_equal(np.sort(seen), cells)
    assert not np.array_equal(seen, cells)


def test_the_order_follows_the_seed_and_changes_from_pass_to_pass(as_source, grouped):
    source, cells = as_source(grouped[0]), np.arange(240)

    def two_passes(seed):
        rng = np.random.default_rng(seed)
        return [np.concatenate([n for n, _ in minibatches(source, cells, 32, rng)]) for _ in range(2)]

    first, second = two_passes(0)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(two_passes(0), [first, second])
    assert not np.array_equal(two_passes(1)[0], first)


def test_minibatches_mix_cells_from_all_over_a_chunk(as_source, grouped):
    batches = [n for n, _ in minibatches(as_source(grouped[0]), np.arange(240), 60, np.random.default_rng(0))]
    assert all(np.ptp(n) > 150 for n in batches)


def test_changing_a_minibatch_leaves_the_matrix_alone(as_source, grouped):
    values = grouped[0].copy()
    for _, x in minibatches(as_source(values), np.arange(240), 240, np.random.default_rng(0)):
        x += 1.0
    np.testing.assert_array_equal(values, grouped[0])


@pytest.mark.parametrize("block_values", [30 * 7, 2**24])
def test_encode_equals_the_encoder_on_dense_expression(source, grouped, trained, block_values, monkeypatch):
    monkeypatch.setattr("ace_scanpy._matrix._BLOCK_VALUES", block_values)
    expected = trained[0].encoder(torch.tensor(grouped[0])).numpy()
    np.testing.assert_allclose(encode(trained[0].encoder, source), expected, rtol=1e-4, atol=1e-4)
