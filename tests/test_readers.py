"""Every storage gives the same rows and blocks as the array in memory."""

from __future__ import annotations

from itertools import product

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from ace_scanpy import _matrix, _readers

N_CELLS, N_GENES = 150, 12


@pytest.fixture(scope="module")
def values():
    x = np.random.default_rng(0).poisson(0.8, size=(N_CELLS, N_GENES)).astype(np.float32)
    x[40:44], x[:, 5] = 0.0, 0.0
    return x


def _file(path, x, **kwargs):
    made = ad.AnnData(x, obs=pd.DataFrame(index=[f"c{i}" for i in range(N_CELLS)]))
    made.var_names = [f"gene{i}" for i in range(N_GENES)]
    made.raw = made
    made.write_h5ad(path, **kwargs)
    return ad.read_h5ad(path, backed="r")


def _chunks(x, rows, columns):
    """A dask array with blocks of `x`, of the type that `x` has."""
    da = pytest.importorskip("dask.array")
    edges = [np.append(np.arange(0, n, size), n) for n, size in zip(x.shape, (rows, columns), strict=True)]
    parts = [
        [da.from_array(x[a:b][:, c:d], chunks=-1, asarray=False) for c, d in zip(edges[1], edges[1][1:], strict=False)]
        for a, b in zip(edges[0], edges[0][1:], strict=False)
    ]
    return da.concatenate([da.concatenate(row, axis=1) for row in parts])


STORAGES = {
    "csr": lambda x, _: sparse.csr_matrix(x),
    "csr, indices of two types": lambda x, _: _two_types(x),
    "csc": lambda x, _: sparse.csc_matrix(x),
    "csc_array": lambda x, _: sparse.csc_array(x),
    "unsorted csc": lambda x, _: _unsorted(x),
    "h5ad csr": lambda x, path: _file(path, sparse.csr_matrix(x)).X,
    "h5ad csr, compressed": lambda x, path: _file(path, sparse.csr_matrix(x), compression="gzip").X,
    "h5ad dense": lambda x, path: _file(path, x).X,
    "h5ad raw": lambda x, path: _file(path, sparse.csr_matrix(x)).raw.X,
    "dask csr": lambda x, _: _chunks(sparse.csr_matrix(x), 40, N_GENES),
    "dask csr, split genes": lambda x, _: _chunks(sparse.csr_matrix(x), 40, 5),
    "dask csc": lambda x, _: _chunks(sparse.csc_matrix(x), 70, N_GENES),
    "dask dense": lambda x, _: _chunks(x, 33, 5),
}


def _two_types(x):
    """As anndata reads a file whose `indptr` is int64."""
    made = sparse.csr_matrix(x)
    made.indptr = made.indptr.astype(np.int64)
    return made


def _unsorted(x):
    made = sparse.csc_matrix(x)
    for first, last in zip(made.indptr, made.indptr[1:], strict=False):
        made.data[first:last], made.indices[first:last] = made.data[first:last][::-1], made.indices[first:last][::-1]
    made.has_sorted_indices = False
    return made


@pytest.fixture(params=STORAGES)
def stored(request, values, tmp_path):
    return STORAGES[request.param](values, tmp_path / "x.h5ad")


CELLS = {
    "a slice": slice(17, 90),
    "all": slice(None),
    "rising": np.array([0, 1, 2, 39, 40, 80, 149]),
    "far apart": np.array([3, 70, 148]),
    "any order, repeated": np.array([99, 3, 3, 149, 0, 41]),
    "empty rows": np.array([40, 41, 42, 43]),
    "one": np.array([149]),
    "none": np.array([], dtype=np.intp),
}
GENES = {"all genes": None, "some": np.array([1, 4, 5, 6, 11]), "any order": np.array([11, 0, 7, 3])}


@pytest.mark.parametrize("piece", [2, 1024])
def test_rows_are_those_of_the_array(values, stored, piece, monkeypatch):
    monkeypatch.setattr(_readers, "_PIECE", piece)
    monkeypatch.setattr(_readers, "_GAP", piece)
    reader = _readers.reader(stored, "adata.X")
    for (which, cells), (chosen, genes) in product(CELLS.items(), GENES.items()):
        found = reader.rows(cells, genes)
        expected = values[cells] if genes is None else values[cells][:, genes]
        assert found.dtype == np.float32
        assert isinstance(found, np.ndarray) or found.format == "csr"
        values_found = found.toarray() if sparse.issparse(found) else found
        np.testing.assert_array_equal(values_found, expected, err_msg=f"{which}, {chosen}")


