from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

from ace_scanpy import _foldchanges, _labels, _matrix


@pytest.fixture
def adata():
    """Log-normalised counts of three groups; one gene is zero everywhere, one is seen in a single group."""
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.repeat([0, 1, 2], [20, 15, 5]))
    counts = rng.poisson(rng.gamma(1.0, 2.0, size=(3, 12))[codes]).astype(np.float32)
    counts[:, 4] = 0
    counts[codes != 1, 5] = 0
    adata = ad.AnnData(
        sparse.csr_matrix(counts),
        obs=pd.DataFrame(
            {"group": pd.Categorical(np.array(["b", "a", "c"])[codes])}, index=[f"c{i}" for i in range(40)]
        ),
        var=pd.DataFrame({"length": 1.0}, index=[f"gene{i}" for i in range(12)]),
    )
    sc.pp.normalize_total(adata, target_sum=100)
    sc.pp.log1p(adata)
    return adata


def ours(adata, reference=None, **which):
    """Fold changes and fractions as frames, genes by groups."""
    labels = _labels.read(adata, "group")
    matrix = _matrix.choose(adata, **which)
    sums = _matrix.group_sums(matrix, labels.codes, labels.n_groups)
    other = None if reference is None else labels.group("reference", reference)
    groups = [g for g in labels.display if g != other]
    names = [labels.names[g] for g in groups]
    others = [[t for t in labels.display if t != g] if other is None else [other] for g in groups]
    served = _foldchanges.sums_for_fold_changes(adata, matrix, sums, labels)
    changes = _foldchanges.log2_fold_changes(adata, served, groups, others, matrix.n_genes)
    frame = pd.DataFrame(changes.T, index=matrix.gene_names, columns=names)
    return frame, *_foldchanges.fractions(sums, labels, names, groups, others, other, matrix.gene_names)


def scanpys(adata, reference="rest", **which):
    sc.tl.rank_genes_groups(adata, "group", method="t-test", reference=reference, pts=True, **which)
    entry = adata.uns["rank_genes_groups"]
    changes = {
        group: pd.Series(entry["logfoldchanges"][group], index=entry["names"][group])
        for group in entry["names"].dtype.names
    }
    return pd.DataFrame(changes), entry["pts"], entry.get("pts_rest")


def assert_same(found, expected):
    pd.testing.assert_frame_equal(
        found, expected.loc[found.index, found.columns], check_dtype=False, check_names=False, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, lambda x: x.toarray()])
@pytest.mark.parametrize("reference", [None, "b", "c"])
def test_fold_changes_and_fractions_are_scanpys(adata, reference, form):
    adata.X = form(adata.X)
    changes, pts, pts_rest = ours(adata, reference)
    expected, expected_pts, expected_rest = scanpys(adata, reference or "rest", use_raw=False)
    assert set(changes.columns) == set(expected.columns)
    assert_same(changes, expected)
    assert list(pts.columns) == ["a", "b", "c"]
    assert_same(pts, expected_pts)
    if reference is None:
        assert_same(pts_rest, expected_rest)
    else:
        assert pts_rest is None


@pytest.mark.parametrize("base", [2, 10])
def test_the_base_of_the_logarithm_is_heeded(adata, base):
    adata.X = adata.X / np.log(base)
    adata.uns["log1p"] = {"base": base}
    changes, *_ = ours(adata)
    assert_same(changes, scanpys(adata, use_raw=False)[0])


@pytest.mark.parametrize("stored", [{}, {"log1p": {}}, {"log1p": {"base": None}}])
def test_without_a_stored_base_the_logarithm_is_natural(adata, stored):
    expected, *_ = scanpys(adata, use_raw=False)
    adata.uns.clear()
    adata.uns.update(stored)
    assert_same(ours(adata)[0], expected)


def test_a_layer_is_read_when_asked_for(adata):
    adata.layers["lognorm"] = adata.X.copy()
    adata.X = adata.X * 0.5
    assert_same(ours(adata, layer="lognorm")[0], scanpys(adata, layer="lognorm", use_raw=False)[0])


def test_for_scaled_expression_raw_is_read_gene_by_gene_and_logged(adata, monkeypatch):
    lines = []
    monkeypatch.setattr("scanpy.logging.info", lambda line, **kwargs: lines.append(line))
    adata.raw = adata
    adata = adata[:, [7, 3, 5, 0, 11]].copy()
    adata.X = adata.X.toarray()
    sc.pp.scale(adata)
    changes, *_ = ours(adata)
    assert list(changes.index) == ["gene7", "gene3", "gene5", "gene0", "gene11"]
    assert_same(changes, scanpys(adata, use_raw=True)[0])
    assert any("fold changes are taken from adata.raw" in line for line in lines)


def scaled_without_raw(adata):
    sc.pp.scale(adata)


def scaled_with_scaled_raw(adata):
    sc.pp.scale(adata)
    adata.raw = adata


def scaled_with_raw_of_other_genes(adata):
    adata.raw = adata[:, 1:].copy()
    sc.pp.scale(adata)


@pytest.mark.parametrize("prepare", [scaled_without_raw, scaled_with_scaled_raw, scaled_with_raw_of_other_genes])
def test_where_nothing_serves_fold_changes_are_nan_with_a_warning(adata, prepare, monkeypatch):
    adata = adata[:, adata.X.toarray().any(axis=0)].copy()
    adata.X = adata.X.toarray()
    prepare(adata)
    lines = []
    monkeypatch.setattr("scanpy.logging.warning", lines.append)
    changes, *_ = ours(adata)
    assert changes.shape == (11, 3)
    assert changes.isna().all(axis=None)
    assert lines == ["adata.X has negative values and adata.raw does not serve: fold changes are NaN."]


def test_cells_without_a_label_are_in_no_group_and_in_no_rest(adata, monkeypatch):
    monkeypatch.setattr("scanpy.logging.warning", lambda line: None)
    labelled = adata[5:].copy()
    adata.obs.loc[adata.obs_names[:5], "group"] = np.nan
    assert_same(ours(adata)[0], ours(labelled)[0])
    assert_same(ours(adata)[2], ours(labelled)[2])
