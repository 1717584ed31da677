"""Means and scales against Scanpy's own standardisation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import ace_scanpy as ace


@pytest.mark.parametrize("form", ["csr", "csc", "dense", "Fortran"])
def test_mean_and_scale_are_scanpys(planted, form):
    dense = planted.X.toarray()
    scaled = planted.copy()
    scaled.X = dense.copy()
    sc.pp.scale(scaled)
    assert np.abs(scaled.X).max() < 10  # so that nothing is raised
    planted.X = {
        "csr": planted.X,
        "csc": planted.X.tocsc(),
        "dense": dense,
        "Fortran": np.asfortranarray(dense),
    }[form]
    ace.pp.standardize(planted)
    np.testing.assert_allclose(planted.var["ace_mean"], scaled.var["mean"], rtol=1e-6, atol=1e-9)
    varies = planted.var_names != "zero"  # Scanpy divides constant genes by one
    np.testing.assert_allclose(planted.var["ace_std"][varies], scaled.var["std"][varies], rtol=1e-6)
    assert planted.var["ace_std"]["zero"] == 0
    assert planted.var["ace_std"].dtype == planted.var["ace_mean"].dtype == np.float64


def _z(adata):
    varies = adata.var["ace_std"].to_numpy() > 0
    values = adata.X.toarray() if sparse.issparse(adata.X) else adata.X
    return (values[:, varies] - adata.var["ace_mean"].to_numpy()[varies]) / adata.var["ace_std"].to_numpy()[varies]


@pytest.mark.parametrize("max_value", [0.5, 2.0, 3.0])
def test_scale_is_raised_just_enough(planted, max_value):
    ace.pp.standardize(planted)
    usual = planted.var["ace_std"].copy()
    farthest = np.abs(_z(planted)).max(axis=0)
    ace.pp.standardize(planted, max_value=max_value)
    raised = np.abs(_z(planted)).max(axis=0)
    np.testing.assert_allclose(raised, np.minimum(farthest, max_value), rtol=1e-5)
    within = (usual[usual > 0] == planted.var["ace_std"][usual > 0]).to_numpy()
    np.testing.assert_array_equal(within, farthest <= max_value)
    assert (~within).any()


def test_a_single_far_cell_is_kept_within_ten(make_planted):
    adata = make_planted(n_per_group=60)
    dense = adata.X.toarray()
    dense[:, 0], dense[0, 0] = 1e-3 * dense[:, 0], 9.0
    adata.X = sparse.csr_matrix(dense)
    ace.pp.standardize(adata)
    assert dense[:, 0].std(ddof=1) < adata.var["ace_std"].iloc[0]
    assert _z(adata)[:, 0].max() == pytest.approx(10.0, rel=1e-5)
    assert np.abs(_z(adata)).max() <= 10.0001


def test_large_values_do_not_cancel(planted):
    """Variance of values far from zero: a single pass of sums of squares in single precision would lose it."""
    dense = planted.X.toarray() + 1000.5
    planted.X = dense
    ace.pp.standardize(planted)
    expected = dense.astype(np.float64).std(axis=0, ddof=1)[:-1]
    np.testing.assert_allclose(planted.var["ace_std"][:-1], expected, rtol=1e-6)


def test_means_of_sparse_and_dense_agree_to_double_precision(make_planted):
    """A sparse sum in single precision would be off by 1e-7 and more."""
    sparse_one = make_planted(n_per_group=250)
    dense_one = sparse_one.copy()
    dense_one.X = sparse_one.X.toarray()
    expected = dense_one.X.astype(np.float64).mean(axis=0)
    for adata in (sparse_one, dense_one):
        ace.pp.standardize(adata)
        np.testing.assert_allclose(adata.var["ace_mean"], expected, rtol=1e-12)


def test_blocks_do_not_matter(planted, monkeypatch):
    ace.pp.standardize(planted)
    whole = planted.var[["ace_mean", "ace_std"]].copy()
    monkeypatch.setattr("ace_scanpy._matrix._BLOCK_VALUES", 35 * 7)  # 7 cells at a time, the last block of 3
    ace.pp.standardize(planted)
    pd.testing.assert_frame_equal(planted.var[["ace_mean", "ace_std"]], whole, rtol=1e-12)


def test_layer_and_raw(planted):
    planted.layers["half"] = planted.X / 2
    planted.raw = planted.copy()
    planted.X = sparse.csr_matrix(np.random.default_rng(0).random(planted.shape, dtype=np.float32))
    logged = planted.raw.X.toarray().astype(np.float64)
    ace.pp.standardize(planted, layer="half")
    np.testing.assert_allclose(planted.var["ace_mean"], logged.mean(axis=0) / 2, rtol=1e-6)
    assert planted.uns["ace"]["standardize"]["layer"] == "half"
    ace.pp.standardize(planted, use_raw=True)
    np.testing.assert_allclose(planted.var["ace_mean"], logged.mean(axis=0), rtol=1e-6)
    assert planted.uns["ace"]["standardize"]["use_raw"] is True
    ace.pp.standardize(planted)
    np.testing.assert_allclose(planted.var["ace_mean"], planted.X.toarray().astype(np.float64).mean(axis=0), rtol=1e-6)


def test_genes_that_raw_lacks_are_nan(planted):
    planted.raw = planted[:, 3:].copy()
    ace.pp.standardize(planted, use_raw=True)
    np.testing.assert_array_equal(planted.var["ace_mean"].isna(), np.arange(35) < 3)


@pytest.mark.parametrize("by", ["name", "array", "default"])
def test_outside_the_mask_is_nan(planted, by):
    inside = np.arange(35) % 3 == 0
    planted.var["highly_variable" if by == "default" else "inside"] = inside
    arguments = {"name": {"mask_var": "inside"}, "array": {"mask_var": inside}, "default": {}}[by]
    ace.pp.standardize(planted, **arguments)
    np.testing.assert_array_equal(planted.var["ace_mean"].notna(), inside)
    np.testing.assert_array_equal(planted.var["ace_std"].notna(), inside)
    expected = planted.X.toarray().astype(np.float64).mean(axis=0)[inside]
    np.testing.assert_allclose(planted.var["ace_mean"][inside], expected, rtol=1e-6)
    ace.pp.standardize(planted, mask_var=None)
    assert planted.var["ace_mean"].notna().all()


def test_scaled_data_is_standardised_too(planted):
    planted.X = planted.X.toarray()
    sc.pp.scale(planted)
    ace.pp.standardize(planted)
    np.testing.assert_allclose(planted.var["ace_mean"], 0, atol=1e-6)
    np.testing.assert_allclose(planted.var["ace_std"][:-1], 1, rtol=1e-5)


def test_small_whole_numbers_are_no_counts(planted):
    """Rounded logarithms stay well below twenty; only larger whole numbers are refused."""
    planted.X = sparse.csr_matrix(np.rint(planted.X.toarray()))
    ace.pp.standardize(planted)
    np.testing.assert_allclose(planted.var["ace_mean"], planted.X.toarray().mean(axis=0), rtol=1e-6)


def test_copy_is_changed_and_the_original_not(planted, contents, assert_same_contents):
    before = contents(planted)
    changed = ace.pp.standardize(planted, copy=True)
    assert_same_contents(contents(planted), before)
    assert {"ace_mean", "ace_std"} <= set(changed.var)
    after = {path: value for path, value in contents(changed).items() if path in before and path not in ("var", "uns")}
    assert_same_contents(after, {path: before[path] for path in after})


def test_chosen_max_value_holds_for_the_embedding(planted):
    """`embed` standardises as it was asked for before, and by default where it was not."""
    ace.pp.standardize(planted, max_value=1.5)
    chosen = planted.var["ace_std"].copy()
    ace.tl.embed(planted, n_epochs=1, n_hidden=(8,), n_latent=2)
    pd.testing.assert_series_equal(planted.var["ace_std"], chosen)
    np.testing.assert_allclose(ace.get.encoder(planted).scale, chosen[chosen > 0], rtol=1e-6)
