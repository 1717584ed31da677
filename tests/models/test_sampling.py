from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from ace_scanpy.models import _sampling, encode, minibatches
from ace_scanpy.models._training import endless

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


@pytest.fixture
def counted(grouped, as_source, monkeypatch):
    """A source of 240 cells by 30 genes that notes what is asked of it, in chunks of 40 cells and runs of 5."""
    monkeypatch.setattr(_sampling, "_CHUNK_VALUES", 40 * 30)
    monkeypatch.setattr(_sampling, "_RUNS", 8)

    class Counted:
        n_cells, n_genes = grouped[0].shape

        def __init__(self):
            self.asked = []

        def rows(self, cells):
            self.asked.append(cells)
            return grouped[0][cells]

    return Counted()


def test_a_chunk_is_read_in_rising_order_as_runs_from_all_over(counted):
    seen = [n for n, _ in minibatches(counted, np.random.default_rng(1).permutation(240), 16, np.random.default_rng(0))]
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(240))
    assert [len(chunk) for chunk in counted.asked] == [40] * 6
    for chunk in counted.asked:
        assert (np.diff(chunk) > 0).all()
        assert len(np.unique(chunk // 5)) == 8
        assert np.ptp(chunk) > 120
        np.testing.assert_array_equal(np.bincount(chunk // 5)[chunk // 5], 5)


def test_cells_of_a_chunk_are_mixed_beyond_their_runs(counted):
    """Data sorted by group, of 60 cells each: a minibatch of 16 has more groups than the four runs it would have."""
    batches = [n for n, _ in minibatches(counted, np.arange(240), 16, np.random.default_rng(0))]
    assert np.mean([len(np.unique(n // 5)) for n in batches if len(n) == 16]) > 6


def test_no_more_is_read_than_is_used_and_one_chunk_ahead(counted):
    stream = endless(counted, np.arange(240), 10, np.random.default_rng(0))
    for _ in range(9):  # of four per chunk
        next(stream)
    stream.close()
    assert len(counted.asked) <= 4
    assert len(np.concatenate(counted.asked)) <= 160


def test_cells_that_fit_into_a_chunk_are_read_once_for_all_passes(counted):
    cells = np.arange(100, 140)
    stream = endless(counted, cells, 16, np.random.default_rng(0))
    numbers = np.concatenate([next(stream)[0] for _ in range(9)])
    assert len(counted.asked) == 1
    for first in (0, 40, 80):
        np.testing.assert_array_equal(np.sort(numbers[first : first + 40]), cells)
    assert not np.array_equal(numbers[:40], numbers[40:80])


def test_scattered_cells_are_drawn_as_they_are(counted):
    """Labelled cells alone, say: runs hold those of them that are neighbours in the matrix."""
    cells = np.flatnonzero(np.random.default_rng(0).random(240) < 0.4)
    seen = np.concatenate([n for n, _ in minibatches(counted, cells, 16, np.random.default_rng(0))])
    np.testing.assert_array_equal(np.sort(seen), cells)


def test_an_error_while_reading_ahead_is_raised(counted):
    def fail(cells):
        msg = "the file is gone"
        raise OSError(msg)

    counted.rows = fail
    with pytest.raises(OSError, match="the file is gone"):
        list(minibatches(counted, np.arange(240), 16, np.random.default_rng(0)))


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


def test_some_cells_are_encoded_as_with_all(source, trained, monkeypatch):
    monkeypatch.setattr("ace_scanpy.models._sampling._CHUNK_VALUES", 30 * 20)
    cells = np.arange(3, 200, 3)
    expected = encode(trained[0].encoder, source)[cells]
    np.testing.assert_allclose(encode(trained[0].encoder, source, cells), expected, rtol=1e-4, atol=1e-5)
