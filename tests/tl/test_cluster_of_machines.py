"""A real dask cluster of two workers: what they give back is what one machine computes."""

from __future__ import annotations

import os

import anndata as ad
import numpy as np
import pytest

import ace_scanpy as ace
from ace_scanpy import _matrix
from ace_scanpy.models import encode

distributed = pytest.importorskip("distributed")
da = pytest.importorskip("dask.array")

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, worker_dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as connected,
    ):
        yield connected


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_matrix, "_BLOCK_VALUES", 17 * 35)


@pytest.fixture
def on_the_cluster(planted, client):
    """The same cells, in chunks that are computed by the workers."""
    adata = planted.copy()
    parts = [da.from_array(planted.X[a : a + 30], chunks=-1, asarray=False) for a in (0, 30, 60)]
    adata.X = da.concatenate(parts)
    return adata


def test_blocks_are_worked_on_by_both_workers_and_not_here(on_the_cluster):
    found = list(_matrix.choose(on_the_cluster).mapped(_where, np.arange(on_the_cluster.n_obs)))
    assert [first for _, first, _ in found] == list(range(0, 80, 17))
    processes = {process for process, _, _ in found}
    assert os.getpid() not in processes
    assert len(processes) == 2
    assert {n_cells for *_, n_cells in found} == {17, 12}


def _where(block, cells):
    return os.getpid(), int(cells[0]), block.shape[0]


def test_statistics_and_encoding_equal_those_of_one_machine(planted, on_the_cluster, explained):
    codes = planted.obs["group"].cat.codes.to_numpy().astype(np.intp)
    here, there = (_matrix.choose(adata) for adata in (planted, on_the_cluster))
    for compute in (_matrix.moments, lambda matrix: _matrix.group_sums(matrix, codes, 4)):
        expected = vars(compute(here))
        for name, found in vars(compute(there)).items():
            np.testing.assert_array_equal(found, expected[name], err_msg=name)
    genes = here.var_names.get_indexer(explained.uns["ace"]["X_ace"]["genes"])
    encoder = ace.get.encoder(explained)
    latent = [encode(encoder, matrix.with_genes(genes)) for matrix in (here, there)]
    np.testing.assert_array_equal(*latent)
    np.testing.assert_array_equal(latent[0], explained.obsm["X_ace"])


def test_the_whole_way_from_a_file_on_a_cluster(
    planted, client, tmp_path, small_network, assert_same_ranking, short_training
):
    planted.write_h5ad(tmp_path / "planted.h5ad")
    lazy = ad.experimental.read_lazy(tmp_path / "planted.h5ad")
    for adata in (planted, lazy):
        ace.tl.embed(adata, **{**small_network, "n_epochs": 2})
        ace.tl.explain(adata, "group")
    np.testing.assert_array_equal(lazy.obsm["X_ace"], planted.obsm["X_ace"])
    assert_same_ranking(lazy.uns["rank_genes_groups"], planted.uns["rank_genes_groups"])


def test_an_error_comes_back_from_the_workers(planted, client):
    planted.X.data[-1] = np.nan
    lazy = ad.AnnData(da.from_array(planted.X, chunks=-1, asarray=False), obs=planted.obs, var=planted.var)
    with pytest.raises(ValueError, match=r"`adata.X` contains NaN or infinite values"):
        ace.pp.standardize(lazy)