def test_moments_and_sums_are_the_same_bits_as_in_memory(values, stored, monkeypatch):
    monkeypatch.setattr(_matrix, "_BLOCK_VALUES", 50 * N_GENES)
    monkeypatch.setattr(_readers, "_WINDOW", 2)
    is_dense = isinstance(_readers.reader(stored, "adata.X").rows(slice(0, 1), None), np.ndarray)
    in_memory = values if is_dense else sparse.csr_matrix(values)
    names, genes = pd.Index([f"gene{i}" for i in range(N_GENES)]), np.arange(1, N_GENES)
    ours, theirs = (_matrix.GeneMatrix(x, names, genes) for x in (stored, in_memory))
    codes = np.arange(N_CELLS) % 4 - 1
    for compute in (_matrix.moments, lambda matrix: _matrix.group_sums(matrix, codes, 3)):
        expected = vars(compute(theirs))
        for name, found in vars(compute(ours)).items():
            np.testing.assert_array_equal(found, expected[name], err_msg=name)


def test_neighbouring_rows_of_a_file_are_read_at_once(values, tmp_path, monkeypatch):
    reader = _readers.reader(_file(tmp_path / "x.h5ad", sparse.csr_matrix(values)).X, "adata.X")
    spans = []
    read = _readers.StoredSparse.read
    monkeypatch.setattr(
        _readers.StoredSparse,
        "read",
        lambda self, starts, stops: spans.append((starts.tolist(), stops.tolist())) or read(self, starts, stops),
    )
    reader.rows(np.array([100, 2, 1, 3, 8, 140, 141]), None)
    assert spans == [([1, 100, 140], [9, 101, 142])]


def test_only_the_chunks_with_asked_for_cells_and_genes_are_computed(values):
    da = pytest.importorskip("dask.array")
    computed = []

    def chunk(block_info):
        computed.append(block_info[None]["chunk-location"])
        (first, last), (left, right) = block_info[None]["array-location"]
        return values[first:last, left:right]

    lazy = da.map_blocks(chunk, chunks=((50, 50, 50), (6, 6)), dtype=np.float32, meta=values[:0, :0])
    computed.clear()  # of what dask needs to know the type
    found = _readers.reader(lazy, "adata.X").rows(np.array([120, 3]), np.array([9, 7]))
    np.testing.assert_array_equal(found, values[[120, 3]][:, [9, 7]])
    assert sorted(computed) == [(0, 1), (2, 1)]


def test_storages_that_have_no_rows_say_what_to_do(values, tmp_path):
    by_gene = _file(tmp_path / "x.h5ad", sparse.csc_matrix(values))
    with pytest.raises(ValueError, match=r"`adata.X` is stored by genes \(CSC\) in a file.*to_memory\(\).*tocsr\(\)"):
        _matrix.choose(by_gene)
    with pytest.raises(TypeError, match=r"`adata.X` is a builtins.list. Cells can be read from numpy arrays"):
        _readers.reader(values.tolist(), "adata.X")
    lazy = _chunks(values, 50, 12)
    with pytest.raises(ValueError, match=r"chunks of unknown size. Call its `compute_chunk_sizes\(\)`"):
        _readers.reader(lazy[lazy[:, 0] > 1], "adata.X")


def test_a_zarr_array_is_read_like_a_dense_file(values):
    zarr = pytest.importorskip("zarr")
    stored = zarr.array(values, chunks=(20, 5))
    found = _readers.reader(stored, "adata.X").rows(np.array([7, 140, 8]), np.array([2, 0]))
    np.testing.assert_array_equal(found, values[[7, 140, 8]][:, [2, 0]])


def test_a_csc_matrix_is_not_converted(values, monkeypatch):
    stored = sparse.csc_matrix(values)
    monkeypatch.setattr(sparse.csc_matrix, "tocsr", _refuse_whole(sparse.csc_matrix.tocsr))
    found = _readers.reader(stored, "adata.X").rows(slice(10, 30), None)
    np.testing.assert_array_equal(found.toarray(), values[10:30])


def _refuse_whole(convert):
    def refuse(self, *args, **kwargs):
        if self.shape[0] == N_CELLS:
            pytest.fail("converted whole")
        return convert(self, *args, **kwargs)

    return refuse
