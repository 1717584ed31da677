from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from ace_scanpy import _matrix

FORMS = {
    "dense": lambda x: x.astype(np.float32),
    "fortran": lambda x: np.asfortranarray(x, dtype=np.float32),
    "float64": lambda x: x.astype(np.float64),
    "int": lambda x: np.rint(x).astype(np.int64),
    "bool": lambda x: x > 1,
    "csr": lambda x: sparse.csr_matrix(x, dtype=np.float32),
    "csc": lambda x: sparse.csc_matrix(x, dtype=np.float64),
    "csr_array": lambda x: sparse.csr_array(x.astype(np.float32)),
    "csc_array": lambda x: sparse.csc_array(x.astype(np.float32)),
    "int_csr": lambda x: sparse.csr_matrix(np.rint(x).astype(np.int64)),
    "bool_csr": lambda x: sparse.csr_matrix(x > 1),
}
N_CELLS, N_GENES = 53, 9


@pytest.fixture
def values():
    """Log-like expression, about half zeros; gene 0 is never seen, gene 1 is the same in all cells."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(0.3, 1.5, size=(N_CELLS, N_GENES)), 0.0).astype(np.float32).astype(np.float64)
    x[:, 0], x[:, 1] = 0.0, 2.0
    return x


@pytest.fixture(params=[1, 20, 2**24], ids=["cell_by_cell", "small_blocks", "one_block"])
def any_block_size(request, monkeypatch):
    monkeypatch.setattr(_matrix, "_BLOCK_VALUES", request.param * (1 if request.param == 1 else N_GENES))


def adata_of(x):
    obs = pd.DataFrame({"cell": np.arange(x.shape[0])}, index=[f"c{i}" for i in range(x.shape[0])])
    var = pd.DataFrame({"length": 1.0}, index=[f"gene{i}" for i in range(x.shape[1])])
    return ad.AnnData(x, obs=obs, var=var)


def plain(x):
    return np.asarray(x.toarray() if sparse.issparse(x) else x, dtype=np.float64)


def assert_moments(found, x):
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(found.std, x.std(axis=0, ddof=1), rtol=1e-10)
    np.testing.assert_array_equal(found.minimum, x.min(axis=0))
    np.testing.assert_array_equal(found.maximum, x.max(axis=0))


@pytest.mark.parametrize("form", FORMS)
def test_moments_equal_numpy(values, form, any_block_size):
    x = FORMS[form](values)
    found = _matrix.moments(_matrix.choose(adata_of(x)))
    assert_moments(found, plain(x))
    assert found.std[0] == 0.0
    assert found.std[1] == 0.0


@pytest.mark.parametrize("form", FORMS)
def test_moments_of_a_view_of_some_cells_and_genes(values, form, any_block_size):
    x = FORMS[form](values)
    view = adata_of(x)[10:40:2, [5, 2, 7, 1]]
    assert_moments(_matrix.moments(_matrix.choose(view)), plain(x)[10:40:2][:, [5, 2, 7, 1]])
    assert view.is_view


@pytest.mark.parametrize("form", FORMS)
def test_moments_of_the_genes_in_the_mask_in_their_order(values, form):
    x = FORMS[form](values)
    mask = np.arange(N_GENES) % 2 == 1
    matrix = _matrix.choose(adata_of(x), mask_var=mask)
    assert_moments(_matrix.moments(matrix), plain(x)[:, mask])
    assert list(matrix.gene_names) == ["gene1", "gene3", "gene5", "gene7"]


@pytest.mark.parametrize("form", ["dense", "csr"])
def test_moments_do_not_cancel_far_from_zero(form, any_block_size):
    x = (1000 + np.random.default_rng(0).normal(scale=0.01, size=(N_CELLS, N_GENES))).astype(np.float32)
    found = _matrix.moments(_matrix.choose(adata_of(FORMS[form](x))))
    np.testing.assert_allclose(found.std, x.astype(np.float64).std(axis=0, ddof=1), rtol=1e-9)


def test_stored_zeros_count_as_zeros(values, any_block_size):
    x = sparse.csr_matrix(values, dtype=np.float32)
    x.data[::3] = 0.0
    assert_moments(_matrix.moments(_matrix.choose(adata_of(x))), plain(x))
    sums = _matrix.group_sums(_matrix.choose(adata_of(x)), np.zeros(N_CELLS, dtype=np.intp), 1)
    np.testing.assert_array_equal(sums.expressing[0], (plain(x) > 0).sum(axis=0))


def test_one_cell_has_no_spread(values):
    np.testing.assert_array_equal(_matrix.moments(_matrix.choose(adata_of(values[:1]))).std, 0.0)


@pytest.mark.parametrize("form", FORMS)
def test_group_sums_equal_pandas(values, form, any_block_size):
    x = FORMS[form](values)
    codes = np.random.default_rng(1).integers(-1, 4, size=N_CELLS)
    found = _matrix.group_sums(_matrix.choose(adata_of(x)), codes, 5)  # no cell is in the last group
    frame, kept = pd.DataFrame(plain(x)), codes >= 0
    groups = range(5)
    np.testing.assert_allclose(found.totals, frame[kept].groupby(codes[kept]).sum().reindex(groups, fill_value=0))
    expressing = (frame[kept] > 0).groupby(codes[kept]).sum().reindex(groups, fill_value=0)
    np.testing.assert_array_equal(found.expressing, expressing)
    np.testing.assert_array_equal(found.n_cells, [(codes == g).sum() for g in groups])
    assert not found.has_negative


@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_group_sums_notice_a_single_negative_value(values, form, any_block_size):
    values[40, 3] = -0.5
    found = _matrix.group_sums(_matrix.choose(adata_of(FORMS[form](values))), np.zeros(N_CELLS, dtype=np.intp), 1)
    assert found.has_negative
    np.testing.assert_allclose(found.totals[0], values.sum(axis=0))
    np.testing.assert_array_equal(found.expressing[0], (values != 0).sum(axis=0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", ["dense", "fortran", "csr", "csc"])
def test_nan_and_infinity_raise(values, form, bad, any_block_size):
    values[40, 3] = bad
    matrix = _matrix.choose(adata_of(FORMS[form](values)))
    with pytest.raises(ValueError, match=r"`adata.X` contains NaN or infinite values"):
        _matrix.moments(matrix)
    with pytest.raises(ValueError, match=r"`adata.X` contains NaN or infinite values"):
        _matrix.group_sums(matrix, np.zeros(N_CELLS, dtype=np.intp), 1)


@pytest.mark.parametrize("form", ["dense", "int", "csr", "int_csr", "csc"])
def test_raw_counts_are_refused_with_the_calls_to_run(form, any_block_size):
    counts = np.random.default_rng(0).poisson(3.0, size=(N_CELLS, N_GENES)).astype(np.float64)
    counts[50, 2] = 21
    adata = adata_of(FORMS[form](counts))
    with pytest.raises(ValueError, match=r"raw counts .* 21\).*sc.pp.normalize_total\(adata\).*sc.pp.log1p\(adata\)"):
        _matrix.moments(_matrix.choose(adata))


def test_only_raw_counts_are_refused():
    counts = np.random.default_rng(0).poisson(3.0, size=(N_CELLS, N_GENES)).astype(np.float64)
    counts[50, 2] = 21
    small, fractional, centred = np.minimum(counts, 20), counts + 0.25, counts - 2
    for x in (small, fractional, centred):
        assert_moments(_matrix.moments(_matrix.choose(adata_of(x))), x)


def test_the_message_names_the_layer_or_raw(values):
    values[0, 0] = np.nan
    adata = adata_of(np.zeros_like(values))
    adata.layers["lognorm"] = values
    adata.raw = adata_of(values)
    with pytest.raises(ValueError, match=r"`adata.layers\['lognorm'\]` contains NaN"):
        _matrix.moments(_matrix.choose(adata, layer="lognorm"))
    with pytest.raises(ValueError, match=r"`adata.raw.X` contains NaN"):
        _matrix.moments(_matrix.choose(adata, use_raw=True))


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_float32_and_leave_the_matrix_alone(values, form):
    x = FORMS[form](values)
    before = plain(x).copy()
    matrix = _matrix.choose(adata_of(x), mask_var=np.arange(N_GENES) > 1)
    cells = np.array([7, 3, 3, 50])
    rows = matrix.rows(cells)
    assert rows.dtype == np.float32
    assert sparse.issparse(rows) == sparse.issparse(x)
    np.testing.assert_array_equal(plain(rows), before[cells][:, 2:])
    dense = matrix.dense(slice(4, 9))
    assert dense.flags.c_contiguous
    np.testing.assert_array_equal(dense, before[4:9, 2:])
    np.testing.assert_array_equal(plain(x), before)


@pytest.mark.parametrize("form", FORMS)
def test_blocks_are_all_cells_in_order(values, form, any_block_size):
    x = FORMS[form](values)
    blocks = list(_matrix.choose(adata_of(x)).mapped(lambda block, cells: (cells, block), np.arange(N_CELLS)))
    np.testing.assert_array_equal(np.concatenate([cells for cells, _ in blocks]), np.arange(N_CELLS))
    np.testing.assert_array_equal(np.concatenate([plain(block) for _, block in blocks]), plain(x))


def test_a_layer_or_raw_is_read_when_asked_for(values):
    adata = adata_of(values)
    adata.layers["doubled"] = 2 * values
    adata.raw = adata_of(np.hstack([values, 4 * values]))
    assert_moments(_matrix.moments(_matrix.choose(adata, layer="doubled")), 2 * values)
    raw = _matrix.choose(adata, use_raw=True)
    assert raw.n_genes == 2 * N_GENES
    assert_moments(_matrix.moments(raw), np.hstack([values, 4 * values]))


def test_a_missing_layer_lists_those_there_are(values):
    adata = adata_of(values)
    adata.layers["lognorm"], adata.layers["scaled"] = values, values
    with pytest.raises(KeyError, match=r"`layer`='logn' not found .* Available layers: \['lognorm', 'scaled'\]"):
        _matrix.choose(adata, layer="logn")


def test_other_matrices_that_are_not_there_raise(values):
    adata = adata_of(values)
    with pytest.raises(ValueError, match=r"`adata.raw` is not set"):
        _matrix.choose(adata, use_raw=True)
    adata.raw, adata.layers["x"] = adata, values
    with pytest.raises(ValueError, match="Give only one"):
        _matrix.choose(adata, use_raw=True, layer="x")
    with pytest.raises(TypeError, match=r"`use_raw` must be True or False. Got 'yes'"):
        _matrix.choose(adata, use_raw="yes")
    with pytest.raises(ValueError, match=r"`adata.X` is None"):
        _matrix.choose(ad.AnnData(obs=adata.obs, var=adata.var))
    for shape in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match=f"{shape[0]} cells and {shape[1]} genes"):
            _matrix.choose(adata_of(np.zeros(shape)))


def test_duplicate_genes_are_refused_by_name(values):
    adata = adata_of(values)
    repeated = adata.copy()
    repeated.var.index = ["a", "b", "b", *"cdefgh"]
    with pytest.raises(ValueError, match=r"`adata.var_names` has repeated gene names: \['b'\]"):
        _matrix.choose(repeated)
    adata.raw = repeated
    with pytest.raises(ValueError, match=r"`adata.raw.var_names` has repeated gene names: \['b'\]"):
        _matrix.choose(adata, use_raw=True)
    assert _matrix.choose(adata).n_genes == N_GENES


def test_the_default_mask_is_highly_variable_when_present(values):
    adata = adata_of(values)
    assert _matrix.choose(adata, mask_var=_matrix.DEFAULT_MASK).n_genes == N_GENES
    adata.var["highly_variable"] = np.arange(N_GENES) < 4
    masked = _matrix.choose(adata, mask_var=_matrix.DEFAULT_MASK)
    assert list(masked.gene_names) == ["gene0", "gene1", "gene2", "gene3"]
    assert masked.mask == "var['highly_variable']"
    assert _matrix.choose(adata, mask_var=None).n_genes == N_GENES


def test_a_mask_is_a_key_or_a_boolean_array(values):
    adata = adata_of(values)
    adata.var["mine"] = np.arange(N_GENES) % 3 == 0
    expected = ["gene0", "gene3", "gene6"]
    for mask in ("mine", adata.var["mine"], adata.var["mine"].to_numpy(), adata.var["mine"].tolist()):
        assert list(_matrix.choose(adata, mask_var=mask).gene_names) == expected


def test_a_mask_of_var_serves_raw_by_gene_name(values):
    adata = adata_of(values)
    adata.raw = adata_of(np.hstack([values, values]))
    adata = adata[:, ::-1].copy()
    adata.var["highly_variable"] = adata.var_names.isin(["gene2", "gene7"])
    for mask in ("highly_variable", _matrix.DEFAULT_MASK):
        found = _matrix.choose(adata, use_raw=True, mask_var=mask)
        if mask == "highly_variable":
            assert list(found.gene_names) == ["gene2", "gene7"]
        else:  # by default a mask has to be in the `var` of the matrix itself
            assert found.n_genes == 2 * N_GENES


def test_a_mask_of_var_with_repeated_names_cannot_serve_raw(values):
    adata = adata_of(values)
    adata.raw = adata
    adata.var["chosen"] = True
    adata.var.index = ["gene0", *adata.var_names[1:-1], "gene0"]
    with pytest.raises(ValueError, match=r"`adata.var_names` has repeated gene names: \['gene0'\]"):
        _matrix.choose(adata, use_raw=True, mask_var="chosen")


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ("hvg", KeyError, r"`mask_var`='hvg' not found in `adata.var`. Available keys: \['length', 'number', 'one'\]"),
        ("number", ValueError, "boolean array of length 9. Got int64"),
        ("one", ValueError, "at least 2 genes. Got 1 of 9"),
        (np.ones(8, dtype=bool), ValueError, r"boolean array of length 9. Got bool of shape \(8,\)"),
        (np.ones((9, 1), dtype=bool), ValueError, "boolean array of length 9"),
        (np.zeros(9, dtype=bool), ValueError, "at least 2 genes. Got 0 of 9"),
        (np.arange(9), ValueError, "boolean array of length 9. Got int64"),
    ],
)
def test_a_mask_that_does_not_fit_raises(values, mask, error, message):
    adata = adata_of(values)
    adata.var["number"], adata.var["one"] = np.arange(N_GENES), np.arange(N_GENES) == 3
    with pytest.raises(error, match=message):
        _matrix.choose(adata, mask_var=mask)
