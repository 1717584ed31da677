"""Where PBMC3k comes from: the folder of `ACE_DATA_DIR`, then Scanpy's download."""

from __future__ import annotations

from urllib.error import URLError

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import ace_scanpy as ace


@pytest.fixture
def tiny():
    return ad.AnnData(
        np.array([[0, 3, 1], [2, 0, 7]], dtype=np.float32),
        obs=pd.DataFrame(index=["cell1", "cell2"]),
        var=pd.DataFrame(index=["a", "b", "c"]),
    )


@pytest.fixture
def typed():
    """What Scanpy has of the cell types: fewer cells, in another order, other genes."""
    return ad.AnnData(
        np.zeros((2, 1), dtype=np.float32),
        obs=pd.DataFrame({"louvain": pd.Categorical(["B cells", "NK cells"])}, index=["cell3", "cell2"]),
        var=pd.DataFrame(index=["c"]),
    )


def _fail():
    pytest.fail("downloaded")


def test_file_in_the_folder(tiny, tmp_path, monkeypatch):
    tiny.write_h5ad(tmp_path / "pbmc3k_raw.h5ad")
    monkeypatch.setenv("ACE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sc.datasets, "pbmc3k", _fail)
    found = ace.datasets.pbmc3k()
    np.testing.assert_array_equal(found.X, tiny.X)
    assert list(found.var_names) == ["a", "b", "c"]


@pytest.mark.parametrize("folder", [None, "", "empty", "missing"])
def test_otherwise_scanpys(tiny, typed, tmp_path, monkeypatch, folder):
    (tmp_path / "empty").mkdir()
    if folder is None:
        monkeypatch.delenv("ACE_DATA_DIR", raising=False)
    else:
        monkeypatch.setenv("ACE_DATA_DIR", str(tmp_path / folder) if folder else "")
    monkeypatch.setattr(sc.datasets, "pbmc3k", lambda: tiny)
    monkeypatch.setattr(sc.datasets, "pbmc3k_processed", lambda: typed)
    found = ace.datasets.pbmc3k()
    np.testing.assert_array_equal(found.X, [[0, 3, 1], [2, 0, 7]])
    assert found.obs["louvain"].astype(object).where(found.obs["louvain"].notna(), None).tolist() == [None, "NK cells"]


def test_without_the_cell_types_it_is_not_returned(tiny, tmp_path, monkeypatch):
    def offline():
        raise URLError("no route to host")

    monkeypatch.setenv("ACE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sc.datasets, "pbmc3k", lambda: tiny)
    monkeypatch.setattr(sc.datasets, "pbmc3k_processed", offline)
    with pytest.raises(FileNotFoundError, match="could not be downloaded"):
        ace.datasets.pbmc3k()


@pytest.mark.parametrize("error", [URLError("no route to host"), ConnectionResetError("reset"), TimeoutError("late")])
def test_without_a_network_it_says_what_to_do(tmp_path, monkeypatch, error):
    def offline():
        raise error

    monkeypatch.setenv("ACE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sc.datasets, "pbmc3k", offline)
    advice = r"scanpy\.datasets\.pbmc3k\(\).*ACE_DATA_DIR.*pbmc3k_raw\.h5ad"
    with pytest.raises(FileNotFoundError, match=advice) as raised:
        ace.datasets.pbmc3k()
    assert raised.value.__cause__ is error


def test_the_real_file_holds_raw_counts(data_file, monkeypatch):
    monkeypatch.setenv("ACE_DATA_DIR", str(data_file("pbmc3k_raw.h5ad").parent))
    monkeypatch.setattr(sc.datasets, "pbmc3k", _fail)
    found = ace.datasets.pbmc3k()
    assert found.n_obs == 2700
    assert found.obs["louvain"].isna().sum() == 62
    assert found.obs["louvain"].value_counts()["CD4 T cells"] == 1144
    values = found.X[:50].toarray()
    np.testing.assert_array_equal(values, np.rint(values))
    assert values.max() > 20
    with pytest.raises(ValueError, match="raw counts"):
        ace.pp.standardize(found)
