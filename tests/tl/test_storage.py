"""The whole way from a file or a dask array, to the same bits as in memory."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import ace_scanpy as ace


@pytest.fixture(autouse=True)
def many_blocks_and_chunks(monkeypatch):
    """Blocks of 17 cells and chunks of 40, so that 80 cells are many of both."""
    monkeypatch.setattr("ace_scanpy._matrix._BLOCK_VALUES", 17 * 35)
    monkeypatch.setattr("ace_scanpy.models._sampling._CHUNK_VALUES", 40 * 35)
    monkeypatch.setattr("ace_scanpy.models._sampling._RUNS", 8)
    monkeypatch.setattr("ace_scanpy.models._training._MOST_STEPS", 30)
    monkeypatch.setattr("ace_scanpy.models._training._LABEL_STEPS", 10)


def _with_everything(adata):
    """Raw, a layer, a mask, counts and labels that are text."""
    adata.raw = adata
    adata.layers["counts"] = adata.X.copy()
    adata.layers["halved"] = adata.X / 2
    adata.layers["counts"].data = np.rint(np.expm1(adata.X.data))
    adata.var["highly_variable"] = np.arange(adata.n_vars) % 7 != 0
    adata.obs["batch"] = np.array(["one", "two"], dtype=object)[np.arange(adata.n_obs) % 2]
    return adata


def _lazy(path):
    pytest.importorskip("xarray")
    return ad.experimental.read_lazy(path)


def _dask(path):
    da = pytest.importorskip("dask.array")
    adata = ad.read_h5ad(path)
    parts = [da.from_array(adata.X[a : a + 30], chunks=-1, asarray=False) for a in (0, 30, 60)]
    adata.X = da.concatenate(parts)
    return adata


READ = {"backed": lambda path: ad.read_h5ad(path, backed="r"), "dask": _dask, "lazy": _lazy}


@pytest.fixture
def path(planted, tmp_path):
    where = tmp_path / "planted.h5ad"
    _with_everything(planted).write_h5ad(where)
    return where


@pytest.fixture(params=READ)
def streamed(request, path):
    return READ[request.param](path)


@pytest.fixture
def in_memory(path):
    return ad.read_h5ad(path)


def _everything_written(adata, contents):
    """What an AnnData holds beside its matrices, and lazily read columns as tables."""
    held = ad.AnnData(
        obs=pd.DataFrame(index=adata.obs_names), var=pd.DataFrame(index=adata.var_names), uns=dict(adata.uns)
    )
    for name, table in (("obs", adata.obs), ("var", adata.var)):
        plain = table if isinstance(table, pd.DataFrame) else table.to_memory()
        setattr(held, name, plain[sorted(plain.columns)])
    for key in adata.obsm:
        held.obsm[key] = np.asarray(adata.obsm[key])
    return contents(held)


def _run(adata):
    ace.pp.standardize(adata)
    ace.tl.embed(adata, n_hidden=(12,), n_latent=3, n_epochs=4, batch_size=16, batch_key="batch")
    ace.tl.cluster(adata, n_clusters=3)
    ace.tl.cluster(adata, n_clusters=3, joint=True, key_added="joint")
    ace.tl.explain(adata, "group", pts=True)
    ace.tl.explain(adata, "group", by="batch", groups=["B"], reference="dendritic", key_added="within")


def test_all_steps_write_the_same_bits_as_in_memory(streamed, in_memory, contents, assert_same_contents):
    before = type(streamed.X)
    for adata in (streamed, in_memory):
        _run(adata)
    assert type(streamed.X) is before
    assert_same_contents(_everything_written(streamed, contents), _everything_written(in_memory, contents))
    for getter in (ace.get.panel, ace.get.rank_genes_groups_df):
        pd.testing.assert_frame_equal(getter(streamed, "B"), getter(in_memory, "B"), check_exact=True)
    pd.testing.assert_frame_equal(ace.get.contrasts(streamed), ace.get.contrasts(in_memory), check_exact=True)
    pd.testing.assert_frame_equal(ace.get.summary(streamed), ace.get.summary(in_memory), check_exact=True)
    levels = [ace.get.levels(adata, by="batch", key="within") for adata in (streamed, in_memory)]
    pd.testing.assert_frame_equal(*levels, check_exact=True)
    tables = [
        ace.tl.compare(adata, "group", keys=["rank_genes_groups"], n_genes=5, k=5, min_cells=20)
        for adata in (streamed, in_memory)
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_single_cells(streamed, in_memory, contents, assert_same_contents):
    for adata in (streamed, in_memory):
        ace.tl.embed(adata, n_hidden=(12,), n_latent=3, n_epochs=2)
        ace.tl.explain(adata, "group", groups=["B"], reference="dendritic")
        ace.tl.explain_cells(adata, "group", cells=range(9))
    assert_same_contents(_everything_written(streamed, contents), _everything_written(in_memory, contents))
    assert (streamed.layers["ace_delta"] != in_memory.layers["ace_delta"]).nnz == 0
    tables = [ace.get.cells(adata, range(9)) for adata in (streamed, in_memory)]
    assert len(tables[0])
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.parametrize("where", [{"layer": "halved", "mask_var": None}, {"use_raw": True}], ids=["layer", "raw"])
def test_a_layer_and_raw(streamed, in_memory, where, contents, assert_same_contents):
    for adata in (streamed, in_memory):
        ace.tl.embed(adata, n_hidden=(12,), n_latent=3, n_epochs=2, **where)
        ace.tl.explain(adata, "group", groups=["B"], reference="dendritic", **where)
    assert_same_contents(_everything_written(streamed, contents), _everything_written(in_memory, contents))


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("jsd", {}), ("gce", {}), ("grs", {}), ("deseq2", {"counts_layer": "counts"}), ("shap", {})],
)
def test_other_methods(streamed, in_memory, method, arguments, assert_same_contents, contents):
    for package in {"deseq2": ["pydeseq2"], "shap": ["captum"]}.get(method, []):
        pytest.importorskip(package)
    for adata in (streamed, in_memory):
        ace.tl.explain(adata, "group", method=method, **arguments)
    assert_same_contents(_everything_written(streamed, contents), _everything_written(in_memory, contents))


@pytest.mark.parametrize("encoder", ["pca", "distill", "module"])
def test_other_encoders(streamed, in_memory, encoder, contents, assert_same_contents):
    loadings = np.linalg.qr(np.random.default_rng(0).normal(size=(in_memory.n_vars, 3)))[0]
    projected = in_memory.X @ loadings
    for adata in (streamed, in_memory):
        adata.obsm["X_pca"], adata.varm["PCs"] = projected - projected.mean(axis=0), loadings
        if encoder == "module":
            ace.tl.embed(adata, encoder=_tanh, mask_var=None)
        else:
            epochs = {"n_epochs": 2} if encoder == "distill" else {}
            ace.tl.embed(adata, encoder=encoder, use_rep="X_pca", **epochs)
    assert_same_contents(_everything_written(streamed, contents), _everything_written(in_memory, contents))


def _tanh(x):
    return (x[:, :4] + 0.1 * x[:, 4:8]).tanh()


def test_results_read_lazily_are_read_like_others(in_memory, tmp_path):
    ace.tl.embed(in_memory, n_hidden=(12,), n_latent=3, n_epochs=2)
    ace.tl.explain(in_memory, "group")
    in_memory.write_h5ad(tmp_path / "explained.h5ad")
    lazy = _lazy(tmp_path / "explained.h5ad")
    pd.testing.assert_frame_equal(ace.get.panel(lazy, "B"), ace.get.panel(in_memory, "B"))
    again = lazy.uns["rank_genes_groups"]["scores"]["B"]
    ace.tl.explain(lazy, "group", key_added="again")  # with the stored encoder, and its copy fitted to the labels
    np.testing.assert_array_equal(lazy.uns["again"]["scores"]["B"], again)


def test_a_backed_file_stays_as_it_is_and_cannot_be_copied_or_written_in_part(path, unchanged):
    before = path.read_bytes()
    adata = ad.read_h5ad(path, backed="r")
    for call in (
        lambda a, **k: ace.pp.standardize(a, **k),
        lambda a, **k: ace.tl.embed(a, n_epochs=1, **k),
        lambda a, **k: ace.tl.explain(a, "group", **k),
        lambda a, **k: ace.tl.cluster(a, **k),
        lambda a, **k: ace.tl.explain_cells(a, "group", **k),
    ):
        with pytest.raises(ValueError, match=r"`adata` is backed by '.*planted.h5ad': `copy=True` would copy the file"):
            call(adata, copy=True)
        with pytest.raises(ValueError, match=r"cannot be written to a view of the file.*to_memory\(\)"):
            call(adata[:50])
    assert "ace" not in adata.uns
    ace.pp.standardize(adata)
    adata.file.close()
    assert path.read_bytes() == before


def test_a_file_stored_by_genes_is_refused_before_any_work(planted, tmp_path, no_training):
    planted.X = sparse.csc_matrix(planted.X)
    planted.write_h5ad(tmp_path / "by_gene.h5ad")
    with pytest.raises(ValueError, match="stored by genes"):
        ace.tl.explain(ad.read_h5ad(tmp_path / "by_gene.h5ad", backed="r"), "group")


def test_bad_values_are_found_wherever_they_are(path):
    adata = ad.read_h5ad(path)
    adata.X.data[-1] = np.nan
    for name, read in READ.items():
        another = path.with_name(f"{name}.h5ad")
        adata.write_h5ad(another)
        with pytest.raises(ValueError, match=r"`adata.X` contains NaN"):
            ace.tl.explain(read(another), "group")
